"""What is asked of the issuer, a case each: the records it has, and the requests as they go over the wire."""

import base64
import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final, Literal
from urllib.parse import quote

from scopewright.controller.keymaking import make_key
from scopewright.core.objects import MANAGED_BY, MANAGER, Existing, OwnedKind, Ref
from scopewright.core.records import (
    CLIENT_TYPE,
    ENTRY,
    ISSUER_NAME,
    PRIVATE_KEY_ENTRY,
    RECORD_LABEL,
    SIGNING_KEY_TYPE,
    Asked,
    ClientRecord,
    Credential,
    Granted,
    IssuerRecord,
    KeyRecord,
    ResourceServerRecord,
    client_record_name,
    encode,
    key_record_name,
    resource_server_record_name,
)
from scopewright.stores import Change, Entries

SYSTEM: Final = "scopewright-system"
ISSUER: Final = "https://issuer.example.org"
AUDIENCE: Final = "https://directory.staff.svc"
SCOPE: Final = "directory.read"
LIFETIME: Final = 600
MANY: Final = 10_000
_TEAMS: Final = 20

HEADERS: Final = (
    b"Host: issuer.example.org\r\n"
    b"User-Agent: python-httpx/0.28.1\r\n"
    b"Accept: application/json\r\n"
    b"Accept-Encoding: gzip, deflate, br, zstd\r\n"
    b"Connection: keep-alive\r\n"
    b"X-Forwarded-For: 10.244.3.17\r\n"
    b"X-Forwarded-Proto: https\r\n"
    b"X-Request-Id: 7c1f5c1a-5e0e-4f5c-9a55-0f7b6d3c9f11\r\n"
    b"Traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n"
)
"""What clients and the proxies before an issuer usually send."""

Requests = Callable[[int], list[bytes]]
"""Whole requests, one for each of so many clients; they are sent again and again."""


@dataclass(frozen=True, slots=True)
class Case:
    """`method` is what the clients' records say; `requests` must be answered with 200, each of them."""

    name: str
    about: str
    clients: int
    requests: Requests
    algorithm: str = "ES256"
    method: Literal["ClientSecret", "PrivateKeyJWT", "ServiceAccount"] = "ClientSecret"

    def records(self) -> Iterator[Change]:
        """Everything that the issuer follows. The signing key is another one each time."""
        now = datetime.now(UTC)
        made = make_key(self.algorithm)
        key = KeyRecord(
            kid=made.jwk["kid"],
            signing_key="default",
            algorithm=self.algorithm,
            config_map="scopewright-jwks",
            jwk=made.jwk,
            creation_time=now,
            signing_start_time=now - timedelta(hours=1),
            signing_end_time=now + timedelta(days=30),
            verification_end_time=now + timedelta(days=31),
        )
        server = ResourceServerRecord(
            namespace="staff",
            name="directory",
            uid="uid-directory",
            audience=AUDIENCE,
            scopes=(SCOPE,),
            lifetime=LIFETIME,
            grants=(Granted((SCOPE,), namespaces=tuple(f"team-{n:02}" for n in range(_TEAMS))),),
        )
        yield _object("ConfigMap", ISSUER_NAME, {ENTRY: encode(IssuerRecord(ISSUER))}, label="issuer")
        yield _object("ConfigMap", "scopewright-jwks", {"jwks.json": _jwks(made.jwk)})
        name = resource_server_record_name(server.namespace, server.name)
        yield _object("ConfigMap", name, {ENTRY: encode(server)}, label="resource-server")
        entries = {ENTRY: encode(key), PRIVATE_KEY_ENTRY: made.pem}
        yield _object("Secret", key_record_name(key.kid), entries, of_type=SIGNING_KEY_TYPE)
        for n in range(self.clients):
            record = self._client(n, now)
            name = client_record_name(record.namespace, record.name)
            yield _object("Secret", name, {ENTRY: encode(record)}, of_type=CLIENT_TYPE)

    def _client(self, n: int, now: datetime) -> ClientRecord:
        namespace, name = client_name(n)
        digest = hashlib.sha256(secret(n).encode()).hexdigest()
        return ClientRecord(
            namespace=namespace,
            name=name,
            uid=f"00000000-0000-4000-8000-{n:012}",
            method=self.method,
            credentials=(Credential(digest, now),),
            access=(Asked("staff/directory", (SCOPE,)),),
        )


def client_name(n: int) -> tuple[str, str]:
    return f"team-{n % _TEAMS:02}", f"service-{n:05}"


def secret(n: int) -> str:
    """As long as a real one, and the same in each process."""
    return base64.urlsafe_b64encode(hashlib.sha256(f"bench {n}".encode()).digest()).decode().rstrip("=")


def basic(clients: int) -> list[bytes]:
    body = f"grant_type=client_credentials&resource={quote(AUDIENCE, safe='')}&scope={SCOPE}".encode()
    return [_post(body, b"Authorization: Basic %b\r\n" % _credentials(n)) for n in range(clients)]


def post(clients: int) -> list[bytes]:
    form = f"grant_type=client_credentials&resource={quote(AUDIENCE, safe='')}&scope={SCOPE}"
    return [
        _post(f"{form}&client_id={'.'.join(client_name(n))}&client_secret={secret(n)}".encode()) for n in range(clients)
    ]


def _credentials(n: int) -> bytes:
    return base64.b64encode(f"{'.'.join(client_name(n))}:{secret(n)}".encode())


def _post(body: bytes, more: bytes = b"") -> bytes:
    return (
        b"POST /token HTTP/1.1\r\n%b%bContent-Type: application/x-www-form-urlencoded\r\nContent-Length: %d\r\n\r\n%b"
        % (HEADERS, more, len(body), body)
    )


def _jwks(jwk: dict[str, str]) -> bytes:
    members = ",".join(f'"{name}":"{value}"' for name, value in jwk.items())
    return f'{{"keys":[{{{members}}}]}}'.encode()


def _object(kind: OwnedKind, name: str, entries: Entries, *, of_type: str = "", label: str = "") -> Change:
    labels = {MANAGED_BY: MANAGER} | ({RECORD_LABEL: label} if label else {})
    existing = Existing(Ref(kind, SYSTEM, name), f"uid-{name}", "1", of_type, labels, creation_time=datetime.now(UTC))
    return Change(existing, entries)


CASES: Final = {
    case.name: case
    for case in (
        Case("es256", "ES256, Basic", MANY, basic),
        Case("es256-one-client", "ES256, Basic, 1 client", 1, basic),
        Case("es256-post", "ES256, post", MANY, post),
        Case("rs256", "RS256, Basic", MANY, basic, algorithm="RS256"),
    )
}
"""The first one is what the budgets are about, and what the peer is measured with."""
