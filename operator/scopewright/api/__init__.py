"""The four kinds as pydantic models, and the schemas generated from them. No I/O and no operator logic.

Start at `oauthclient`, `resourceserver`, `scopegrant` and `signingkey`. `python -m scopewright.api.crds crds` generates
`crds/` from them.
"""

from scopewright.api.meta import (
    API_VERSION,
    CATEGORY,
    GROUP,
    VERSION,
    Condition,
    Duration,
    HistoryEntry,
    Kind,
    Model,
    ObjectMeta,
    Spec,
    Status,
    Timestamp,
    format_duration,
    format_timestamp,
    parse_duration,
)
from scopewright.api.oauthclient import OAuthClient, OAuthClientSpec, OAuthClientStatus
from scopewright.api.resourceserver import ResourceServer, ResourceServerSpec, ResourceServerStatus
from scopewright.api.scopegrant import ScopeGrant, ScopeGrantSpec, ScopeGrantStatus
from scopewright.api.signingkey import SigningKey, SigningKeySpec, SigningKeyStatus

KINDS: dict[str, type[Kind]] = {kind.KIND: kind for kind in (OAuthClient, ResourceServer, ScopeGrant, SigningKey)}
"""The four kinds, by `kind`."""

__all__ = [
    "API_VERSION",
    "CATEGORY",
    "GROUP",
    "KINDS",
    "VERSION",
    "Condition",
    "Duration",
    "HistoryEntry",
    "Kind",
    "Model",
    "OAuthClient",
    "OAuthClientSpec",
    "OAuthClientStatus",
    "ObjectMeta",
    "ResourceServer",
    "ResourceServerSpec",
    "ResourceServerStatus",
    "ScopeGrant",
    "ScopeGrantSpec",
    "ScopeGrantStatus",
    "SigningKey",
    "SigningKeySpec",
    "SigningKeyStatus",
    "Spec",
    "Status",
    "Timestamp",
    "format_duration",
    "format_timestamp",
    "parse_duration",
]
