"""The records: what the operator writes into the issuer's namespace and the issuer obeys.

One Secret for each client and each signing key, one ConfigMap for each resource server, one for the issuer itself.
A record is found by its type and its exact name, and carries the UID of the object it was made for: a name is not an
identity. The JSON is camelCase, its instants RFC 3339 in UTC; `decode` refuses anything malformed with `Rejected`.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Annotated, Any, Final, Literal, TypeVar, get_args

from pydantic import (
    AfterValidator,
    AliasGenerator,
    AwareDatetime,
    ConfigDict,
    Field,
    PlainSerializer,
    TypeAdapter,
    ValidationError,
)
from pydantic.alias_generators import to_camel

from scopewright.core.failures import Rejected
from scopewright.core.objects import bounded_rotate
from scopewright.core.profile import Profile

ENTRY: Final = "record.json"
PRIVATE_KEY_ENTRY: Final = "private.pem"
KEY_ENTRY: Final = "key"
ROTATE_ENTRY: Final = "rotate"
"""Beside the seal key: the value of `scopewright.dev/rotate` that it was made for."""

CLIENT_TYPE: Final = "scopewright.dev/client-record"
SIGNING_KEY_TYPE: Final = "scopewright.dev/signing-key-record"
SEAL_KEY_TYPE: Final = "scopewright.dev/seal-key"
NONCE_KEY_TYPE: Final = "scopewright.dev/nonce-key"

RECORD_LABEL: Final = "scopewright.dev/record"
"""On ConfigMaps, which have no type: `resource-server`, `audience`, `usage`, `revocations`, `issuer`. It selects; the
name proves."""

CLIENT_PREFIX: Final = "client."
SERVER_PREFIX: Final = "resourceserver."
AUDIENCE_PREFIX: Final = "audience."
KEY_PREFIX: Final = "signingkey."
ISSUER_NAME: Final = "scopewright-issuer"
USAGE_NAME: Final = "scopewright-usage"
REVOCATIONS_NAME: Final = "scopewright-revocations"
WRITTEN_BY_ISSUERS: Final = (USAGE_NAME, REVOCATIONS_NAME)
"""ConfigMaps that the operator makes and issuers update; that, and reading their namespace, are all their rights."""
SEAL_KEY_NAME: Final = "scopewright-seal"
NONCE_KEY_NAME: Final = "scopewright-nonce"

LOCAL_CLUSTER: Final = "in-cluster"
"""What the cluster is called that the operator runs in, where an OAuthClient names another one or none."""


def rfc3339(instant: datetime) -> str:
    """`2026-11-22T10:00:00Z`, with microseconds where there are any."""
    utc = instant.astimezone(UTC)
    return utc.isoformat(timespec="microseconds" if utc.microsecond else "seconds").replace("+00:00", "Z")


Instant = Annotated[AwareDatetime, PlainSerializer(rfc3339, return_type=str, when_used="json")]

Rotate = Annotated[str, AfterValidator(bounded_rotate)]
"""Bounded as it is read, too: earlier versions kept values of any length."""

_CONFIG = ConfigDict(
    alias_generator=AliasGenerator(alias=to_camel), validate_by_name=True, validate_by_alias=True, extra="ignore"
)


@dataclass(frozen=True, slots=True)
class Credential:
    """A secret that the issuer accepts, as its SHA-256 (hex). Without `expiration_time` it does not end by itself."""

    __pydantic_config__ = _CONFIG

    sha256: str
    issue_time: Instant
    expiration_time: Instant | None = None
    replaced_time: Instant | None = None
    """When its successor was first seen in the Secret: what overlaps are counted from."""
    rotate: Rotate = ""
    """The value that the annotation `scopewright.dev/rotate` had when it was made: another one asks for a successor.
    A value of more than 64 characters is kept as its SHA-256 (hex)."""
    heal: bool = False
    """It was made because the Secret was edited or gone."""
    jwk: dict[str, str] | None = None
    """The public key of a pair that the operator has made; `sha256` is then that of the private JWK in the Secret."""

    def accepted_at(self, now: datetime) -> bool:
        return self.expiration_time is None or now < self.expiration_time


@dataclass(frozen=True, slots=True)
class RequestedAccess:
    """The scopes that a client asks for at one resource server, which `resource_server` names `<namespace>/<name>`."""

    __pydantic_config__ = _CONFIG

    resource_server: str
    scopes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ServiceAccount:
    """The ServiceAccount, in the client's namespace, whose projected tokens authenticate it; bound to its UID."""

    __pydantic_config__ = _CONFIG

    name: str
    uid: Annotated[str, Field(min_length=1)]
    cluster: str = LOCAL_CLUSTER


@dataclass(frozen=True, slots=True)
class ClientRecord:
    """Who a client is, how it proves that, and what it asks for."""

    __pydantic_config__ = _CONFIG

    namespace: str
    name: str
    uid: Annotated[str, Field(min_length=1)]
    method: Literal["ClientSecret", "PrivateKeyJWT", "ServiceAccount"] = "ClientSecret"
    grant_types: tuple[str, ...] = ("client_credentials",)
    disabled: bool = False
    credentials: tuple[Credential, ...] = ()
    """In the order in which they were made, whatever the clocks said."""
    public_keys: tuple[dict[str, str], ...] = ()
    """With method PrivateKeyJWT: the keys that its owner has given; empty where the operator makes the pair."""
    service_account: ServiceAccount | None = None
    """With method ServiceAccount; None while there is no such ServiceAccount."""
    access: tuple[RequestedAccess, ...] = ()
    secret_name: str = ""
    revoked_before: Instant | None = None
    """What was issued earlier was revoked, whatever `spec.rotation.revokedBefore` says by now."""
    heals: tuple[Instant, ...] = ()
    """When the credentials were made that healed a Secret within the last hour."""
    owner_creation_time: Instant | None = None
    """When the object was created that the record is for: a CRD younger than that proves nothing about its absence."""
    orphaned_time: Instant | None = None
    """Since when the object is proven to be gone and the record kept, and refused, because too many went at once."""
    version: Literal[1] = 1

    @property
    def client_id(self) -> str:
        return f"{self.namespace}.{self.name}"

    @property
    def refused(self) -> bool:
        """Whether the issuer gives it no token, whatever it presents."""
        return self.disabled or self.orphaned_time is not None

    @property
    def identity(self) -> str:
        """What stands in the report of use for a client without a credential that we have made: a SHA-256."""
        return hashlib.sha256(f"client {self.uid}".encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class ResolvedGrant:
    """One ScopeGrant, resolved: these scopes to these clients (`<namespace>.<name>`), namespaces, or everybody."""

    __pydantic_config__ = _CONFIG

    scopes: tuple[str, ...]
    clients: tuple[str, ...] = ()
    namespaces: tuple[str, ...] = ()
    everybody: bool = False
    not_after: Instant | None = None


@dataclass(frozen=True, slots=True)
class ResourceServerRecord:
    """What an API declares and its owner grants. `lifetime` is in seconds.

    Without `audience` the issuer serves nothing for it.
    """

    __pydantic_config__ = _CONFIG

    namespace: str
    name: str
    uid: Annotated[str, Field(min_length=1)]
    audience: str
    scopes: tuple[str, ...] = ()
    served_by: tuple[str, ...] = ()
    lifetime: int = 600
    signing_key: str = "default"
    scopes_list_claim: bool = False
    dpop_required: bool = False
    """Its tokens are bound to a key of the client's, or there are none (RFC 9449)."""
    grants: tuple[ResolvedGrant, ...] = ()
    owner_creation_time: Instant | None = None
    """As in ClientRecord."""
    orphaned_time: Instant | None = None
    """As in ClientRecord; the issuer serves nothing for it."""
    version: Literal[1] = 1

    @property
    def key(self) -> str:
        return f"{self.namespace}/{self.name}"


@dataclass(frozen=True, slots=True)
class AudienceClaim:
    """Whose an audience of one's own choosing is. Made once, and there until the platform releases it."""

    __pydantic_config__ = _CONFIG

    audience: str
    namespace: str
    name: str
    version: Literal[1] = 1

    @property
    def key(self) -> str:
        return f"{self.namespace}/{self.name}"


@dataclass(frozen=True, slots=True)
class KeyRecord:
    """One key of a SigningKey and the instants it obeys; they are there from when the JWKS first held it.

    `jwk` is the public key with `kid`, `alg` and `use`. Nothing is signed before `signing_start_time` or from
    `signing_end_time` on, and no token expires after `verification_end_time`. A `revoked_time` ends all of it.
    """

    __pydantic_config__ = _CONFIG

    kid: str
    signing_key: str
    algorithm: str
    config_map: str
    jwk: dict[str, str]
    creation_time: Instant
    rotate: Rotate = ""
    """The value that the annotation `scopewright.dev/rotate` had when it was made: another one asks for a successor.
    A value of more than 64 characters is kept as its SHA-256 (hex)."""
    at_once: bool = False
    """It signs as soon as it is published: the first key of all, or one made in an emergency."""
    signing_start_time: Instant | None = None
    signing_end_time: Instant | None = None
    verification_end_time: Instant | None = None
    revoked_time: Instant | None = None
    version: Literal[1] = 1

    def signs_at(self, now: datetime) -> bool:
        if self.revoked_time or self.signing_start_time is None or self.signing_end_time is None:
            return False
        return self.signing_start_time <= now < self.signing_end_time

    def published_at(self, now: datetime) -> bool:
        """Whether it belongs in the JWKS."""
        return self.revoked_time is None and (self.verification_end_time is None or now < self.verification_end_time)


@dataclass(frozen=True, slots=True)
class UsageRecord:
    """When credentials were last used, as issuers report it: a hint, which can only lengthen what policy allows.

    `used` maps `usage_key` of a credential to minutes since the epoch; `since` is when reporting began.
    """

    __pydantic_config__ = _CONFIG

    since: Instant
    used: dict[str, int] = field(default_factory=dict)
    version: Literal[1] = 1

    def of(self, client: ClientRecord) -> dict[str, datetime]:
        """When each of its credentials was last used, and what it brings itself, by their SHA-256; without those that
        nobody reported.
        """
        hashes = (*(c.sha256 for c in client.credentials), client.identity)
        minutes = {sha256: self.used[key] for sha256 in hashes if (key := usage_key(sha256)) in self.used}
        return {sha256: datetime.fromtimestamp(value * 60, UTC) for sha256, value in minutes.items()}


def usage_key(sha256: str) -> str:
    """What names a credential in the report: 64 bits of its hash, which tell nothing about the secret."""
    return sha256[:16]


@dataclass(frozen=True, slots=True)
class RevocationRecord:
    """What has ended before its time, written by issuers; `core.revocations` says what it means and merges it.

    Seconds since the epoch throughout. `tokens` has the `exp` of each; the others are not-befores: what was issued at
    that instant or earlier has ended. Clients are named by their UID's hash, all else by a hash of its own.
    """

    __pydantic_config__ = _CONFIG

    tokens: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    """By client, and by token."""
    clients: Mapping[str, int] = field(default_factory=dict)
    access: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    """By client, and by audience."""
    audiences: Mapping[str, int] = field(default_factory=dict)
    namespaces: Mapping[str, int] = field(default_factory=dict)
    """By namespace, of a token's client or of its API."""
    everybody: int = 0
    owners: Mapping[str, str] = field(default_factory=dict)
    """The namespace of clients and audiences that are named above: where there are too many, it ends as one."""
    longest_lifetime: Annotated[int, Field(ge=0, le=2**53)] = 0
    """The longest `maxTokenLifetime` that an issuer has seen: a lower one shortens no token that is about."""
    version: Literal[1] = 1


@dataclass(frozen=True, slots=True)
class Cluster:
    """A cluster whose ServiceAccount tokens are taken. Its keys are given, or fetched from `jwks_uri`, or found by OIDC
    discovery: at the API server for `in-cluster`, else at `issuer`.
    """

    __pydantic_config__ = _CONFIG

    name: str
    issuer: str = ""
    """The `iss` of its tokens. Left out for `in-cluster`: as its API server says."""
    jwks_uri: str = ""
    keys: tuple[dict[str, str], ...] = ()
    token_review: bool = False
    """Ask the API server about each token as well: it notices Pods and ServiceAccounts that are gone."""


@dataclass(frozen=True, slots=True)
class IssuerRecord:
    """What operator and issuers must agree on; its only source is the operator's configuration. Seconds throughout."""

    __pydantic_config__ = _CONFIG

    issuer: str
    max_token_lifetime: int = 3600
    clock_skew: int = 60
    jwks_max_age: int = 300
    dpop_nonce: Literal["Required", "Optional"] = "Required"
    """Whether a DPoP proof at the token endpoint needs a nonce (RFC 9449 §8)."""
    clusters: tuple[Cluster, ...] = (Cluster(LOCAL_CLUSTER),)
    reserved_audiences: tuple[str, ...] = ()
    """Audiences of API servers: a ServiceAccount token that has one beside the issuer is refused."""
    profile: Profile = "Default"
    dpop_algorithms: tuple[str, ...] = ()
    """Of DPoP proofs at the token endpoint. Empty: all that the profile allows."""
    version: Literal[1] = 1

    @property
    def is_fapi2(self) -> bool:
        return self.profile == "FAPI2"


Record = ClientRecord | ResourceServerRecord | AudienceClaim | KeyRecord | UsageRecord | RevocationRecord | IssuerRecord
R = TypeVar(
    "R", ClientRecord, ResourceServerRecord, AudienceClaim, KeyRecord, UsageRecord, RevocationRecord, IssuerRecord
)

_ADAPTERS: dict[type, TypeAdapter[Any]] = {kind: TypeAdapter(kind) for kind in get_args(Record)}


def encode(record: Record) -> bytes:
    """The record as JSON, the same bytes for the same record."""
    return _ADAPTERS[type(record)].dump_json(record, by_alias=True, exclude_none=True)


def decode(kind: type[R], data: bytes) -> R:
    """The record that `data` holds, or `Rejected`; the message never repeats the data."""
    try:
        record: R = _ADAPTERS[kind].validate_json(data)
    except ValidationError as error:
        where = ", ".join(str(e["loc"][0]) if e["loc"] else e["type"] for e in error.errors(include_input=False)[:3])
        raise Rejected("MalformedRecord", f"not a {kind.__name__}: {where}") from None
    return record


def client_record_name(namespace: str, name: str) -> str:
    """Unique, because neither a namespace nor a client's name has a dot in it."""
    return f"{CLIENT_PREFIX}{namespace}.{name}"


def resource_server_record_name(namespace: str, name: str) -> str:
    return f"{SERVER_PREFIX}{namespace}.{name}"


def audience_claim_name(audience: str) -> str:
    """One name an audience: who creates it first has it, and everybody else's creation fails."""
    return f"{AUDIENCE_PREFIX}{hashlib.sha256(audience.encode()).hexdigest()[:32]}"


def key_record_name(kid: str) -> str:
    """A `kid` is case-sensitive, an object's name is not: hence the hash."""
    return f"{KEY_PREFIX}{hashlib.sha256(kid.encode()).hexdigest()[:32]}"
