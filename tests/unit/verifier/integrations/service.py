"""One small service, protected by each integration. The tests of this folder send the same requests to all of them.

| path | needs |
| --- | --- |
| `/healthz`, `/assets/…` | nothing: public |
| `/maybe` | nothing, or a valid token: optional |
| `/salaries/…` | the scope payroll.read |
| `/write` | the scope payroll.write |
| `/audit` | payroll.read or payroll.audit, and the role auditor or owner |
| `/broken` | a token; the view raises ZeroDivisionError |
| any other | a token |
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

import httpx

from scopewright.verifier import Token, Verifier
from tests.harness.clock import Clock
from tests.unit.verifier.support import AUDIENCE, ISSUER, KEY, FakeIssuer

PUBLIC: Final = ("/healthz", "/assets/**")
OPTIONAL: Final = ("/maybe",)
ANY_OF: Final = ("payroll.read", "payroll.audit")
ROLES: Final = ("auditor", "owner")
BASE_URL: Final = "https://payroll.hr.example"
"""The root of the service for callers, in the verification of DPoP proofs."""

Headers = Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Headers
    body: bytes

    def values(self, name: str) -> list[str]:
        return [value for key, value in self.headers if key.lower() == name.lower()]

    @property
    def challenge(self) -> str:
        """All challenges, as one value (RFC 9110 §5.3)."""
        return ", ".join(self.values("WWW-Authenticate"))


@dataclass
class Record:
    """What the views and the error handlers of a service got."""

    seen: list[str] = field(default_factory=list)
    """The path of each request that reached a view, as the view sees it, decoded."""
    errors: list[str] = field(default_factory=list)
    """Exceptions that the framework reported as errors of the application: by a signal or a handler for Exception."""


class Service(Protocol):
    record: Record

    def send(self, target: str, headers: Headers = (), method: str = "GET") -> Answer:
        """Sends the target as it stands, without normalisation."""


def caller(token: Token | None) -> str:
    """The body of all responses but refusals and errors."""
    return token.client_id if token else "anonymous"


def bearer(token: str) -> Headers:
    return [("Authorization", f"Bearer {token}")]


def new_verifier(web: FakeIssuer | None = None, **options: object) -> Verifier:
    http: httpx.Client = (web or FakeIssuer(KEY)).client()
    return Verifier(ISSUER, AUDIENCE, http=http, clock=Clock(), **options)  # type: ignore[arg-type]


def is_public(path: str) -> bool:
    """Whether a view may see this path without a token."""
    segments = path.removesuffix("/").split("/")[1:]
    is_plain = all(segment and segment.strip(".") for segment in segments)
    return path.startswith("/") and is_plain and (segments == ["healthz"] or segments[:1] in (["assets"], ["maybe"]))


def problems(answer: Answer, status: int, error: str | None) -> Iterable[str]:
    """What is wrong with a refusal (RFC 6750 §3)."""
    if answer.status != status:
        yield f"status {answer.status}, not {status}"
    if status == 503:
        if not answer.values("Retry-After"):
            yield "no Retry-After"
    elif not answer.challenge.startswith(("Bearer", "DPoP")):
        yield f"challenge {answer.challenge!r}"
    elif (f'error="{error}"' in answer.challenge) is not (error is not None):
        yield f"challenge {answer.challenge!r} and error {error}"
    if answer.values("Cache-Control") != ["no-store"]:
        yield "may be cached"
