"""Requests to OpenID providers whose users log in here: the operator checks a provider, the issuer is its client.

Every answer is that of a foreign server: it has bounds in bytes and time, and its addresses are checked.
"""

from typing import Final, Literal

FailureReason = Literal[
    "Unreachable",
    "AddressNotAllowed",
    "CertificateInvalid",
    "AnswerTooLarge",
    "AnswerMalformed",
    "IssuerMismatch",
    "AlgorithmNotSupported",
    "Refused",
]

TIMEOUT_SECONDS: Final = 5.0
"""Of one request, from its name resolution to the last byte."""
MAX_ANSWER: Final = 1 << 20
"""Bytes of a body; compressed ones are refused."""


class UpstreamFailed(Exception):
    """A provider cannot be used at the moment. `message` says what to do, and has no secret."""

    def __init__(self, reason: FailureReason, message: str) -> None:
        super().__init__(message)
        self.reason: Final = reason
        self.message: Final = message
