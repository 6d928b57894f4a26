"""Every refusal of the issuer, and how it becomes an answer (RFC 6749 §5.2)."""

import math
import re
from typing import Final, Literal

from scopewright.core.failures import Rejected, Unavailable
from scopewright.issuer.protocol.responses import NO_STORE, Answer, Headers, json_answer

ErrorCode = Literal[
    "invalid_request",
    "invalid_client",
    "unauthorized_client",
    "unsupported_grant_type",
    "invalid_scope",
    "invalid_target",
    "invalid_dpop_proof",
    "use_dpop_nonce",
    "temporarily_unavailable",
    "server_error",
]

SLOWED: Final = "slowed"
"""The result, told to nobody outside, of a 503 that too many refusals have brought about: anybody can cause it."""

CHALLENGE: Final = (b"www-authenticate", b'Basic realm="scopewright", charset="UTF-8"')
_UNSPEAKABLE: Final = re.compile(r"[^\x20-\x21\x23-\x5b\x5d-\x7e]")


class Slowed(Unavailable):
    """So many credentials were refused that this one is not looked at; nothing has failed."""


class OAuthError(Exception):
    """A refusal. `description` is for the developer at the other end and repeats nothing that was sent.

    `reason` is a word for the audit line alone: it may tell what the answer must not. So may `result`, which is what
    the line and the metrics call the outcome.
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
        self.description = _UNSPEAKABLE.sub("?", description)
        self.reason = reason or error
        self.result: str = error
        self.status = status
        self.headers = headers

    def answer(self) -> Answer:
        content = {"error": self.error, "error_description": self.description}
        return json_answer(self.status, content, NO_STORE + self.headers)


def invalid_request(description: str, *, reason: str = "", status: int = 400, headers: Headers = ()) -> OAuthError:
    return OAuthError("invalid_request", description, reason=reason, status=status, headers=headers)


def invalid_client(description: str, *, reason: str, challenge: bool) -> OAuthError:
    """`challenge` where the client used the Authorization header or showed no credential at all (RFC 9110 §11.6.1).

    Not after client_secret_post: some clients stop reading at a challenge and never see the error.
    """
    headers = (CHALLENGE,) if challenge else ()
    return OAuthError("invalid_client", description, reason=reason, status=401, headers=headers)


def no_credential(*, takes_secrets: bool) -> OAuthError:
    """The request has no client authentication. The methods named are those of the issuer, whatever `client_id` says:
    naming the one that a client is registered with would show that the client exists.
    """
    if not takes_secrets:
        return invalid_client(
            "no client authentication: send client_assertion with client_assertion_type (private_key_jwt)",
            reason="no_credential",
            challenge=False,
        )
    return invalid_client(
        "no client authentication: use the method that the OAuthClient names: ClientSecret (client_id and "
        "client_secret in the body, or HTTP Basic), or PrivateKeyJWT or ServiceAccount (client_assertion with "
        "client_assertion_type)",
        reason="no_credential",
        challenge=True,
    )


def secret_not_taken() -> OAuthError:
    """The profile FAPI2 takes no shared secrets. There is no scheme that a challenge could name."""
    return invalid_client(
        "this issuer takes no client secrets (profile FAPI2): send client_assertion (private_key_jwt)",
        reason="profile",
        challenge=False,
    )


def refused_credential(*, reason: str, challenge: bool, advice: str = "", has_kid: bool = True) -> OAuthError:
    """One text for an unknown client, a wrong or expired credential, another method and a disabled client; `advice` is
    for a caller who has proved to hold the client's key. The hint about `kid` depends on the assertion alone.
    """
    return invalid_client(
        advice
        or (
            "client authentication failed: no such client, or its credential is wrong, expired or disabled"
            + ("" if has_kid else "; the assertion has no kid, which a client with several keys needs")
        ),
        reason=reason,
        challenge=challenge,
    )


def unavailable(description: str, *, reason: str, retry_after: float = 1.0) -> OAuthError:
    seconds = str(max(1, math.ceil(retry_after))).encode()
    headers = ((b"retry-after", seconds),)
    return OAuthError("temporarily_unavailable", description, reason=reason, status=503, headers=headers)


def from_failure(failure: Rejected | Unavailable) -> OAuthError:
    """A failure of the store: nothing that the caller did, and no word of it in the answer.

    Who is slowed gets the very same answer: that it is another matter is for those who run the issuer.
    """
    if isinstance(failure, Slowed):
        error = unavailable("try again shortly", reason="too_many_refusals", retry_after=failure.retry_after)
        error.result = SLOWED
        return error
    if isinstance(failure, Unavailable):
        return unavailable("try again shortly", reason="store_unavailable", retry_after=failure.retry_after)
    return unavailable("try again later", reason=f"store_rejected_{failure.reason}", retry_after=30.0)


def unexpected() -> OAuthError:
    return OAuthError("server_error", "the issuer failed; it has logged why", reason="exception", status=500)
