"""The five kinds as pydantic models, and the schemas generated from them. No I/O and no operator logic.

Start at `oauthclient`, `resourceserver`, `scopegrant`, `signingkey` and `identityprovider`.
`python -m scopewright.api.crds crds` generates `crds/` from them.
"""

from scopewright.api.identityprovider import IdentityProvider
from scopewright.api.meta import API_VERSION, CATEGORY, GROUP, VERSION, Kind
from scopewright.api.oauthclient import OAuthClient
from scopewright.api.resourceserver import ResourceServer
from scopewright.api.scopegrant import ScopeGrant
from scopewright.api.signingkey import SigningKey

__all__ = [
    "API_VERSION",
    "CATEGORY",
    "GROUP",
    "KINDS",
    "VERSION",
    "IdentityProvider",
    "Kind",
    "OAuthClient",
    "ResourceServer",
    "ScopeGrant",
    "SigningKey",
]

KINDS: dict[str, type[Kind]] = {
    kind.KIND: kind for kind in (OAuthClient, ResourceServer, ScopeGrant, SigningKey, IdentityProvider)
}
"""The five kinds, by `kind`."""
