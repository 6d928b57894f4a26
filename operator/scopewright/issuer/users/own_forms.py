"""Tokens against forged forms (CSRF) for the pages of a user who is logged in."""

import hmac
from typing import Final

from scopewright import base64url
from scopewright.issuer.users.problems import PageProblem

_CONTEXT: Final = b"scopewright-csrf-v1\0"


def csrf_token(cookie: str, page: str) -> str:
    """Return the token of the forms of `page`. It is bound to the value of the session cookie, whose secret it hides:
    another site knows neither, and the form of one page is refused by another one.
    """
    return base64url.encode(hmac.digest(cookie.encode(), _CONTEXT + page.encode(), "sha256"))


def require_csrf_token(sent: str, cookie: str, page: str) -> None:
    """Raises PageProblem."""
    if not cookie or not hmac.compare_digest(sent.encode(), csrf_token(cookie, page).encode()):
        raise PageProblem(
            "The form is out of date, or did not come from its page. Nothing was changed. Open the page again.",
            reason="csrf",
            status=403,
        )
