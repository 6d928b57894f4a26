"""The cases of `tokens`: for each, the records of the issuer and the requests that it gets."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Final, Literal

from bench import token_requests
from bench.token_clients import (
    AUDIENCE,
    ISSUER,
    SCOPE,
    SERVER,
    TEAMS,
    client_name,
    cluster,
    public_jwk,
    secret,
    service_account,
)
from scopewright.controller.key_generation import make_key
from scopewright.core.objects import MANAGED_BY, MANAGER, Existing, ManagedKind, Ref
from scopewright.core.records.client import ClientRecord, Credential, RequestedAccess
from scopewright.core.records.codec import encode
from scopewright.core.records.issuer import IssuerRecord
from scopewright.core.records.names import (
    CLIENT_TYPE,
    ENTRY,
    ISSUER_NAME,
    PRIVATE_KEY_ENTRY,
    RECORD_LABEL,
    SIGNING_KEY_TYPE,
    client_record_name,
    key_record_name,
    resource_server_record_name,
)
from scopewright.core.records.resource_server import ResolvedGrant, ResourceServerRecord, UserGrant
from scopewright.core.records.signing_key import KeyRecord
from scopewright.stores import Change, Entries

SYSTEM: Final = "scopewright-system"
LIFETIME: Final = 600
MANY: Final = 10_000


@dataclass(frozen=True, slots=True)
class Case:
    """`method` is that of the clients' records. Every request must be answered with 200 and audited with `result`.

    With `once` a request can be sent only once: `requests` makes new ones for each run, and the issuer's processes
    share a replay memory, as with `scopewright issuer --workers 2 --replay redis://…`. `lifetime` is in seconds.
    `floor` is a key of `bench.floor_protocols.PROTOCOLS`.
    """

    name: str
    about: str
    clients: int
    requests: token_requests.Requests
    floor: str = "es256"
    algorithm: str = "ES256"
    method: Literal["ClientSecret", "PrivateKeyJWT", "ServiceAccount"] = "ClientSecret"
    once: bool = False
    result: str = "issued"
    lifetime: int = LIFETIME

    def with_clients(self, most: int) -> "Case":
        return replace(self, clients=min(self.clients, most))

    def records(
        self, cluster_jwk: dict[str, str] | None = None, user_grants: tuple[UserGrant, ...] = ()
    ) -> Iterator[Change]:
        """Every object that the issuer follows. Each call makes a new signing key."""
        now = datetime.now(UTC)
        server = ResourceServerRecord(
            namespace=SERVER[0],
            name=SERVER[1],
            uid="uid-directory",
            audience=AUDIENCE,
            scopes=(SCOPE,),
            served_by=(".".join(SERVER),),
            lifetime=self.lifetime,
            grants=(ResolvedGrant((SCOPE,), namespaces=tuple(f"team-{n:02}" for n in range(TEAMS))),),
            user_grants=user_grants,
        )
        issuer = IssuerRecord(ISSUER, clusters=(cluster(cluster_jwk),)) if cluster_jwk else IssuerRecord(ISSUER)
        yield object_of("ConfigMap", ISSUER_NAME, {ENTRY: encode(issuer)}, label="issuer")
        yield from signing_key("default", self.algorithm, "scopewright-jwks")
        name = resource_server_record_name(server.namespace, server.name)
        yield object_of("ConfigMap", name, {ENTRY: encode(server)}, label="resource-server")
        for client in (_api(now), *(self._client(n, now) for n in range(self.clients))):
            name = client_record_name(client.namespace, client.name)
            yield object_of("Secret", name, {ENTRY: encode(client)}, of_type=CLIENT_TYPE)

    def _client(self, n: int, now: datetime) -> ClientRecord:
        namespace, name = client_name(n)
        pair, account = self.method == "PrivateKeyJWT", self.method == "ServiceAccount"
        credential = Credential(_sha256(secret(n)), now, jwk=public_jwk(n) if pair else None)
        return ClientRecord(
            namespace=namespace,
            name=name,
            uid=f"00000000-0000-4000-8000-{n:012}",
            method=self.method,
            credentials=() if account else (credential,),
            service_account=service_account(n) if account else None,
            access=(RequestedAccess("/".join(SERVER), (SCOPE,)),),
        )


def signing_key(name: str, algorithm: str, config_map: str) -> Iterator[Change]:
    """A new key that signs now, and the JWKS with it."""
    now, generated = datetime.now(UTC), make_key(algorithm)
    key = KeyRecord(
        kid=generated.jwk["kid"],
        signing_key=name,
        algorithm=algorithm,
        config_map=config_map,
        jwk=generated.jwk,
        creation_time=now,
        signing_start_time=now - timedelta(hours=1),
        signing_end_time=now + timedelta(days=30),
        verification_end_time=now + timedelta(days=31),
    )
    yield object_of("ConfigMap", config_map, {"jwks.json": _jwks(generated.jwk)})
    entries = {ENTRY: encode(key), PRIVATE_KEY_ENTRY: generated.pem}
    yield object_of("Secret", key_record_name(key.kid), entries, of_type=SIGNING_KEY_TYPE)


def _api(now: datetime) -> ClientRecord:
    """The client of the API itself, which may introspect tokens for its audience."""
    namespace, name = SERVER
    return ClientRecord(namespace, name, "uid-api", credentials=(Credential(_sha256(secret(".".join(SERVER))), now),))


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _jwks(jwk: dict[str, str]) -> bytes:
    members = ",".join(f'"{name}":"{value}"' for name, value in jwk.items())
    return f'{{"keys":[{{{members}}}]}}'.encode()


def object_of(kind: ManagedKind, name: str, entries: Entries, *, of_type: str = "", label: str = "") -> Change:
    labels = {MANAGED_BY: MANAGER} | ({RECORD_LABEL: label} if label else {})
    existing = Existing(Ref(kind, SYSTEM, name), f"uid-{name}", "1", of_type, labels, creation_time=datetime.now(UTC))
    return Change(existing, entries)


CASES: Final = {
    case.name: case
    for case in (
        Case("es256", "ES256, Basic", MANY, token_requests.basic),
        Case("es256-one-client", "ES256, Basic, 1 client", 1, token_requests.basic),
        Case("es256-post", "ES256, post", MANY, token_requests.post),
        Case("rs256", "RS256, Basic", MANY, token_requests.basic, floor="rs256", algorithm="RS256"),
        Case(
            "private-key-jwt",
            "private_key_jwt",
            MANY,
            token_requests.assertions,
            floor="private-key-jwt",
            method="PrivateKeyJWT",
            once=True,
        ),
        Case(
            "service-account",
            "ServiceAccount",
            MANY,
            token_requests.projected_tokens,
            floor="service-account",
            method="ServiceAccount",
        ),
        Case(
            "service-account-unseen",
            "ServiceAccount, unseen",
            MANY,
            token_requests.many_projected_tokens,
            floor="service-account-unseen",
            method="ServiceAccount",
        ),
        Case(
            "introspection",
            "introspection",
            MANY,
            token_requests.introspections,
            floor="introspection",
            result="active",
            lifetime=3600,
        ),
        Case(
            "introspection-unseen",
            "introspection, unseen",
            MANY,
            token_requests.many_introspections,
            floor="introspection-unseen",
            result="active",
            lifetime=3600,
        ),
    )
}
"""The first case is the one of the performance budgets and of the comparison with the peer."""
