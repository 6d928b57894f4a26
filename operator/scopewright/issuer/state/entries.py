"""The entry of each record in memory, with everything that is computed once for a record, not for each request."""

import sys
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_public_key

from scopewright.core.access import Ends, default_audience, limit_scopes, resolve
from scopewright.core.failures import Rejected
from scopewright.core.profile import ignored_reason
from scopewright.core.records.client import ClientRecord, Login, RequestedAccess, ServiceAccount
from scopewright.core.records.resource_server import ResourceServerRecord
from scopewright.core.revocation_keys import uid_hash
from scopewright.issuer.state.keys import seconds
from scopewright.issuer.state.repeated import ClaimsTemplate, RepeatedToken
from scopewright.verifier.keyset import parse_key
from scopewright.verifier.signatures import Verify, verify_with
from scopewright.verifier.thumbprint import thumbprint

NEVER: Final = float("inf")
MAX_PREPARED_KEYS: Final = 10_240
"""Prepared public keys of clients in the cache, those of the last requests: each takes 2.5 KB in this process and in
OpenSSL, more than its client's record. A request whose key is not there takes 35 µs more: 5 to prepare it, and the rest
because the first verification with a key takes longer than the next ones.
"""
_SHA256_BYTES: Final = 32


@dataclass(slots=True, eq=False)
class ResourceServerEntry:
    """A resource server. `served` is false while another record has its audience."""

    name: str
    record: ResourceServerRecord
    creation_time: datetime | None
    served: bool = False
    key: str = field(init=False)
    """`<namespace>/<name>`, as in manifests."""
    audience: str = field(init=False)

    def __post_init__(self) -> None:
        self.key, self.audience = self.record.key, self.record.audience

    @property
    def default_audience(self) -> str:
        """The default audience, which is accepted in addition to a custom one."""
        return default_audience(self.record.namespace, self.record.name)


@dataclass(slots=True, eq=False)
class GrantedScopes:
    """Scopes of a token at one server, granted until `not_after` (seconds since the epoch).

    It has no reference to the client: a replaced record must be freed without the garbage collector, which ignores
    objects that existed at the start of the issuer.
    """

    scopes: tuple[str, ...]
    not_after: float
    roles: tuple[str, ...] = ()
    scope: str = field(init=False)
    template: ClaimsTemplate | None = None

    def __post_init__(self) -> None:
        self.scope = sys.intern(" ".join(self.scopes))


@dataclass(slots=True, eq=False)
class ServerAccess:
    """The scopes and roles of a client at one server, each with the end of its grant. Valid until `changes_at`."""

    server: ResourceServerEntry
    scope_ends: dict[str, float]
    role_ends: dict[str, float]
    all_scopes: tuple[str, ...]
    changes_at: float
    last_granted: GrantedScopes | None = None
    """Of the last request: most clients repeat their requests."""

    def grant(self, scopes: tuple[str, ...]) -> GrantedScopes:
        """Return some of the scopes for a token, with the roles that they complete."""
        return _granted(self.server, scopes, self.scope_ends, self.role_ends)


@dataclass(slots=True, eq=False)
class UserScopes:
    """The scopes and roles of a user through one client at one server, each with the end of its grant in seconds since
    the epoch, or NEVER. They belong to this user alone and are never cached.
    """

    server: ResourceServerEntry
    scope_ends: dict[str, float]
    role_ends: dict[str, float]

    def grant(self, scopes: tuple[str, ...]) -> GrantedScopes:
        """Return some of the scopes, at least one, for a token, with the roles that they complete."""
        return _granted(self.server, scopes, self.scope_ends, self.role_ends)


def _granted(
    server: ResourceServerEntry, scopes: tuple[str, ...], scope_ends: dict[str, float], role_ends: dict[str, float]
) -> GrantedScopes:
    """With the roles whose scopes are all among these; the token ends with the first of them all."""
    not_after = min(scope_ends[scope] for scope in scopes)
    if not role_ends:
        return GrantedScopes(scopes, not_after)
    in_token = frozenset(scopes)
    roles = tuple(r.name for r in server.record.roles if r.name in role_ends and in_token.issuperset(r.scopes))
    not_after = min((not_after, *(role_ends[role] for role in roles)))
    return GrantedScopes(scopes, not_after, roles)


@dataclass(slots=True, eq=False)
class ClientKey:
    """A public key of a client, accepted until `end`. It may verify `algorithms`; without any, it verifies nothing.

    It is kept as DER: for an EC key 124 bytes, an eighth of its JWK and a twentieth of a prepared key. Preparing it
    from DER takes 5 µs, from a JWK 11 µs.
    """

    kid: str
    digest: bytes = field(repr=False)
    end: float
    algorithms: tuple[str, ...]
    der: bytes = field(repr=False)

    def verifies(self, signing_input: bytes, signature: bytes) -> bool:
        return _prepared(self)(signing_input, signature)


@lru_cache(maxsize=MAX_PREPARED_KEYS)
def _prepared(key: ClientKey) -> Verify:
    return verify_with(load_der_public_key(key.der), key.algorithms[0])


def build_key(jwk: dict[str, str], digest: bytes, end: float) -> ClientKey:
    kid = jwk.get("kid") or thumbprint(jwk)
    public = parse_key({**jwk, "kid": kid})
    if public is None:
        return ClientKey(kid, digest, end, (), b"")
    der = public.public_key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return ClientKey(kid, digest, end, _same(public.algorithms), der)


@lru_cache(maxsize=64)
def _same(algorithms: tuple[str, ...]) -> tuple[str, ...]:
    """One object for equal tuples."""
    return algorithms


@dataclass(slots=True, eq=False)
class Client:
    """A client record. Credentials are SHA-256 digests, each with its end."""

    client_id: str
    namespace: str
    uid_hash: str
    method: str
    grant_types: tuple[str, ...]
    disabled: bool
    credentials: tuple[tuple[bytes, float], ...] = field(repr=False)
    keys: tuple[ClientKey, ...]
    service_account: ServiceAccount | None
    identity: bytes = field(repr=False)
    """Stands for the SHA-256 of the credential if the operator generates none."""
    requested: tuple[RequestedAccess, ...]
    version: int
    """The resourceVersion if it is a number, otherwise -1."""
    login: Login | None = None
    """None: no user can log in through the client."""
    public: bool = False
    """Whether it has no credential."""
    dpop_required: bool = False
    access: dict[str, ServerAccess] | None = None
    """By resource server; filled on the first request."""
    repeated: tuple[RepeatedToken, ...] = field(default=(), repr=False)
    """What its next token has in common with earlier ones, the newest first."""
    recognised: tuple[bytes, ...] = field(default=(), repr=False)
    """Keys of its entries in `RecognisedCredentials`, the oldest first."""

    @property
    def declared_method(self) -> str:
        """`spec.authentication.method` of its manifest."""
        return "None" if self.public else self.method

    def requested_from(self, server: ResourceServerEntry) -> RequestedAccess | None:
        """The access at this server that the manifest asks for."""
        for requested in self.requested:
            if requested.resource_server == server.key:
                return requested
        return None


def build_client(record: ClientRecord, resource_version: str) -> Client:
    """Raises `Rejected`."""
    return Client(
        client_id=record.client_id,
        namespace=sys.intern(record.namespace),
        uid_hash=uid_hash(record.uid),
        method=record.method,
        grant_types=tuple(map(sys.intern, record.grant_types)),
        disabled=record.refused,
        credentials=tuple((_digest(c.sha256), seconds(c.expiration_time)) for c in record.credentials if c.jwk is None),
        keys=_keys(record),
        service_account=record.service_account,
        identity=bytes.fromhex(record.identity),
        requested=_merged(record.access),
        version=version_number(resource_version),
        login=record.login,
        public=record.public,
        dpop_required=record.dpop_required,
    )


def build_server(name: str, record: ResourceServerRecord, creation_time: datetime | None) -> ResourceServerEntry:
    """Raises `Rejected`."""
    if record.lifetime < 1:
        raise Rejected("MalformedRecord", "lifetime")
    for end in (*(g.not_after for g in record.grants), *(g.not_after for g in record.user_grants)):
        seconds(end)
    served = replace(record, audience="") if record.orphaned_time else record
    return ResourceServerEntry(name, _with_shared_names(served), creation_time)


def _with_shared_names(record: ResourceServerRecord) -> ResourceServerRecord:
    """The entries of one ScopeGrant's `toUsers` repeat its scopes and roles: here they are in memory once."""
    if not record.user_grants:
        return record
    shared: dict[tuple[str, ...], tuple[str, ...]] = {}
    grants = (
        replace(g, scopes=shared.setdefault(g.scopes, g.scopes), roles=shared.setdefault(g.roles, g.roles))
        for g in record.user_grants
    )
    return replace(record, user_grants=tuple(grants))


def version_number(resource_version: str) -> int:
    return int(resource_version) if resource_version.isascii() and resource_version.isdigit() else -1


def _keys(record: ClientRecord) -> tuple[ClientKey, ...]:
    """Without the ignored keys, which a record of an earlier version may have."""
    generated = [build_key(c.jwk, _digest(c.sha256), seconds(c.expiration_time)) for c in record.credentials if c.jwk]
    identity = bytes.fromhex(record.identity)
    registered = [jwk for jwk in record.public_keys if ignored_reason(jwk) is None]
    return (*generated, *(build_key(jwk, identity, NEVER) for jwk in registered))


def _digest(sha256: str) -> bytes:
    try:
        digest = bytes.fromhex(sha256)
    except ValueError:
        digest = b""
    if len(digest) != _SHA256_BYTES:
        raise Rejected("MalformedRecord", "not a SHA-256")
    return digest


def _merged(access: tuple[RequestedAccess, ...]) -> tuple[RequestedAccess, ...]:
    """One entry for each server, with the scopes in the order of the manifest."""
    scopes: dict[str, dict[str, None]] = {}
    for requested in limit_scopes(access):
        of_server = scopes.setdefault(sys.intern(requested.resource_server), {})
        of_server.update((sys.intern(s), None) for s in requested.scopes)
    return tuple(RequestedAccess(server, tuple(names)) for server, names in scopes.items())


def resolve_access(client: Client, requested: RequestedAccess, server: ResourceServerEntry, now: float) -> ServerAccess:
    """Return the scopes and roles of the client itself at the server, and when they change by time alone."""
    instant = datetime.fromtimestamp(now, UTC)
    resolved = resolve(requested, client.namespace, client.client_id, server.record, instant)
    scopes, roles = ends_in_seconds(resolved.granted), ends_in_seconds(resolved.roles)
    changes_at = min((*scopes.values(), *roles.values()), default=NEVER)
    scopes, all_scopes = _shared(tuple(scopes.items()))
    return ServerAccess(server, scopes, _shared(tuple(roles.items()))[0], all_scopes, changes_at)


@lru_cache(maxsize=256)
def _shared(ends: tuple[tuple[str, float], ...]) -> tuple[dict[str, float], tuple[str, ...]]:
    """The dict, and its names: most clients of an API have the same access, which is then in memory once."""
    return dict(ends), tuple(name for name, _ in ends)


def ends_in_seconds(ends: Ends) -> dict[str, float]:
    """By name of a scope or role: seconds since the epoch, or NEVER."""
    return {name: end.timestamp() if end else NEVER for name, end in ends.items()}
