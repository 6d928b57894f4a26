"""The record of a resource server with its grants, and the claims of its audience and hostnames."""

from dataclasses import dataclass, field
from typing import Annotated, Literal, NamedTuple

from pydantic import Field

from scopewright.core.records.fields import NOT_IF_EMPTY, RECORD_CONFIG, Instant


@dataclass(frozen=True, slots=True)
class ResolvedGrant:
    """One ScopeGrant: scopes for clients (`<namespace>.<name>`), for namespaces, or for all clients (`everybody`)."""

    __pydantic_config__ = RECORD_CONFIG

    scopes: tuple[str, ...]
    """With the scopes of `roles`."""
    clients: tuple[str, ...] = ()
    namespaces: tuple[str, ...] = ()
    everybody: bool = False
    not_after: Instant | None = None
    roles: Annotated[tuple[str, ...], NOT_IF_EMPTY] = ()


@dataclass(frozen=True, slots=True)
class Role:
    """A role of an API. A token has it only with all of its scopes."""

    __pydantic_config__ = RECORD_CONFIG

    name: str
    scopes: tuple[str, ...]
    description: str = ""


@dataclass(frozen=True, slots=True)
class UserGrant:
    """One entry of `toUsers`: scopes and roles for users, through clients.

    The user is in one of `groups`, is one of `subjects`, or `all_users` is set. The client is one of `clients`, in one
    of `namespaces`, or `everybody` is set. A client that acts for itself gets nothing by it.
    """

    __pydantic_config__ = RECORD_CONFIG

    scopes: tuple[str, ...]
    """With the scopes of `roles`."""
    roles: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    subjects: tuple[str, ...] = ()
    all_users: bool = False
    clients: tuple[str, ...] = ()
    namespaces: tuple[str, ...] = ()
    everybody: bool = False
    not_after: Instant | None = None


@dataclass(frozen=True, slots=True)
class HttpRule:
    """One rule, as `verifier.rules.Rule`. `methods` is empty for every method."""

    __pydantic_config__ = RECORD_CONFIG

    name: str
    paths: tuple[str, ...]
    methods: Annotated[tuple[str, ...], NOT_IF_EMPTY] = ()
    authentication: Literal["Required", "Optional", "None"] = "Required"
    scopes: Annotated[tuple[str, ...], NOT_IF_EMPTY] = ()
    any_scope: Annotated[tuple[str, ...], NOT_IF_EMPTY] = ()
    roles: Annotated[tuple[str, ...], NOT_IF_EMPTY] = ()


@dataclass(frozen=True, slots=True)
class HttpAccess:
    """Where an API is reached, and its rules in force. Without `hostnames`, gateways serve no request for it."""

    __pydantic_config__ = RECORD_CONFIG

    hostnames: tuple[str, ...] = ()
    base_path: str = "/"
    case_sensitive: bool = True
    rules: tuple[HttpRule, ...] = ()
    refused: Annotated[tuple[str, ...], NOT_IF_EMPTY] = ()
    """Paths of rules that the platform refuses since: every request is refused there."""


@dataclass(frozen=True, slots=True)
class ResourceServerRecord:
    """An API and the grants of its owner. `lifetime` is in seconds. Without `audience`, the issuer ignores the API."""

    __pydantic_config__ = RECORD_CONFIG

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
    roles: Annotated[tuple[Role, ...], NOT_IF_EMPTY] = ()
    user_grants: Annotated[tuple[UserGrant, ...], NOT_IF_EMPTY] = ()
    """Never in `grants`: an earlier version, which does not know this field, would give them to clients."""
    descriptions: Annotated[dict[str, str], NOT_IF_EMPTY] = field(default_factory=dict)
    """Descriptions of scopes by their names, in the owner's words, for the consent page."""
    http: HttpAccess | None = None
    """For gateways. The issuer does not read it."""
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

    __pydantic_config__ = RECORD_CONFIG

    audience: str
    namespace: str
    name: str
    version: Literal[1] = 1

    @property
    def key(self) -> str:
        return f"{self.namespace}/{self.name}"


class HttpLocation(NamedTuple):
    """A path of a host, such as `/payroll` of `api.hr.example`, and everything below it. Without a slash at its end."""

    hostname: str
    base_path: str

    @property
    def segments(self) -> tuple[str, ...]:
        return tuple(segment for segment in self.base_path.split("/") if segment)

    def __str__(self) -> str:
        return f"https://{self.hostname}{self.base_path.removesuffix('/')}"


@dataclass(frozen=True, slots=True)
class HostnameClaim:
    """Owner of a hostname with a base path. Created once, and kept until the platform releases it."""

    __pydantic_config__ = RECORD_CONFIG

    hostname: str
    base_path: str
    namespace: str
    name: str
    version: Literal[1] = 1

    @property
    def key(self) -> str:
        return f"{self.namespace}/{self.name}"

    @property
    def location(self) -> HttpLocation:
        return HttpLocation(self.hostname, self.base_path)
