"""The record of a client, its credentials and the access that it requests."""

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field

from scopewright.api.login import ID_TOKENS
from scopewright.core.objects import digest
from scopewright.core.records.fields import NOT_IF_EMPTY, RECORD_CONFIG, Instant, Rotate
from scopewright.core.records.names import LOCAL_CLUSTER


@dataclass(frozen=True, slots=True)
class Credential:
    """A secret that the issuer accepts, as its SHA-256 in hex. It has no end if `expiration_time` is None."""

    __pydantic_config__ = RECORD_CONFIG

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

    __pydantic_config__ = RECORD_CONFIG

    resource_server: str
    scopes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ServiceAccount:
    """ServiceAccount in the client's namespace whose projected tokens authenticate the client. Bound to its UID."""

    __pydantic_config__ = RECORD_CONFIG

    name: str
    uid: Annotated[str, Field(min_length=1)]
    cluster: str = LOCAL_CLUSTER


@dataclass(frozen=True, slots=True)
class Login:
    """How users log in through a client. Only what the platform allows is in the record. Durations are in seconds."""

    __pydantic_config__ = RECORD_CONFIG

    redirect_uris: tuple[str, ...]
    post_logout_redirect_uris: tuple[str, ...] = ()
    identity_providers: tuple[str, ...] = ()
    """Empty: the only one."""
    allowed_groups: tuple[str, ...] | None = None
    """None: every user of the identity providers."""
    consent: Literal["Required", "Skip"] = "Required"
    pushed_requests_required: bool = False
    """Whether authorization requests must be pushed (RFC 9126)."""
    pkce_required: bool = True
    """Whether authorization requests must have a code challenge. False only for confidential clients that ask for it
    (`login.pkce: Optional`): Basic OP modules and older applications send none (RFC 9700 §2.1.1 allows it)."""
    refresh_idle_timeout: int = 8 * 3600
    refresh_max_lifetime: int = 12 * 3600
    id_token_signing_key: str = ID_TOKENS


@dataclass(frozen=True, slots=True)
class ClientRecord:
    """A client: its identity, its authentication, the access that it requests."""

    __pydantic_config__ = RECORD_CONFIG

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
    login: Login | None = None
    """None: no user can log in through the client."""
    public: Annotated[bool, NOT_IF_EMPTY] = False
    """Whether the client has no credential (authentication method None). `method` is then ClientSecret, and there are
    no credentials: an earlier version, which does not know this field, refuses the client."""
    dpop_required: Annotated[bool, NOT_IF_EMPTY] = False
    """Whether its tokens must be bound to a key (RFC 9449)."""
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
        return digest(f"client {self.uid}")
