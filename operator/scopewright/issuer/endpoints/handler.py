"""What an endpoint for clients does itself: read its parameters and serve. `base` does everything else."""

from collections.abc import Awaitable, Callable, Hashable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from scopewright.issuer.protocol.request import ClientRequest, Form
from scopewright.issuer.protocol.responses import Answer
from scopewright.issuer.state.entries import Client
from scopewright.issuer.state.recognised import Authenticated


class Parameters(Protocol):
    """The parameters of a request that are the endpoint's own."""

    @property
    def key(self) -> Hashable:
        """Equal for equal parameters. None: they have a secret, or belong to one request, and must not be kept."""

    def audit_fields(self) -> Mapping[str, Any]:
        """For the audit line of a refusal: no secrets; neither escaped nor truncated yet."""


P = TypeVar("P", bound=Parameters)
FindKnown = Callable[[bytes, Client, float], P | None]
"""Takes a body, the authenticated client, and the time. Returns the parameters of an earlier request, or None."""


@dataclass(slots=True)
class Outcome:
    """An answer, the endpoint's result (`metrics.RESULTS`), and the members of the audit line or their JSON."""

    answer: Answer
    result: str
    audit_fields: Mapping[str, Any] | bytes


class Handler(Protocol[P]):
    """An endpoint's own part of a request."""

    name: str
    """One of `metrics.RESULTS`; also in audit lines."""

    def admits_public(self, form: Form) -> bool:
        """Whether a request with this form may come from a client without a credential."""

    def read(self, request: ClientRequest) -> P:
        """The parameters; raises OAuthError. The client is not authenticated yet."""

    def serve(self, authenticated: Authenticated, parameters: P, now: float) -> Outcome | Awaitable[Outcome]:
        """The outcome; raises OAuthError. `now` is in seconds since the epoch."""
