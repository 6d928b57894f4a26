"""The record of the issuer: its settings, and the clusters whose ServiceAccounts authenticate clients."""

from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal

from pydantic import Field

from scopewright.core.profile import Profile
from scopewright.core.records.fields import RECORD_CONFIG
from scopewright.core.records.names import LOCAL_CLUSTER

SESSION_IDLE_TIMEOUT: Final = 3600
SESSION_MAX_LIFETIME: Final = 12 * 3600


def _unless(default: int) -> Any:
    """Not written if it is the default: records of earlier versions stay as they are."""
    return Field(exclude_if=lambda value: value == default)


@dataclass(frozen=True, slots=True)
class Cluster:
    """A cluster whose ServiceAccount tokens authenticate clients. Its keys are `keys`, or come from `jwks_uri`, or from
    OIDC discovery: at the API server for `in-cluster`, else at `issuer`.
    """

    __pydantic_config__ = RECORD_CONFIG

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

    __pydantic_config__ = RECORD_CONFIG

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
    session_idle_timeout: Annotated[int, _unless(SESSION_IDLE_TIMEOUT)] = SESSION_IDLE_TIMEOUT
    """Time without a login, after which a browser's session logs no user in without asking."""
    session_max_lifetime: Annotated[int, _unless(SESSION_MAX_LIFETIME)] = SESSION_MAX_LIFETIME
    """Time after the login at which a session ends."""
    version: Literal[1] = 1

    @property
    def is_fapi2(self) -> bool:
        return self.profile == "FAPI2"
