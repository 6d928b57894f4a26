"""Records that an earlier version stored are still read, with every field.

The samples were written by `encode` and `seal` of commit f2dbacb, before the classes were renamed. Never rewrite them:
a sample that does not decode is a record that running clusters lose.
"""

import json
from dataclasses import fields
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from scopewright.core.client.seal import seal
from scopewright.core.objects import digest
from scopewright.core.records.client import ClientRecord, Credential, RequestedAccess, ServiceAccount
from scopewright.core.records.codec import decode, encode
from scopewright.core.records.issuer import Cluster, IssuerRecord
from scopewright.core.records.resource_server import AudienceClaim, ResolvedGrant, ResourceServerRecord
from scopewright.core.records.signing_key import KeyRecord
from scopewright.core.records.written_by_issuers import RevocationRecord, UsageRecord

SAMPLES = Path(__file__).with_name("samples")


def day(of_november: int, **later: int) -> datetime:
    return datetime(2026, 11, of_november, 10, tzinfo=UTC) + timedelta(**later)


JWK = {
    "kty": "EC", "crv": "P-256", "kid": "payroll-1", "alg": "ES256", "use": "sig",
    "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU", "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
}  # fmt: skip
CLIENT = ClientRecord(
    namespace="payroll",
    name="salary-run",
    uid="6f3a2b1c-0d4e-4f5a-8b6c-7d8e9f0a1b2c",
    method="ServiceAccount",
    grant_types=("client_credentials", "urn:ietf:params:oauth:grant-type:token-exchange"),
    disabled=True,
    credentials=(
        Credential(
            sha256=digest("secret one"),
            issue_time=day(1),
            expiration_time=day(20),
            replaced_time=day(13),
            rotate="first",
            heal=True,
        ),
        # The stored value has 70 characters; longer ones than 64 are read as their SHA-256.
        Credential(digest("private jwk"), day(13, microseconds=250), rotate=digest("x" * 70), jwk=JWK),
    ),
    public_keys=(JWK,),
    service_account=ServiceAccount("salary", "0e1d2c3b-4a59-4687-9706-15243342516f", "west"),
    access=(RequestedAccess("hr/employees", ("read", "write")), RequestedAccess("payroll/ledger", ("post",))),
    secret_name="salary-credentials",
    revoked_before=day(2),
    heals=(day(13), day(13, minutes=5)),
    owner_creation_time=day(1),
    orphaned_time=day(22),
)
RECORDS: dict[str, Any] = {
    "client": CLIENT,
    "resource_server": ResourceServerRecord(
        namespace="hr",
        name="employees",
        uid="11111111-2222-4333-8444-555555555555",
        audience="https://employees.example.org/api",
        scopes=("read", "write", "admin"),
        served_by=("hr.employees",),
        lifetime=900,
        signing_key="fapi",
        scopes_list_claim=True,
        dpop_required=True,
        grants=(
            ResolvedGrant(("read",), ("payroll.salary-run",), ("audit", "payroll"), everybody=True, not_after=day(30)),
            ResolvedGrant(("write",), ("payroll.salary-run",)),
        ),
        owner_creation_time=day(1),
        orphaned_time=day(22),
    ),
    "audience_claim": AudienceClaim("https://employees.example.org/api", "hr", "employees"),
    "signing_key": KeyRecord(
        kid="aBc-_1",
        signing_key="default",
        algorithm="ES256",
        config_map="scopewright-jwks",
        jwk={**JWK, "kid": "aBc-_1"},
        creation_time=day(1),
        rotate="now",
        at_once=True,
        signing_start_time=day(1, minutes=16),
        signing_end_time=day(28),
        verification_end_time=day(28, hours=2),
        revoked_time=day(22),
    ),
    "usage": UsageRecord(since=day(1), used={digest("secret one")[:16]: 29_800_000, CLIENT.identity[:16]: 29_800_123}),
    "revocations": RevocationRecord(
        tokens={"Q2xpZW50": {"VG9rZW4": 1795000000}},
        clients={"Q2xpZW50": 1794000000},
        access={"Q2xpZW50": {"QXVk": 1793000000}},
        audiences={"QXVk": 1792000000},
        namespaces={"TnM": 1791000000},
        everybody=1790000000,
        owners={"Q2xpZW50": "TnM", "QXVk": "TnM"},
        longest_lifetime=7200,
    ),
    "issuer": IssuerRecord(
        issuer="https://issuer.example.org",
        max_token_lifetime=1800,
        clock_skew=30,
        jwks_max_age=120,
        dpop_nonce="Optional",
        clusters=(
            Cluster("in-cluster", "https://kubernetes.default.svc", token_review=True),
            Cluster("west", "https://west.example.org", "https://west.example.org/jwks", (JWK,)),
        ),
        reserved_audiences=("https://kubernetes.default.svc",),
        profile="FAPI2",
        dpop_algorithms=("ES256", "PS256"),
    ),
}


@pytest.mark.parametrize("name", RECORDS)
def test_a_stored_record_is_read_with_every_field(name: str) -> None:
    expected, stored = RECORDS[name], (SAMPLES / f"{name}.json").read_bytes()
    decoded = decode(type(expected), stored)
    for field in fields(expected):
        assert getattr(decoded, field.name) == getattr(expected, field.name), field.name
    assert without_rotate(json.loads(encode(decoded))) == without_rotate(json.loads(stored))


def without_rotate(record: dict[str, Any]) -> dict[str, Any]:
    """Without the values that are read as their SHA-256."""
    credentials = [{k: v for k, v in c.items() if k != "rotate"} for c in record.get("credentials", ())]
    return record | ({"credentials": credentials} if credentials else {})


@pytest.mark.parametrize("index", range(4))
def test_a_stored_seal_still_verifies(index: int) -> None:
    sample = json.loads((SAMPLES / "seal.json").read_text())
    sealed = sample["seals"][index]
    issued = sample["issuer"], sample["client_id"], sample["issue_time"]
    assert seal(bytes.fromhex(sample["key"]), *issued, sample["entries"], **sealed["more"]) == sealed["seal"]
