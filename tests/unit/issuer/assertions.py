"""Assertions of clients, signed with PyJWT: valid by default, invalid by argument."""

from typing import Any

import jwt

from scopewright.core.records.client import ClientRecord, Credential, ServiceAccount
from scopewright.core.records.issuer import Cluster, IssuerRecord
from scopewright.issuer.protocol.request import JWT_BEARER
from tests.harness.clock import START
from tests.harness.issuer import IssuerHarness
from tests.harness.samples import ISSUER, client_record, private_key, public_jwk, sha256

WORKER = "leave.leave-worker"
CLUSTER = "https://kubernetes.default.svc.cluster.local"
UID = "8f6b6a1e"
CLIENT_KEY = 7
"""The number of the key pair that the client has."""


def jwk(number: int = CLIENT_KEY, algorithm: str = "ES256") -> dict[str, str]:
    return public_jwk(private_key(algorithm, number), algorithm)


def generated_credential(number: int = CLIENT_KEY, **changes: Any) -> Credential:
    return Credential(sha256(f"private {number}"), START, jwk=jwk(number), **changes)


def with_pair(*credentials: Credential, **changes: Any) -> ClientRecord:
    return client_record(method="PrivateKeyJWT", credentials=credentials or (generated_credential(),), **changes)


def with_keys(*keys: dict[str, str]) -> ClientRecord:
    return client_record(method="PrivateKeyJWT", credentials=(), public_keys=keys)


def with_account(**changes: Any) -> ClientRecord:
    account = ServiceAccount(**({"name": "worker", "uid": UID} | changes))
    return client_record(method="ServiceAccount", credentials=(), service_account=account)


def in_cluster(number: int = CLIENT_KEY, **changes: Any) -> IssuerRecord:
    """The issuer record of an issuer with the keys of its cluster."""
    cluster = Cluster("in-cluster", CLUSTER, keys=(jwk(number),))
    return IssuerRecord(ISSUER, **({"clusters": (cluster,), "reserved_audiences": ("https://kubernetes",)} | changes))


def signed(
    claims: dict[str, Any], *, number: int = CLIENT_KEY, algorithm: str = "ES256", header: dict[str, Any] | None = None
) -> str:
    named = {"kid": jwk(number, algorithm)["kid"]} if header is None else header
    return jwt.encode(claims, private_key(algorithm, number), algorithm, headers=named)


_serial = iter(range(10**9))


def assertion(
    harness: IssuerHarness, *, number: int = CLIENT_KEY, header: dict[str, Any] | None = None, **changes: Any
) -> str:
    now = int(harness.clock())
    claims = {"iss": WORKER, "sub": WORKER, "aud": ISSUER, "iat": now, "exp": now + 60, "jti": f"jti-{next(_serial)}"}
    return signed(_without_none(claims | changes), number=number, header=header)


def pod_token(
    harness: IssuerHarness, *, number: int = CLIENT_KEY, bound: dict[str, Any] | None = None, **changes: Any
) -> str:
    now = int(harness.clock())
    kubernetes = {"namespace": "leave", "serviceaccount": {"name": "worker", "uid": UID}, "pod": {"name": "p"}}
    claims = {
        "iss": CLUSTER,
        "sub": "system:serviceaccount:leave:worker",
        "aud": [ISSUER],
        "iat": now,
        "nbf": now,
        "exp": now + 3600,
        "jti": "the-same-for-an-hour",
        "kubernetes.io": kubernetes if bound is None else bound,
    }
    return signed(_without_none(claims | changes), number=number)


def _without_none(claims: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in claims.items() if value is not None}


async def present(harness: IssuerHarness, token: str, **parameters: str) -> tuple[int, dict[str, Any]]:
    """Request a token with this assertion. Returns status and body."""
    form = {
        "grant_type": "client_credentials",
        "client_assertion_type": JWT_BEARER,
        "client_assertion": token,
        **parameters,
    }
    answer = await harness.http.post("/token", data={n: v for n, v in form.items() if v})
    return answer.status_code, answer.json()
