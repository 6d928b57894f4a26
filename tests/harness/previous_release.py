"""The previous release, unpacked from Git and run in a process of its own: what it does with records and manifests of
this one.

An upgrade takes time, and it may be turned back: the earlier issuer then reads what the new operator has written. It
must grant less, never more.
"""

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import pytest

from scopewright.core.records.client import ClientRecord
from scopewright.core.records.codec import decode, encode
from scopewright.core.records.identity_provider import IdentityProviderRecord
from scopewright.core.records.names import (
    IDENTITY_PROVIDER_TYPE,
    USAGE_NAME,
    client_record_name,
    identity_provider_record_name,
    resource_server_record_name,
)
from scopewright.core.records.resource_server import ResourceServerRecord
from scopewright.core.records.written_by_issuers import UsageRecord
from tests.harness.earlier_commit import unpack

PREVIOUS: Final = "a4c4b02e2b8926295a1fefbdd0fe67c7c1248c35"
"""The last commit without users. Update it at a release, where records gain fields."""
_TIMEOUT_SECONDS: Final = 120

_PROGRAM: Final = """
import asyncio, json, sys
import jwt
from scopewright.api.validation import validate
from scopewright.core.declared import parse_declared
from scopewright.core.failures import Rejected
from scopewright.core.records.codec import decode
from scopewright.core.records.written_by_issuers import UsageRecord
from tests.harness.issuer import IssuerHarness, settle
from tests.harness.samples import client_record

USAGE = "ConfigMap", "scopewright-usage"

async def answers(harness, given):
    harness.install_defaults()
    for kind, name, text, type, label in given["others"]:
        harness.put_object(kind, name, {"record.json": text.encode()}, type=type, label=label)
    for name, text in given["clients"].items():
        harness.put_object("Secret", name, {"record.json": text.encode()}, type="scopewright.dev/client-record")
    for name, text in given["servers"].items():
        harness.put_object("ConfigMap", name, {"record.json": text.encode()}, label="resource-server")
    async with harness.running():
        for auth, form in given["requests"]:
            response = await harness.http.post("/token", data=form, auth=tuple(auth) if auth else None)
            body = response.json()
            token = body.get("access_token")
            claims = jwt.decode(token, options={"verify_signature": False}) if token else {}
            yield {"status": response.status_code, "error": body.get("error", ""), "claims": claims}

async def usage(given):
    harness = IssuerHarness(can_write=True)
    all([answer async for answer in answers(harness, given)])
    text = harness.stored(*USAGE).entries["record.json"].decode()
    uses = decode(UsageRecord, text.encode()).of(client_record())
    return {"record": text, "uses": {sha256: instant.isoformat() for sha256, instant in uses.items()}}

def parsed(manifest):
    try:
        parse_declared(manifest)
    except Rejected as error:
        return error.reason
    return ""

async def main():
    given = json.load(sys.stdin)
    json.dump({
        "tokens": [answer async for answer in answers(IssuerHarness(), given)] if given["requests"] else [],
        "usage": await usage(given) if given["usage"] else None,
        "parsed": [parsed(m) for m in given["manifests"]],
        "violations": [list(map(str, validate(m))) for m in given["manifests"]],
    }, sys.stdout)

asyncio.run(main())
"""


@dataclass(frozen=True)
class TokenRequest:
    """A request to the token endpoint. Without a secret, it has a client id alone, as a public client sends it."""

    client_id: str
    secret: str | None = None
    parameters: Mapping[str, str] | None = None

    def encoded(self) -> tuple[tuple[str, str] | None, dict[str, str]]:
        form = {"grant_type": "client_credentials", **(self.parameters or {})}
        if self.secret is None:
            return None, {**form, "client_id": self.client_id}
        return (self.client_id, self.secret), form


@dataclass(frozen=True)
class TokenAnswer:
    """`claims` are those of the token, empty if there is none."""

    status: int
    error: str
    claims: Mapping[str, Any]

    @property
    def scopes(self) -> frozenset[str]:
        return frozenset(self.claims.get("scope", "").split())


class PreviousRelease:
    """The code of the previous release, and its own test harness."""

    def __init__(self, folder: Path) -> None:
        """Unpack it into the folder. The test is skipped in a shallow clone, which does not have the commit."""
        if not unpack(PREVIOUS, folder, "operator", "tests/harness", "tests/ports.py"):
            pytest.skip(f"this clone does not have {PREVIOUS[:7]}: git fetch --unshallow")
        self._folder = folder

    def tokens(
        self,
        records: Sequence[ClientRecord | ResourceServerRecord],
        requests: Sequence[TokenRequest],
        providers: Sequence[IdentityProviderRecord] = (),
    ) -> list[TokenAnswer]:
        """Return the answers of an issuer that has read these records, beside those of its harness."""
        clients = [r for r in records if isinstance(r, ClientRecord)]
        servers = [r for r in records if isinstance(r, ResourceServerRecord)]
        result = self._run(
            clients={client_record_name(r.namespace, r.name): encode(r).decode() for r in clients},
            servers={resource_server_record_name(r.namespace, r.name): encode(r).decode() for r in servers},
            others=[
                ("Secret", identity_provider_record_name(r.name), encode(r).decode(), IDENTITY_PROVIDER_TYPE, "")
                for r in providers
            ],
            requests=[request.encoded() for request in requests],
        )
        return [TokenAnswer(**answer) for answer in result["tokens"]]

    def usage(self, record: UsageRecord, request: TokenRequest) -> tuple[UsageRecord, Mapping[str, datetime]]:
        """Return the usage record after the request, which the client of the samples sends: what the issuer has stored,
        and what the operator reads in it, by SHA-256 of a credential.
        """
        usage = self._run(
            others=[("ConfigMap", USAGE_NAME, encode(record).decode(), "", "usage")],
            requests=[request.encoded()],
            usage=True,
        )["usage"]
        uses = {sha256: datetime.fromisoformat(instant) for sha256, instant in usage["uses"].items()}
        return decode(UsageRecord, usage["record"].encode()), uses

    def refuses(self, manifest: Mapping[str, Any]) -> tuple[str, list[str]]:
        """Return the reason for which its operator ignores a stored object (empty: it reads the object), and the errors
        of its validation.
        """
        result = self._run(manifests=[manifest])
        return result["parsed"][0], result["violations"][0]

    def _run(self, **given: Any) -> dict[str, Any]:
        complete = {
            "clients": {},
            "servers": {},
            "others": [],
            "requests": [],
            "manifests": [],
            "usage": False,
            **given,
        }
        paths = os.pathsep.join(str(self._folder / part) for part in ("operator", "."))
        done = subprocess.run(
            [sys.executable, "-c", _PROGRAM],
            input=json.dumps(complete),
            env={**os.environ, "PYTHONPATH": paths},
            cwd=self._folder,
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_SECONDS,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        result: dict[str, Any] = json.loads(done.stdout)
        return result
