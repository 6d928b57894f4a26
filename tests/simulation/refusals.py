"""Writes of operators that the API server refuses until all faults end, by kind of object and cause."""

from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Final

from scopewright.core.failures import Conflict, Rejected, Unavailable
from scopewright.core.records.names import INSTALLATION_SECRETS, ISSUER_NAME, REVOCATIONS_NAME, USAGE_NAME
from tests.simulation.observations import NAMESPACE
from tests.simulation.server import Where

INSTALLATION: Final = (ISSUER_NAME, USAGE_NAME, REVOCATIONS_NAME, *INSTALLATION_SECRETS)
Failure = Rejected | Unavailable


@dataclass(frozen=True)
class Refusal:
    """One cause for one kind of object. If `done`, the write is carried out and only its answer is lost."""

    kind: str
    cause: str
    namespace: str = ""
    """"" for all namespaces."""

    @property
    def done(self) -> bool:
        return self.cause == "answers are lost"

    def of(self, method: str, where: Where) -> Failure | None:
        """The failure of this write; None if it is not refused."""
        if not KINDS[self.kind](where) or self.namespace not in ("", where.namespace):
            return None
        if self.cause == "quota" and method != "POST":
            return None
        return CAUSES[self.cause]()

    def __str__(self) -> str:
        return f"writes of {self.kind} are refused{self.namespace and ' in ' + self.namespace}: {self.cause}"


def _named(plural: str, *prefixes: str) -> Callable[[Where], bool]:
    """Objects in the issuer's namespace. For a POST, `Where.name` is the name in its body."""
    return lambda where: (
        where.plural == plural and where.namespace == NAMESPACE and where.name.startswith(prefixes) and not where.sub
    )


KINDS: Final[dict[str, Callable[[Where], bool]]] = {
    "credential Secrets": lambda where: where.plural == "secrets" and where.namespace != NAMESPACE,
    "client records": _named("secrets", "client."),
    "signing keys": _named("secrets", "signingkey."),
    "server records": _named("configmaps", "resourceserver.", "audience."),
    "the JWKS": _named("configmaps", "scopewright-jwks"),
    "objects of the installation": lambda where: (
        where.namespace == NAMESPACE and where.name in INSTALLATION and not where.sub
    ),
    "all Secrets": lambda where: where.plural == "secrets",
    "statuses of clients": lambda where: where.plural == "oauthclients" and where.sub == "status",
    "all statuses": lambda where: where.sub == "status",
    "events": lambda where: where.plural == "events",
}

CAUSES: Final[dict[str, Callable[[], Failure]]] = {
    "webhook down": lambda: Unavailable("failed calling webhook", reason="WebhookUnavailable", refused=True),
    "webhook denies": lambda: Rejected("AdmissionDenied", "admission webhook denied the request"),
    "quota": lambda: Rejected("QuotaExceeded", "exceeded quota"),
    "403": lambda: Rejected("Forbidden", "a right is missing"),
    "409": lambda: Conflict("the object has been modified"),
    "422": lambda: Rejected("Refused", "the object is invalid"),
    "429": lambda: Unavailable("too many requests", reason="TooManyRequests", refused=True, retry_after=20.0),
    "500": lambda: Unavailable("internal error", reason="ServerError"),
    "503": lambda: Unavailable("503", reason="ServerError"),
    "no answer": lambda: Unavailable("no answer in time", reason="Unreachable"),
    "answers are lost": lambda: Unavailable("no answer in time", reason="Unreachable"),
}


def random_refusal(rng: Random, namespaces: tuple[str, ...]) -> Refusal:
    kind = rng.choices(list(KINDS), [8, 3, 3, 3, 2, 2, 3, 2, 2, 1])[0]
    namespace = rng.choice(("", *namespaces)) if kind == "credential Secrets" else ""
    return Refusal(kind, rng.choice(list(CAUSES)), namespace)
