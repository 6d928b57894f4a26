"""The steps that the endpoints for clients share: parse the request → authenticate the client → serve → answer.

`decide` does all of it without I/O wherever memory is enough. The rest is a credential that memory does not know, and
work that waits for something.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass, field
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
from scopewright.issuer.observability.audit import refusal
from scopewright.issuer.observability.metrics import EndpointMetrics
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
from scopewright.issuer.state.registry import Registry
from scopewright.rate_budget import Clock
from scopewright.serving import audit

log: Final = logging.getLogger(__name__)

MIN_REFUSAL_SECONDS: Final = 0.1
"""Every refusal of a credential takes at least this long, whether a record was read or not."""

_MAX_CACHED_FORMS: Final = 1024
_NOT_CACHED: Final = (None, None)

NoteUse = Callable[[bytes, float], None]
"""Takes the SHA-256 of an accepted credential, and the time in seconds since the epoch."""


class Parameters(Protocol):
    """The parameters of a request that are the endpoint's own."""

    def audit_fields(self) -> Mapping[str, Any]:
        """For the audit line of a refusal: no secrets; neither escaped nor truncated yet."""


P = TypeVar("P", bound=Parameters)


@dataclass(slots=True)
class Outcome:
    """An answer, the endpoint's result (`metrics.RESULTS`), and the fields of the audit line."""

    answer: Answer
    result: str
    audit_fields: Mapping[str, Any]


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


@dataclass(slots=True)
class _Attempt(Generic[P]):
    request: ClientRequest
    parameters: P
    peer: str
    started: float


@dataclass(eq=False, slots=True)
class Endpoint(Generic[P]):
    """`sink` writes audit lines. A refusal of a credential takes at least `min_refusal_seconds`."""

    handler: Handler[P]
    registry: Registry
    authenticator: Authenticator
    read_through: ReadThrough
    throttle: FailureThrottle
    metrics: EndpointMetrics
    clock: Clock
    monotonic: Clock
    sink: audit.Sink
    min_refusal_seconds: float
    note_use: NoteUse
    _forms: dict[bytes, tuple[Form, P]] = field(init=False, default_factory=dict)
    """Parsed bodies without secrets: most clients repeat their requests."""

    def decide(self, http: HttpRequest) -> Answer | Coroutine[None, None, Answer]:
        """The answer where no I/O is needed; otherwise a coroutine that returns it."""
        started = self.monotonic()
        attempt: _Attempt[P] | None = None
        form, parameters = self._forms.get(http.body, _NOT_CACHED)
        try:
            request = parse(http, form, self.handler.admits_public, accepts_secrets=self.authenticator.accepts_secrets)
            if parameters is None or request.proofs:
                parameters = self._read(request, http.body)
            attempt = _Attempt(request, parameters, http.peer, started)
            authenticated = self.authenticator.authenticate_from_memory(request.presented)
            if authenticated is None:
                return self._authenticate_slow(attempt)
            outcome = self.handler.serve(authenticated, parameters, self.clock())
            if isinstance(outcome, Outcome):
                return self._finish(outcome, authenticated, attempt)
            return self._finish_async(outcome, authenticated, attempt)
        except OAuthError as error:
            return self._refuse(error, attempt, http.peer, started, known=attempt is not None)
        except Exception:
            log.exception("a %s request failed", self.handler.name)
            return self._refuse(unexpected(), None, http.peer, started, known=False)

    def _read(self, request: ClientRequest, body: bytes) -> P:
        parameters = self.handler.read(request)
        if not request.proofs and may_be_cached(body):
            if len(self._forms) >= _MAX_CACHED_FORMS:
                self._forms.clear()
            self._forms[body] = request.form, parameters
        return parameters

    async def _authenticate_slow(self, attempt: _Attempt[P]) -> Answer:
        """The same path for unknown clients and wrong credentials: no refusal is faster than the minimum."""
        presented = attempt.request.presented
        try:
            authenticated = await self._authenticate(presented, attempt.peer)
        except CredentialRefused as refused:
            error = self._refusal(refused, presented, attempt.peer)
        except Exception as failure:
            error = self._as_oauth_error(failure)
        else:
            return await self._serve(authenticated, attempt)
        await asyncio.sleep(self.min_refusal_seconds - (self.monotonic() - attempt.started))
        known = self.registry.clients.get(presented.client_id) is not None
        return self._refuse(error, attempt, attempt.peer, attempt.started, known=known)

    def _as_oauth_error(self, failure: Exception) -> OAuthError:
        """The error for the caller; an unexpected exception is logged."""
        if isinstance(failure, OAuthError):
            return failure
        if isinstance(failure, Rejected | Unavailable):
            return from_failure(failure)
        log.error("a %s request failed", self.handler.name, exc_info=failure)
        return unexpected()

    def _refusal(self, refused: CredentialRefused, presented: PresentedCredential, peer: str) -> OAuthError:
        """401, or 503 after too many refusals; the same for every client id, known or not."""
        exhausted = self.read_through.budget_exhausted or self.throttle.is_exhausted(peer)
        self.throttle.record_failure(peer)
        if exhausted:
            return from_failure(Slowed("too many refusals"))
        return refused_credential(
            reason=refused.reason,
            challenge=presented.challenge,
            advice=refused.advice,
            has_kid=not isinstance(presented, PresentedAssertion) or "kid" in presented.signed.header,
        )

    async def _authenticate(self, presented: PresentedCredential, peer: str) -> Authenticated:
        """From memory, otherwise from a new read of the client's record; raises `CredentialRefused`."""
        await self.authenticator.resolve_client_id(presented)
        client_id = presented.client_id or expected_client_id(presented)
        before = self.registry.clients.get(client_id)
        try:
            return await self.authenticator.authenticate(presented)
        except CredentialRefused as refused:
            refusal = refused
        slowed = Slowed("too many failed authentications") if self.throttle.is_exhausted(peer) else None
        if is_client_id(client_id):
            try:
                await self.read_through.refresh(client_id, slowed=slowed is not None)
            except Slowed as exhausted:
                slowed = exhausted
        if self.registry.clients.get(client_id) is not before:
            await self.authenticator.resolve_client_id(presented)
            try:
                return await self.authenticator.authenticate(presented)
            except CredentialRefused as refused:
                refusal = refused
        raise slowed or refusal

    async def _serve(self, authenticated: Authenticated, attempt: _Attempt[P]) -> Answer:
        try:
            outcome = self.handler.serve(authenticated, attempt.parameters, self.clock())
        except Exception as failure:
            return self._refuse_known(failure, attempt)
        if isinstance(outcome, Outcome):
            return self._finish(outcome, authenticated, attempt)
        return await self._finish_async(outcome, authenticated, attempt)

    async def _finish_async(
        self, outcome: Awaitable[Outcome], authenticated: Authenticated, attempt: _Attempt[P]
    ) -> Answer:
        try:
            return self._finish(await outcome, authenticated, attempt)
        except Exception as failure:
            return self._refuse_known(failure, attempt)

    def _finish(self, outcome: Outcome, authenticated: Authenticated, attempt: _Attempt[P]) -> Answer:
        now = self.clock()
        self.note_use(authenticated.digest, now)
        self.sink(audit.entry(self.handler.name, now, attempt.peer, outcome.result, outcome.audit_fields))
        self.metrics.count(outcome.result, self.monotonic() - attempt.started)
        return outcome.answer

    def _refuse_known(self, failure: Exception, attempt: _Attempt[P]) -> Answer:
        return self._refuse(self._as_oauth_error(failure), attempt, attempt.peer, attempt.started, known=True)

    def _refuse(
        self, error: OAuthError, attempt: _Attempt[P] | None, peer: str, started: float, *, known: bool
    ) -> Answer:
        """`known`: there is a record with the client id of the request, authenticated or not."""
        entry = refusal(
            error.reason,
            attempt.request.presented if attempt else None,
            attempt.parameters.audit_fields() if attempt and known else {},
            known=known,
        )
        self.sink(audit.entry(self.handler.name, self.clock(), peer, error.result, {**entry, **error.about}))
        self.metrics.count(error.result, self.monotonic() - started)
        if known:
            self.metrics.refused_known(error.result)
        return error.answer()
