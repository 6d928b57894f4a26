"""How a request is refused: every reason, with its status, error code and advice (RFC 6750 §3)."""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from typing import Final

PROOF_ALGORITHMS: Final = ("ES256", "ES384", "RS256", "PS256", "EdDSA", "Ed25519")
"""Of DPoP proofs: asymmetric ones (RFC 9449 §4.3)."""


class Reason(StrEnum):
    """Why a request was refused, finer than RFC 6750's codes: a label for logs and metrics."""

    MISSING = "missing"
    TWO_WAYS = "two_ways"
    TOO_LARGE = "too_large"
    MALFORMED = "malformed"
    TYPE = "type"
    ALGORITHM = "algorithm"
    UNKNOWN_KEY = "unknown_key"
    SIGNATURE = "signature"
    ISSUER = "issuer"
    AUDIENCE = "audience"
    EXPIRED = "expired"
    NOT_YET_VALID = "not_yet_valid"
    REVOKED = "revoked"
    SENDER_CONSTRAINED = "sender_constrained"
    NOT_BOUND = "not_bound"
    PROOF_NEEDED = "proof_needed"
    PROOF = "proof"
    PROOF_KEY = "proof_key"
    PROOF_NONCE = "proof_nonce"
    SCOPE = "scope"


# reason: (HTTP status, error code of RFC 6750 §3.1 or RFC 9449 §7.1, what to do). `{}` is filled with words of our own,
# never with anything that the caller sent.
REFUSALS: dict[Reason, tuple[int, str | None, str]] = {
    Reason.MISSING: (401, None, "No access token was sent; send one in the header Authorization"),
    Reason.TWO_WAYS: (400, "invalid_request", "Send one access token, in one Authorization header and nowhere else"),
    Reason.TOO_LARGE: (401, "invalid_token", "The access token is too large; ask for one with fewer scopes"),
    Reason.MALFORMED: (401, "invalid_token", "The token is malformed; send the access token exactly as it was issued"),
    Reason.TYPE: (
        401,
        "invalid_token",
        "The token is not an access token of type at+jwt; send the access token and not an ID token",
    ),
    Reason.ALGORITHM: (401, "invalid_token", "The token is signed with an algorithm that is not accepted here"),
    Reason.UNKNOWN_KEY: (
        401,
        "invalid_token",
        "The token is signed by a key that the issuer does not publish; ask the issuer for a new one",
    ),
    Reason.SIGNATURE: (
        401,
        "invalid_token",
        "The signature of the token does not verify; send the access token exactly as it was issued",
    ),
    Reason.ISSUER: (401, "invalid_token", "The token is from another issuer; ask {} for one"),
    Reason.AUDIENCE: (401, "invalid_token", "The token is for another audience; ask for one with resource={}"),
    Reason.EXPIRED: (401, "invalid_token", "The access token has expired; ask the issuer for a new one"),
    Reason.NOT_YET_VALID: (401, "invalid_token", "The access token is not valid yet; check the clocks of both sides"),
    Reason.REVOKED: (401, "invalid_token", "The access token has been revoked; ask the issuer for a new one"),
    Reason.SENDER_CONSTRAINED: (
        401,
        "invalid_token",
        "The access token is bound to a key (cnf) and cannot be used as Bearer; send it as DPoP, with a proof",
    ),
    Reason.NOT_BOUND: (
        401,
        "invalid_token",
        "The access token is bound to no key and needs no proof; send it as Bearer, or ask for one that is bound",
    ),
    Reason.PROOF_NEEDED: (
        401,
        "invalid_token",
        "Only access tokens that are bound to a key are taken here; get one with a DPoP proof (dpop=True in a client)",
    ),
    Reason.PROOF: (401, "invalid_dpop_proof", "The DPoP proof is refused: {}"),
    Reason.PROOF_KEY: (
        401,
        "invalid_token",
        "The access token is bound to another key than that of the DPoP proof; prove the key it was asked for with",
    ),
    Reason.PROOF_NONCE: (401, "use_dpop_nonce", "The DPoP proof needs the nonce that comes with this answer"),
    Reason.SCOPE: (
        403,
        "insufficient_scope",
        "The access token lacks a scope; ask the issuer for: {} (the owner of this API grants it)",
    ),
}

_OF_DPOP = frozenset({Reason.NOT_BOUND, Reason.PROOF_NEEDED, Reason.PROOF, Reason.PROOF_KEY, Reason.PROOF_NONCE})
_UNQUOTABLE = re.compile(r"[^\x20-\x21\x23-\x5b\x5d-\x7e]")


def quotable(text: str) -> str:
    """What RFC 6750 §3 allows in error_description: printable ASCII without quote and backslash."""
    return _UNQUOTABLE.sub("?", text)


class TokenRejected(Exception):
    """The caller must act: the request carries no token that is good for it.

    `status` is the HTTP status (400, 401 or 403), `error` the code of RFC 6750 §3.1 or RFC 9449 §7.1 (None where no
    token was sent), `description` says what to do, and `scope` names what was needed (403 only). None of them repeats
    the token. `scheme`, `Bearer` or `DPoP`, is what the challenge is for.
    """

    proof_algorithms: Sequence[str] = PROOF_ALGORITHMS
    """What the challenge for DPoP names as `algs`; `Verifier` puts its own in its place."""

    def __init__(self, reason: Reason, *, scopes: Iterable[str] = (), expected: str = "", scheme: str = "") -> None:
        status, error, advice = REFUSALS[reason]
        self.reason = reason
        self.status = status
        self.error = error
        self.scope = quotable(" ".join(scopes))
        self.scheme = scheme or ("DPoP" if reason in _OF_DPOP else "Bearer")
        self.description = quotable(advice.format(expected or self.scope))
        super().__init__(self.description)

    @property
    def www_authenticate(self) -> str:
        return self.challenge()

    def challenge(self, realm: str | None = None, scheme: str | None = None) -> str:
        """The value of the `WWW-Authenticate` header (RFC 6750 §3, RFC 9449 §7.1)."""
        said = {"error": self.error, "error_description": self.description, "scope": self.scope} if self.error else {}
        return challenge(scheme or self.scheme, realm, said, self.proof_algorithms)


def challenge(
    scheme: str,
    realm: str | None,
    said: Mapping[str, str | None],
    proof_algorithms: Sequence[str] = PROOF_ALGORITHMS,
) -> str:
    """One challenge (RFC 9110 §11.6.1), with what is said and, for DPoP, the algorithms (RFC 9449 §7.1)."""
    every = {"realm": realm, **said, "algs": " ".join(proof_algorithms) if scheme == "DPoP" else None}
    parameters = ", ".join(f'{name}="{quotable(value)}"' for name, value in every.items() if value)
    return f"{scheme} {parameters}" if parameters else scheme


class KeysUnavailable(Exception):
    """Try again: the issuer's keys or revocations cannot be had, say, so nothing can be said about the token. HTTP 503.

    `retry_after` is in whole seconds, at least 1. `description` is for the caller; `reason`, which the text of the
    exception has too, is for the service's own log.
    """

    status = 503

    def __init__(
        self,
        retry_after: float = 1.0,
        description: str = "The keys or revocations of the issuer cannot be fetched at present; try again",
        reason: str = "",
    ) -> None:
        self.retry_after = max(1, math.ceil(retry_after))
        self.description = description
        self.reason = reason
        super().__init__(f"{description} ({reason})" if reason else description)
