"""Errors of the issuer's answers (RFC 6749 §5.2), with advice. What the issuer wrote is quoted without secrets."""

import email.utils
import json
from collections.abc import Callable, Collection

import httpx

from scopewright.client.credentials import MountedCredentials
from scopewright.client.errors import TokenError, invalid_response, printable
from scopewright.http_flow import HttpResponse

Advice = Callable[[str, str, MountedCredentials], str]
"""What to do, for `error` and `error_description` of an answer. An empty string: nothing special."""


def temporary(response: HttpResponse, url: httpx.URL, now: float, hidden: Collection[str] = ()) -> TokenError | None:
    """The error for no response, or for one that says to try again. `now` is in seconds since 1970."""
    if response.status is None:
        why = printable(response.body.decode("utf-8", "replace"), *hidden)
        return TokenError("temporarily_unavailable", f"no answer from {url}: {why}", retry_after=1.0)
    if response.status in (429, 502, 503, 504):
        after = _retry_after(response.headers, now)
        description = f"{url} answered {response.status}; try again in {after:.0f} s"
        return TokenError("temporarily_unavailable", description, response.status, retry_after=after)
    return None


def refusal(
    response: HttpResponse, endpoint: str, credentials: MountedCredentials, advice: Advice, hidden: Collection[str]
) -> TokenError:
    """The error for an answer of `endpoint`, such as `token_endpoint`, that is neither a success nor temporary."""
    error, issuer_text = _oauth_error(response.body)
    if not error:
        return invalid_response(endpoint, f"has status {response.status} and no OAuth error code", response.status)
    quoted = f" (the issuer says: {printable(issuer_text, *hidden)})" if issuer_text else ""
    client = printable(f"OAuthClient {credentials.client_id}")
    advised = (
        _advice_on_client(error, client, credentials)
        or advice(error, issuer_text, credentials)
        or f"the {endpoint.replace('_', ' ')} refuses the request of {client}"
    )
    return TokenError(printable(error, *hidden), advised + quoted, response.status)


def _advice_on_client(error: str, client: str, credentials: MountedCredentials) -> str:
    if error != "invalid_client":
        return ""
    if "." not in credentials.client_id:
        return f"the client_id of {client} has no namespace: it is NAMESPACE.NAME of the OAuthClient"
    if credentials.service_account_token:
        return (
            f"the issuer refuses {client} with the ServiceAccount's token; see that the OAuthClient is Ready and "
            f"names the ServiceAccount that the Pod runs as, and that the token's audience is {credentials.issuer}"
        )
    return (
        f"the issuer refuses {client} with this credential; a rotated Secret takes up to two minutes to reach a mount, "
        "and variables need a restart; otherwise see that the OAuthClient is Ready and not disabled"
    )


def _oauth_error(body: bytes) -> tuple[str, str]:
    """`error` and `error_description` of an error response (RFC 6749 §5.2); empty strings if they are missing."""
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError):
        return "", ""
    if not isinstance(answer, dict):
        return "", ""
    error, description = answer.get("error"), answer.get("error_description")
    return (error if isinstance(error, str) else ""), (description if isinstance(description, str) else "")


def _retry_after(headers: httpx.Headers, now: float) -> float:
    """Seconds from a number or a date (RFC 9110 §10.2.3); at least 0.5; 1.0 without a header."""
    value = headers.get("retry-after", "1").strip()
    if value.isascii() and value.isdigit():
        return max(0.5, float(value[:9]))
    try:
        return max(0.5, email.utils.parsedate_to_datetime(value).timestamp() - now)
    except (ValueError, TypeError, OverflowError):
        return 1.0
