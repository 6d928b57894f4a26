"""Records: the state that the operator writes into the issuer's namespace, and that issuers follow.

One Secret per client and per signing key, one ConfigMap per resource server, one for the issuer itself. A record is
identified by its type and its exact name, and has the UID of its object: a name can be used again. The JSON is
camelCase, its times RFC 3339 in UTC. `decode` raises `Rejected` for a malformed record.
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
"""Beside the seal key: the value of `scopewright.dev/rotate` when it was created."""

CLIENT_TYPE: Final = "scopewright.dev/client-record"
SIGNING_KEY_TYPE: Final = "scopewright.dev/signing-key-record"
SEAL_KEY_TYPE: Final = "scopewright.dev/seal-key"
NONCE_KEY_TYPE: Final = "scopewright.dev/nonce-key"

RECORD_LABEL: Final = "scopewright.dev/record"
"""On ConfigMaps, which have no type: `resource-server`, `audience`, `usage`, `revocations`, `issuer`. Watches select by
it; only the name is proof."""

CLIENT_PREFIX: Final = "client."
SERVER_PREFIX: Final = "resourceserver."
AUDIENCE_PREFIX: Final = "audience."
KEY_PREFIX: Final = "signingkey."
ISSUER_NAME: Final = "scopewright-issuer"
USAGE_NAME: Final = "scopewright-usage"
REVOCATIONS_NAME: Final = "scopewright-revocations"
WRITTEN_BY_ISSUERS: Final = (USAGE_NAME, REVOCATIONS_NAME)
"""ConfigMaps that the operator creates and issuers update. Issuers may write nothing else."""
SEAL_KEY_NAME: Final = "scopewright-seal"
NONCE_KEY_NAME: Final = "scopewright-nonce"

LOCAL_CLUSTER: Final = "in-cluster"
"""Name of the cluster that the operator runs in."""


def rfc3339(instant: datetime) -> str:
    """Format a time like `2026-11-22T10:00:00Z`, with microseconds if it has any."""
    utc = instant.astimezone(UTC)
    return utc.isoformat(timespec="microseconds" if utc.microsecond else "seconds").replace("+00:00", "Z")


Instant = Annotated[AwareDatetime, PlainSerializer(rfc3339, return_type=str, when_used="json")]

Rotate = Annotated[str, AfterValidator(bounded_rotate)]
"""Shortened when it is read too: earlier versions stored values of any length."""

_CONFIG = ConfigDict(
    alias_generator=AliasGenerator(alias=to_camel), validate_by_name=True, validate_by_alias=True, extra="ignore"
)


@dataclass(frozen=True, slots=True)
class Credential:
    """A secret that the issuer accepts, as its SHA-256 in hex. It has no end if `expiration_time` is None."""

    __pydantic_config__ = _CONFIG

    sha256: str
    issue_time: Instant
    expiration_time: Instant | None = None
    replaced_time: Instant | None = None
    """Time at which its successor was first seen in the Secret: the start of the overlap."""
    rotate: Rotate = ""
    """Value of the annotation `scopewright.dev/rotate` at creation; another value requests a successor. A value of more
    than 64 characters is stored as its SHA-256 in hex."""
    heal: bool = False
    """Whether it was created because the Secret was edited or deleted."""
    jwk: dict[str, str] | None = None
    """Public key of a pair that the operator generated; `sha256` is then that of the private JWK in the Secret."""

    def accepted_at(self, now: datetime) -> bool:
        return self.expiration_time is None or now < self.expiration_time


@dataclass(frozen=True, slots=True)
class RequestedAccess:
    """Scopes that a client requests at one resource server, `<namespace>/<name>`."""

    __pydantic_config__ = _CONFIG

    resource_server: str
    scopes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ServiceAccount:
    """ServiceAccount in the client's namespace whose projected tokens authenticate the client. Bound to its UID."""

    __pydantic_config__ = _CONFIG

    name: str
    uid: Annotated[str, Field(min_length=1)]
    cluster: str = LOCAL_CLUSTER


@dataclass(frozen=True, slots=True)
class ClientRecord:
    """A client: its identity, its authentication, the access that it requests."""

    __pydantic_config__ = _CONFIG

    namespace: str
    name: str
    uid: Annotated[str, Field(min_length=1)]
    method: Literal["ClientSecret", "PrivateKeyJWT", "ServiceAccount"] = "ClientSecret"
    grant_types: tuple[str, ...] = ("client_credentials",)
    disabled: bool = False
    credentials: tuple[Credential, ...] = ()
    """In the order of their creation, independent of clocks."""
    public_keys: tuple[dict[str, str], ...] = ()
    """With method PrivateKeyJWT: the keys of `jwks`. Empty if the operator generates the key pair."""
    service_account: ServiceAccount | None = None
    """With method ServiceAccount; None while the ServiceAccount does not exist."""
    access: tuple[RequestedAccess, ...] = ()
    secret_name: str = ""
    revoked_before: Instant | None = None
    """Credentials issued earlier are revoked, even if `spec.rotation.revokedBefore` has changed since."""
    heals: tuple[Instant, ...] = ()
    """Times of the credentials that healed the Secret within the last hour."""
    owner_creation_time: Instant | None = None
    """Creation time of the object. If the CRD is younger, a missing object is not proof of its deletion."""
    orphaned_time: Instant | None = None
    """Time since which the object is confirmed as deleted, and the record kept because too many disappeared at once.
    The issuer refuses the client."""
    version: Literal[1] = 1

    @property
    def client_id(self) -> str:
        return f"{self.namespace}.{self.name}"

    @property
    def refused(self) -> bool:
        """Whether the issuer refuses every request of the client."""
        return self.disabled or self.orphaned_time is not None

    @property
    def identity(self) -> str:
        """SHA-256 that stands in the usage record for a client whose credential Scopewright does not issue."""
        return hashlib.sha256(f"client {self.uid}".encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class ResolvedGrant:
    """One ScopeGrant: scopes for clients (`<namespace>.<name>`), for namespaces, or for all clients (`everybody`)."""

    __pydantic_config__ = _CONFIG

    scopes: tuple[str, ...]
    clients: tuple[str, ...] = ()
    namespaces: tuple[str, ...] = ()
    everybody: bool = False
    not_after: Instant | None = None


@dataclass(frozen=True, slots=True)
class ResourceServerRecord:
    """An API and the grants of its owner. `lifetime` is in seconds. Without `audience`, the issuer ignores the API."""

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
    """Whether its tokens must be bound to a key of the client (RFC 9449)."""
    grants: tuple[ResolvedGrant, ...] = ()
    owner_creation_time: Instant | None = None
    """As in ClientRecord."""
    orphaned_time: Instant | None = None
    """As in ClientRecord; the issuer ignores the API."""
    version: Literal[1] = 1

    @property
    def key(self) -> str:
        return f"{self.namespace}/{self.name}"


@dataclass(frozen=True, slots=True)
class AudienceClaim:
    """Owner of an audience that is not the default one. Created once, and kept until the platform releases it."""

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
    """One key of a SigningKey and its schedule, which is set when the JWKS first contains the key.

    `jwk` is the public key with `kid`, `alg` and `use`. The key signs from `signing_start_time` until
    `signing_end_time`, and no token expires after `verification_end_time`. A `revoked_time` ends both.
    """

    __pydantic_config__ = _CONFIG

    kid: str
    signing_key: str
    algorithm: str
    config_map: str
    jwk: dict[str, str]
    creation_time: Instant
    rotate: Rotate = ""
    """As in Credential."""
    at_once: bool = False
    """Whether it signs as soon as it is published: the first key of all, or an emergency key."""
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
    """Last use of credentials, as reported by issuers. It is a hint, and can only extend an overlap within the policy.

    `used` maps `usage_key` of a credential to minutes since the epoch. `since` is the start of the reports.
    """

    __pydantic_config__ = _CONFIG

    since: Instant
    used: dict[str, int] = field(default_factory=dict)
    version: Literal[1] = 1

    def of(self, client: ClientRecord) -> dict[str, datetime]:
        """Return the reported last use of each of its credentials, and of its own proof, by SHA-256."""
        hashes = (*(c.sha256 for c in client.credentials), client.identity)
        minutes = {sha256: self.used[key] for sha256 in hashes if (key := usage_key(sha256)) in self.used}
        return {sha256: datetime.fromtimestamp(value * 60, UTC) for sha256, value in minutes.items()}


def usage_key(sha256: str) -> str:
    """Return the key of a credential in the usage record: 64 bits of its hash, which do not reveal the secret."""
    return sha256[:16]


@dataclass(frozen=True, slots=True)
class RevocationRecord:
    """Tokens that ended before their expiry, written by issuers. `core.revocations` evaluates and merges such records.

    All times are seconds since the epoch. `tokens` has the `exp` of each token; the other fields are not-before times:
    tokens issued at that time or earlier have ended. A client is named by the hash of its UID, the rest by their own.
    """

    __pydantic_config__ = _CONFIG

    tokens: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    """By client and token."""
    clients: Mapping[str, int] = field(default_factory=dict)
    access: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    """By client and audience."""
    audiences: Mapping[str, int] = field(default_factory=dict)
    namespaces: Mapping[str, int] = field(default_factory=dict)
    """By namespace of a token's client or of its API."""
    everybody: int = 0
    """For all tokens."""
    owners: Mapping[str, str] = field(default_factory=dict)
    """Namespace of the clients and audiences above. If there are too many entries, those of a namespace become one."""
    longest_lifetime: Annotated[int, Field(ge=0, le=2**53)] = 0
    """Longest `maxTokenLifetime` that an issuer has seen: a lower value does not shorten tokens that exist."""
    version: Literal[1] = 1


@dataclass(frozen=True, slots=True)
class Cluster:
    """A cluster whose ServiceAccount tokens authenticate clients. Its keys are `keys`, or come from `jwks_uri`, or from
    OIDC discovery: at the API server for `in-cluster`, else at `issuer`.
    """

    __pydantic_config__ = _CONFIG

    name: str
    issuer: str = ""
    """The `iss` of its tokens. If empty, which only `in-cluster` allows: the issuer of its API server."""
    jwks_uri: str = ""
    keys: tuple[dict[str, str], ...] = ()
    token_review: bool = False
    """Whether the API server reviews each token too: it detects deleted Pods and ServiceAccounts."""


@dataclass(frozen=True, slots=True)
class IssuerRecord:
    """Settings that operator and issuers share, from the operator's configuration. Durations are in seconds."""

    __pydantic_config__ = _CONFIG

    issuer: str
    max_token_lifetime: int = 3600
    clock_skew: int = 60
    jwks_max_age: int = 300
    dpop_nonce: Literal["Required", "Optional"] = "Required"
    """Whether a DPoP proof at the token endpoint needs a nonce (RFC 9449 §8)."""
    clusters: tuple[Cluster, ...] = (Cluster(LOCAL_CLUSTER),)
    reserved_audiences: tuple[str, ...] = ()
    """Audiences of API servers. A ServiceAccount token with one of them is refused."""
    profile: Profile = "Default"
    dpop_algorithms: tuple[str, ...] = ()
    """Algorithms of DPoP proofs at the token endpoint. Empty: all that the profile allows."""
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
    """Return the record as JSON, with the same bytes for equal records."""
    return _ADAPTERS[type(record)].dump_json(record, by_alias=True, exclude_none=True)


def decode(kind: type[R], data: bytes) -> R:
    """Return the record in `data`. Raise `Rejected` if it is malformed; the message never quotes the data."""
    try:
        record: R = _ADAPTERS[kind].validate_json(data)
    except ValidationError as error:
        where = ", ".join(str(e["loc"][0]) if e["loc"] else e["type"] for e in error.errors(include_input=False)[:3])
        raise Rejected("MalformedRecord", f"not a {kind.__name__}: {where}") from None
    return record


def client_record_name(namespace: str, name: str) -> str:
    """Return a unique name: neither a namespace nor a client's name contains a dot."""
    return f"{CLIENT_PREFIX}{namespace}.{name}"


def resource_server_record_name(namespace: str, name: str) -> str:
    return f"{SERVER_PREFIX}{namespace}.{name}"


def audience_claim_name(audience: str) -> str:
    """Return the name of the claim of an audience. The first creation succeeds, all others fail."""
    return f"{AUDIENCE_PREFIX}{hashlib.sha256(audience.encode()).hexdigest()[:32]}"


def key_record_name(kid: str) -> str:
    """Return a hash of the `kid`, which is case-sensitive, while names of objects are lower-case."""
    return f"{KEY_PREFIX}{hashlib.sha256(kid.encode()).hexdigest()[:32]}"
