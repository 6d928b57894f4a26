"""Headers of all answers of the users' endpoints."""

from typing import Final

from scopewright.api.redirect_uris import redirect_origin
from scopewright.issuer.users.rendering import STYLE_SOURCE

SECURITY_HEADERS: Final = {
    "cache-control": "no-store",
    "pragma": "no-cache",
    "referrer-policy": "same-origin",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
}


def content_security_policy(redirect_uri: str = "") -> str:
    """Return the policy of a page: its one style, and forms that lead to the issuer.

    Browsers apply `form-action` to the whole chain of redirects, so `redirect_uri` is where the chain may end.
    """
    target = f" {_form_target(redirect_uri)}" if redirect_uri else ""
    return (
        f"default-src 'none'; style-src {STYLE_SOURCE}; form-action 'self'{target}; frame-ancestors 'none'; "
        "base-uri 'none'"
    )


def _form_target(redirect_uri: str) -> str:
    """The origin of a web address, or the scheme of another one. Sources of a policy have no IPv6 addresses."""
    origin = redirect_origin(redirect_uri)
    return "http:" if "[" in origin else origin
