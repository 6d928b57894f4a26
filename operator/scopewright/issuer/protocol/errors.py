"""The OAuth errors of the issuer: those of answers (RFC 6749 §5.2) and those of redirects (§4.1.2.1)."""

import math
import re
from collections.abc import Mapping
from typing import Final, Literal

from scopewright.core.failures import Rejected, Unavailable
from scopewright.core.session_stores import NOT_SHARED
from scopewright.issuer.protocol.responses import NO_STORE, Answer, Headers, json_answer

ErrorCode = Literal[
    "invalid_request",
    "invalid_client",
    "unauthorized_client",
    "unsupported_grant_type",
    "unsupported_response_type",
    "invalid_scope",
    "invalid_target",
    "invalid_grant",
    "invalid_token",
    "insufficient_scope",
    "invalid_dpop_proof",
    "use_dpop_nonce",
    "temporarily_unavailable",
    "server_error",
]

AuthorizationErrorCode = Literal[
    "invalid_request",
    "unauthorized_client",
    "access_denied",
    "unsupported_response_type",
    "invalid_scope",
    "invalid_target",
    "server_error",
    "login_required",
    "consent_required",
    "interaction_required",
    "request_not_supported",
    "request_uri_not_supported",
]
"""Of redirects to a client: RFC 6749 §4.1.2.1, RFC 8707 §2, OpenID Connect Core §3.1.2.6."""

SLOWED: Final = "slowed"
"""The result, in metrics and audit lines only, of a 503 after too many refusals: any caller can cause it."""

PROVIDER_UNAVAILABLE: Final = "ProviderUnavailable"
"""The reason of an `Unavailable` that is not a failure of the store."""

CHALLENGE: Final = (b"www-authenticate", b'Basic realm="scopewright", charset="UTF-8"')
_NOT_ALLOWED: Final = re.compile(r"[^\x20-\x21\x23-\x5b\x5d-\x7e]")


class Slowed(Unavailable):
    """Too many credentials were refused, so this one is not checked. It is not a failure of the store."""


class OAuthError(Exception):
    """A refusal. `description` is for the developer of the client, and repeats no part of the request.

    `reason` is for the audit line and `result` for the audit line and the metrics: both may reveal what the answer must
    not. `about` has further members of the audit line: never text that the caller chose.
    """

    def __init__(
        self,
        error: ErrorCode,
        description: str,
        *,
        reason: str = "",
        status: int = 400,
        headers: Headers = (),
    ) -> None:
        super().__init__(error)
        self.error: ErrorCode = error
        self.description = _NOT_ALLOWED.sub("?", description)
        self.reason = reason or error
        self.result: str = error
        self.status = status
        self.headers = headers
        self.about: Mapping[str, str] = {}

    def answer(self) -> Answer:
        content = {"error": self.error, "error_description": self.description}
        return json_answer(self.status, content, NO_STORE + self.headers)


def invalid_request(description: str, *, reason: str = "", status: int = 400, headers: Headers = ()) -> OAuthError:
    return OAuthError("invalid_request", description, reason=reason, status=status, headers=headers)


def invalid_client(description: str, *, reason: str, challenge: bool) -> OAuthError:
    """`challenge` if the client used the Authorization header or no credential at all (RFC 9110 §11.6.1).

    Not after client_secret_post: some clients do not read the error after a challenge.
    """
    headers = (CHALLENGE,) if challenge else ()
    return OAuthError("invalid_client", description, reason=reason, status=401, headers=headers)


def no_credential(*, accepts_secrets: bool) -> OAuthError:
    """The request has no client authentication. The description names all methods of the issuer for every `client_id`:
    the method of one client would show that the client exists.
    """
    if not accepts_secrets:
        return invalid_client(
            "no client authentication; send client_assertion with client_assertion_type (private_key_jwt)",
            reason="no_credential",
            challenge=False,
        )
    return invalid_client(
        "no client authentication; use the method of the OAuthClient: ClientSecret (client_id and "
        "client_secret in the body, or HTTP Basic), or PrivateKeyJWT or ServiceAccount (client_assertion with "
        "client_assertion_type); a client with method None acts for users only",
        reason="no_credential",
        challenge=True,
    )


def secrets_not_accepted() -> OAuthError:
    """The profile FAPI2 allows no client secrets, so there is no scheme for a challenge."""
    return invalid_client(
        "this issuer accepts no client secrets (profile FAPI2); send client_assertion (private_key_jwt)",
        reason="profile",
        challenge=False,
    )


def refused_credential(*, reason: str, challenge: bool, advice: str = "", has_kid: bool = True) -> OAuthError:
    """The text is the same for an unknown client, a wrong or expired credential, another method and a disabled client.

    `advice` is for callers that hold the client's key. The hint about `kid` depends on the assertion only.
    """
    return invalid_client(
        advice
        or (
            "client authentication failed: unknown client, or its credential is wrong, expired or disabled"
            + ("" if has_kid else "; the assertion has no kid, which is required for a client with several keys")
        ),
        reason=reason,
        challenge=challenge,
    )


def whole_seconds(retry_after: float) -> str:
    """The value of the header Retry-After (RFC 9110 §10.2.3): 1 at least."""
    return str(max(1, math.ceil(retry_after)))


def unavailable(description: str, *, reason: str, retry_after: float = 1.0) -> OAuthError:
    seconds = whole_seconds(retry_after).encode()
    headers = ((b"retry-after", seconds),)
    return OAuthError("temporarily_unavailable", description, reason=reason, status=503, headers=headers)


def from_failure(failure: Rejected | Unavailable) -> OAuthError:
    """503 after a failure of the store, or of an identity provider. The answer has no details, except of session stores
    that are not shared: the installation is wrong, and only its operators can correct that.

    `Slowed` gets the same answer; its own `result` is for the operators of the issuer.
    """
    if isinstance(failure, Slowed):
        error = unavailable("try again shortly", reason="too_many_refusals", retry_after=failure.retry_after)
        error.result = SLOWED
        return error
    if isinstance(failure, Unavailable):
        seconds = failure.retry_after
        if failure.reason == PROVIDER_UNAVAILABLE:
            return unavailable("try again shortly", reason="provider_unavailable", retry_after=seconds)
        if failure.reason == NOT_SHARED:
            return unavailable(failure.message, reason="session_store_not_shared", retry_after=seconds)
        return unavailable("try again shortly", reason="store_unavailable", retry_after=seconds)
    return unavailable("try again later", reason=f"store_rejected_{failure.reason}", retry_after=30.0)


def unexpected() -> OAuthError:
    return OAuthError("server_error", "the issuer failed; the error is in its log", reason="exception", status=500)
