"""The record of a resource server with its grants, and the claim of its audience."""

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

from scopewright.core.records.fields import RECORD_CONFIG, Instant


@dataclass(frozen=True, slots=True)
class ResolvedGrant:
    """One ScopeGrant: scopes for clients (`<namespace>.<name>`), for namespaces, or for all clients (`everybody`)."""

    __pydantic_config__ = RECORD_CONFIG

    scopes: tuple[str, ...]
    clients: tuple[str, ...] = ()
    namespaces: tuple[str, ...] = ()
    everybody: bool = False
    not_after: Instant | None = None


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
