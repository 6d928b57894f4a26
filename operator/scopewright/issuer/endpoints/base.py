"""What every endpoint for clients has in common: request → authenticate → what the endpoint is for → answer.

`decide` is all of it wherever memory is enough; what is left over is a credential that memory does not know, and work
that has to wait for something.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import Any, Final, Generic, Protocol, TypeVar

from scopewright.core.failures import Rejected, Unavailable
from scopewright.issuer.authentication.assertions import CredentialRefused
from scopewright.issuer.authentication.authenticator import (
    Authenticated,
    Authenticator,
    expected_client_id,
    is_client_id,
)
from scopewright.issuer.authentication.read_through import ReadThrough
from scopewright.issuer.authentication.throttle import FailureThrottle
from scopewright.issuer.observability import audit
from scopewright.issuer.observability.metrics import IssuerMetrics
from scopewright.issuer.protocol.errors import OAuthError, Slowed, from_failure, refused_credential, unexpected
from scopewright.issuer.protocol.request import (
    ClientRequest,
    Form,
    PresentedAssertion,
    PresentedCredential,
    may_be_cached,
    parse,
)
from scopewright.issuer.protocol.responses import Answer, HttpRequest
from scopewright.issuer.rate_budget import Clock
from scopewright.issuer.state.registry import Registry

log: Final = logging.getLogger(__name__)

MIN_REFUSAL_SECONDS: Final = 0.1
"""Seconds that every refusal of a credential takes at least, whether there was something to read or not."""


_REMEMBERED: Final = 1024
_NOTHING: Final = (None, None)

NoteUse = Callable[[bytes, float], None]
"""Takes the SHA-256 of a credential that was accepted, and when, in seconds since the epoch."""


class Parameters(Protocol):
    """An endpoint's own part of a request."""

    def audited(self) -> Mapping[str, Any]:
        """What the audit line of a refusal says of it: nothing secret, and not escaped or cut short yet."""


P = TypeVar("P", bound=Parameters)


@dataclass(slots=True)
class Outcome:
    """An answer, which of the endpoint's results it is, and what the audit line says of it."""

    answer: Answer
    result: str
    audited: Mapping[str, Any]


class Handler(Protocol[P]):
    """What an endpoint is for."""

    name: str
    """One of `metrics.RESULTS`; in audit lines too."""

    def read(self, request: ClientRequest) -> P:
        """The parameters, before anybody is believed; or OAuthError."""

    def serve(self, who: Authenticated, parameters: P, now: float) -> Outcome | Awaitable[Outcome]:
        """The outcome, or OAuthError; `now` in seconds since the epoch."""


@dataclass(slots=True)
class _Attempt(Generic[P]):
    request: ClientRequest
    parameters: P
    peer: str
    begun: float


class Endpoint(Generic[P]):
    def __init__(
        self,
        handler: Handler[P],
        registry: Registry,
        authenticator: Authenticator,
        fresh: ReadThrough,
        throttle: FailureThrottle,
        metrics: IssuerMetrics,
        *,
        clock: Clock = time.time,
        monotonic: Clock = time.monotonic,
        sink: audit.Sink = audit.to_log,
        floor: float = MIN_REFUSAL_SECONDS,
        note_use: NoteUse = lambda digest, now: None,
    ) -> None:
        self._handler = handler
        self._registry = registry
        self._authenticator = authenticator
        self._fresh = fresh
        self._throttle = throttle
        self._metrics = metrics.endpoint(handler.name)
        self._clock = clock
        self._monotonic = monotonic
        self._sink = sink
        self._floor = floor
        self._note_use = note_use
        self._remembered: dict[bytes, tuple[Form, P]] = {}
        """What bodies say in which nothing is secret: a client asks for the same again and again."""

    async def answer(self, http: HttpRequest) -> Answer:
        decided = self.decide(http)
        return decided if isinstance(decided, Answer) else await decided

    def decide(self, http: HttpRequest) -> Answer | Coroutine[None, None, Answer]:
        """The answer, without any I/O; or what has to be waited for."""
        begun = self._monotonic()
        attempt: _Attempt[P] | None = None
        form, parameters = self._remembered.get(http.body, _NOTHING)
        try:
            request = parse(http, form, takes_secrets=self._authenticator.takes_secrets)
            if parameters is None or request.proofs:
                parameters = self._read(request, http.body)
            attempt = _Attempt(request, parameters, http.peer, begun)
            who = self._authenticator.from_memory(request.presented)
            if who is None:
                return self._settle(attempt)
            outcome = self._handler.serve(who, parameters, self._clock())
            if isinstance(outcome, Outcome):
                return self._told(outcome, who, attempt)
            return self._wait(outcome, who, attempt)
        except OAuthError as error:
            return self._refuse(error, attempt, http.peer, begun, known=attempt is not None)
        except Exception:
            log.exception("a %s request failed", self._handler.name)
            return self._refuse(unexpected(), None, http.peer, begun, known=False)

    def _read(self, request: ClientRequest, body: bytes) -> P:
        parameters = self._handler.read(request)
        if not request.proofs and may_be_cached(body):
            if len(self._remembered) >= _REMEMBERED:
                self._remembered.clear()
            self._remembered[body] = request.form, parameters
        return parameters

    async def _settle(self, attempt: _Attempt[P]) -> Answer:
        """One path for unknown and wrong: a refusal takes no less time than the floor."""
        presented = attempt.request.presented
        try:
            who = await self._prove(presented, attempt.peer)
        except CredentialRefused as refused:
            error = self._refusal(refused, presented, attempt.peer)
        except Exception as failure:
            error = self._explained(failure)
        else:
            return await self._serve(who, attempt)
        await asyncio.sleep(self._floor - (self._monotonic() - attempt.begun))
        return self._refuse(error, attempt, attempt.peer, attempt.begun, known=self._is_known(presented))

    def _explained(self, failure: Exception) -> OAuthError:
        """What the caller is told; what nobody has expected is logged."""
        if isinstance(failure, OAuthError):
            return failure
        if isinstance(failure, Rejected | Unavailable):
            return from_failure(failure)
        log.error("a %s request failed", self._handler.name, exc_info=failure)
        return unexpected()

    def _refusal(self, refused: CredentialRefused, presented: PresentedCredential, peer: str) -> OAuthError:
        """401, or 503 where too many were refused; the same for every client id, known or made up."""
        spent = self._fresh.spent or self._throttle.spent(peer)
        self._throttle.failed(peer)
        if spent:
            return from_failure(Slowed("too many refusals"))
        return refused_credential(
            reason=refused.reason,
            challenge=presented.challenge,
            advice=refused.advice,
            has_kid=not isinstance(presented, PresentedAssertion) or "kid" in presented.signed.header,
        )

    def _is_known(self, presented: PresentedCredential) -> bool:
        return self._registry.client(presented.client_id) is not None

    async def _prove(self, presented: PresentedCredential, peer: str) -> Authenticated:
        """From memory, or else from the one record read afresh; or `CredentialRefused`."""
        await self._authenticator.identify(presented)
        client_id = presented.client_id or expected_client_id(presented)
        before = self._registry.client(client_id)
        try:
            return await self._authenticator.prove(presented)
        except CredentialRefused as refused:
            first = refused
        slowed = Slowed("too many failed authentications") if self._throttle.spent(peer) else None
        if is_client_id(client_id):
            try:
                await self._fresh.refresh(client_id, slowed=slowed is not None)
            except Slowed as spent:
                slowed = spent
        if self._registry.client(client_id) is not before:
            await self._authenticator.identify(presented)
            try:
                return await self._authenticator.prove(presented)
            except CredentialRefused as refused:
                first = refused
        raise slowed or first

    async def _serve(self, who: Authenticated, attempt: _Attempt[P]) -> Answer:
        try:
            outcome = self._handler.serve(who, attempt.parameters, self._clock())
        except Exception as failure:
            return self._refuse(self._explained(failure), attempt, attempt.peer, attempt.begun, known=True)
        if isinstance(outcome, Outcome):
            return self._told(outcome, who, attempt)
        return await self._wait(outcome, who, attempt)

    async def _wait(self, outcome: Awaitable[Outcome], who: Authenticated, attempt: _Attempt[P]) -> Answer:
        try:
            return self._told(await outcome, who, attempt)
        except Exception as failure:
            return self._refuse(self._explained(failure), attempt, attempt.peer, attempt.begun, known=True)

    def _told(self, outcome: Outcome, who: Authenticated, attempt: _Attempt[P]) -> Answer:
        now = self._clock()
        self._note_use(who.digest, now)
        self._sink(audit.entry(self._handler.name, now, attempt.peer, outcome.result, outcome.audited))
        self._metrics.count(outcome.result, self._monotonic() - attempt.begun)
        return outcome.answer

    def _refuse(
        self, error: OAuthError, attempt: _Attempt[P] | None, peer: str, begun: float, *, known: bool
    ) -> Answer:
        """`known`: the client's id is that of a record, whoever sent it."""
        entry = audit.refusal(
            error.reason,
            attempt.request.presented if attempt else None,
            attempt.parameters.audited() if attempt and known else {},
            known=known,
        )
        self._sink(audit.entry(self._handler.name, self._clock(), peer, error.result, entry))
        self._metrics.count(error.result, self._monotonic() - begun)
        if known:
            self._metrics.refused_known(error.result)
        return error.answer()
