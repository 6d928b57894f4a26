"""What the session store holds, as values of the kinds below, in JSON.

Times are whole seconds since the epoch. No value has a token, a code, or the secret of a cookie.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from scopewright.core.records.client import RequestedAccess


@dataclass(frozen=True, slots=True)
class Session:
    """The login of a user in one browser, under `session:<sid>`. It is stored until its end, which is the latest end of
    the tokens that belong to it; `seen_time` bounds how long the browser stays logged in without use.
    """

    sid: str
    secret_sha256: str
    """SHA-256, in hex, of the secret in the cookie."""
    subject: str
    provider: str
    provider_uid: str
    groups: tuple[str, ...]
    auth_time: int
    end_time: int
    seen_time: int
    checked_time: int
    """When the provider last confirmed the user and the groups."""
    claims: Mapping[str, Any] = field(default_factory=dict, repr=False)
    acr: str = ""
    amr: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class DelegatedAccess:
    """What a user has delegated to a client: the upper limit of every token by a code or a refresh token."""

    client_id: str
    client_uid_hash: str
    sid: str
    subject: str
    scopes: tuple[str, ...]
    """Scopes of OpenID Connect: openid, profile, email, phone, address, groups, offline_access."""
    access: tuple[RequestedAccess, ...] = ()
    """Consented scopes of APIs."""
    jkt: str = ""
    """Thumbprint of the DPoP key that every token is bound to; empty: of none."""


@dataclass(frozen=True, slots=True)
class Code:
    """An authorization code, under `code:<code>`."""

    delegated: DelegatedAccess
    redirect_uri: str
    """As in the authorization request."""
    code_challenge: str
    """PKCE, S256. Empty if the request had none: then a `code_verifier` is refused (RFC 9700 §4.8.2)."""
    nonce: str = ""
