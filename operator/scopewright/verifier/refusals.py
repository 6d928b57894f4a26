"""The reasons for refusing a request, with status, error code and advice (RFC 6750 §3)."""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from typing import Any, Final

PROOF_ALGORITHMS: Final = ("ES256", "ES384", "RS256", "PS256", "EdDSA", "Ed25519")
"""The supported algorithms of DPoP proofs, all asymmetric (RFC 9449 §4.3)."""


class Reason(StrEnum):
    """Why a request was refused, finer than RFC 6750's codes: a label for logs and metrics."""

    MISSING = "missing"
    SCHEME = "scheme"
    TWO_WAYS = "two_ways"
    TOO_LARGE = "too_large"
    MALFORMED = "malformed"
    MISSING_CLAIM = "missing_claim"
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
    ROLE = "role"
    SUBPROTOCOL = "subprotocol"
    PATH = "path"
    METHOD = "method"
    METHOD_OVERRIDE = "method_override"
    NO_RULE = "no_rule"


# What to do. `{}` is filled from this service's configuration, never with anything that the caller sent.
ADVICE: dict[Reason, str] = {
    Reason.MISSING: "No access token was sent; send one in the header Authorization",
    Reason.SCHEME: "The scheme DPoP is not accepted here; ask for a token without a proof, and send it as Bearer",
    Reason.TWO_WAYS: "Send one access token, in one Authorization header and nowhere else",
    Reason.TOO_LARGE: "The access token is too large; ask for one with fewer scopes",
    Reason.MALFORMED: "The token is malformed; send the access token exactly as issued, without Bearer before it",
    Reason.MISSING_CLAIM: "The access token has no claim {}; configure the issuer to add it (RFC 9068, section 2.2)",
    Reason.TYPE: "The token is not an access token of type at+jwt; send the access token and not an ID token",
    Reason.ALGORITHM: "The token is signed with an algorithm that is not accepted here",
    Reason.UNKNOWN_KEY: "The token is signed by a key that the issuer does not publish; ask the issuer for a new one",
    Reason.SIGNATURE: "The signature of the token does not verify; send the access token exactly as it was issued",
    Reason.ISSUER: "The token is from another issuer; ask {} for one",
    Reason.AUDIENCE: "The token is for another audience; ask for one with resource={}",
    Reason.EXPIRED: "The access token has expired; ask the issuer for a new one",
    Reason.NOT_YET_VALID: "The access token is not valid yet; check the clocks of both sides",
    Reason.REVOKED: "The access token has been revoked; ask the issuer for a new one",
    Reason.SENDER_CONSTRAINED: (
        "The access token is bound to a key (cnf) and cannot be used as Bearer; send it as DPoP, with a proof"
    ),
    Reason.NOT_BOUND: (
        "The access token is not bound to a key and needs no proof; send it as Bearer, or ask for one that is bound"
    ),
    Reason.PROOF_NEEDED: (
        "Only access tokens bound to a key are accepted here; get one with a DPoP proof (dpop=True in a client)"
    ),
    Reason.PROOF: "The DPoP proof is refused: {}",
    Reason.PROOF_KEY: (
        "The access token is bound to another key than that of the DPoP proof; prove the key it was asked for with"
    ),
    Reason.PROOF_NONCE: "The DPoP proof needs the nonce that comes with this answer",
    Reason.SCOPE: "The access token lacks a scope; ask the issuer for: {} (the owner of this API grants it)",
    Reason.ROLE: "The access token lacks a role; {} is needed (the owner of this API grants it)",
    Reason.SUBPROTOCOL: (
        "Offer a subprotocol of the application besides the one with the token: the server cannot select that one"
    ),
    Reason.PATH: (
        "The path is not canonical; send one without empty or dot segments, semicolons, backslashes, and encoded "
        "slashes or percent signs"
    ),
    Reason.METHOD: "The method is not in upper-case letters; send the registered name, such as GET",
    Reason.METHOD_OVERRIDE: "A header that overrides the method is not accepted here; send the method itself",
    Reason.NO_RULE: "No rule of this API covers the method and path; ask the owner of this API to add one",
}

_CODES: dict[Reason, tuple[int, str | None]] = {
    Reason.MISSING: (401, None),
    Reason.SCHEME: (401, None),
    Reason.TWO_WAYS: (400, "invalid_request"),
    Reason.PROOF: (401, "invalid_dpop_proof"),
    Reason.PROOF_NONCE: (401, "use_dpop_nonce"),
    Reason.SCOPE: (403, "insufficient_scope"),
    Reason.ROLE: (403, "insufficient_scope"),
    Reason.SUBPROTOCOL: (400, "invalid_request"),
    Reason.PATH: (400, "invalid_request"),
    Reason.METHOD: (400, "invalid_request"),
    Reason.METHOD_OVERRIDE: (400, "invalid_request"),
    Reason.NO_RULE: (403, None),
}

_DPOP_REASONS = frozenset({Reason.NOT_BOUND, Reason.PROOF_NEEDED, Reason.PROOF, Reason.PROOF_KEY, Reason.PROOF_NONCE})
_UNQUOTABLE = re.compile(r"[^\x20-\x21\x23-\x5b\x5d-\x7e]")


def code_of(reason: Reason) -> tuple[int, str | None]:
    """HTTP status, and error code (RFC 6750 §3.1, RFC 9449 §7.1)."""
    return _CODES.get(reason, (401, "invalid_token"))


def quotable(text: str) -> str:
    """Replaces what RFC 6750 §3 does not allow in error_description (non-ASCII, quote, backslash, controls) by `?`."""
    return _UNQUOTABLE.sub("?", text)


class TokenRejected(Exception):
    """The request is refused: its token is missing, invalid or not sufficient. The caller must act.

    `status` is the HTTP status (400, 401 or 403), `error` the code of RFC 6750 §3.1 or RFC 9449 §7.1 (None where no
    token was sent), `description` says what to do, and `scope` names the required scopes (with 401 only
    for an API with protected resource metadata). None of them contains the token. `scheme` is that of the challenge,
    `Bearer` or `DPoP`. `reason` is for logs and metrics. `client_id` is the client of a verified token that lacks a
    scope or a role (403), and `rule` the name of the rule that needs them, both for logs.
    """

    proof_algorithms: Sequence[str] = PROOF_ALGORITHMS
    """The `algs` of the challenge for DPoP; `Verifier` sets its own."""

    def __init__(self, reason: Reason, *, scopes: Iterable[str] = (), expected: str = "", scheme: str = "") -> None:
        self.reason = reason
        self.client_id: str | None = None
        self.rule: str | None = None
        self.status, self.error = code_of(reason)
        self.scope = quotable(" ".join(scopes))
        self.scheme = scheme or ("DPoP" if reason in _DPOP_REASONS else "Bearer")
        self.description = quotable(ADVICE[reason].format(expected or self.scope))
        super().__init__(self.description)

    def __reduce__(self) -> tuple[Any, ...]:
        """For pickle, with which multiprocessing passes exceptions on. The copy is of no framework's class."""
        return _restored, (TokenRejected, self.args, self.__dict__)

    @property
    def www_authenticate(self) -> str:
        return self.challenge()

    def challenge(
        self, realm: str | None = None, scheme: str | None = None, resource_metadata: str | None = None
    ) -> str:
        """The value of the `WWW-Authenticate` header (RFC 6750 §3, RFC 9449 §7.1).

        `resource_metadata` is the URL of the protected resource metadata (RFC 9728 §5.1).
        """
        error = {"error": self.error, "error_description": self.description} if self.error else {}
        parameters = {**error, "scope": self.scope}
        return challenge(scheme or self.scheme, realm, parameters, self.proof_algorithms, resource_metadata)


def challenge(
    scheme: str,
    realm: str | None,
    error_parameters: Mapping[str, str | None],
    proof_algorithms: Sequence[str] = PROOF_ALGORITHMS,
    resource_metadata: str | None = None,
) -> str:
    """One challenge (RFC 9110 §11.6.1) with `error_parameters` and, for DPoP, the algorithms (RFC 9449 §7.1)."""
    every = {
        "realm": realm,
        **error_parameters,
        "algs": " ".join(proof_algorithms) if scheme == "DPoP" else None,
        "resource_metadata": resource_metadata,
    }
    parameters = ", ".join(f'{name}="{quotable(value)}"' for name, value in every.items() if value)
    return f"{scheme} {parameters}" if parameters else scheme


class KeysUnavailable(Exception):
    """The token cannot be checked now, for example because the issuer cannot be reached. HTTP 503; try again.

    `retry_after` is in whole seconds, at least 1. `description` is for the caller; `reason` is for the
    service's own log, and is part of the exception's text.
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

    def __reduce__(self) -> tuple[Any, ...]:
        return _restored, (KeysUnavailable, self.args, self.__dict__)


def _restored(kind: type[Exception], args: tuple[Any, ...], state: dict[str, Any]) -> Exception:
    made = kind.__new__(kind, *args)
    made.__dict__.update(state)
    return made
