"""The steps that the endpoints for clients share: parse the request → authenticate the client → serve → answer.

`decide` does all of it without I/O wherever memory is enough. The rest is a credential that memory does not know, and
work that waits for something.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Hashable
from dataclasses import dataclass, field
from typing import Final, Generic

from scopewright.bounded import RecentDict
from scopewright.core.failures import Rejected, Unavailable
from scopewright.issuer.authentication.assertions import CredentialRefused
from scopewright.issuer.authentication.authenticator import Authenticator, expected_client_id, is_client_id
from scopewright.issuer.authentication.read_through import ReadThrough
from scopewright.issuer.authentication.throttle import FailureThrottle
from scopewright.issuer.endpoints.handler import FindKnown, Handler, Outcome, P
from scopewright.issuer.observability.audit import refusal
from scopewright.issuer.observability.metrics import EndpointMetrics
from scopewright.issuer.protocol.errors import OAuthError, Slowed, from_failure, refused_credential, unexpected
from scopewright.issuer.protocol.request import (
    ClientRequest,
    PresentedAssertion,
    PresentedCredential,
    check,
    has_no_secrets,
    parse,
    presented_credential,
    require_only_header,
)
from scopewright.issuer.protocol.responses import Answer, HttpRequest
from scopewright.issuer.state.recognised import Authenticated, Recognised
from scopewright.issuer.state.registry import Registry
from scopewright.rate_budget import Clock
from scopewright.serving import audit

log: Final = logging.getLogger(__name__)

MIN_REFUSAL_SECONDS: Final = 0.1
"""Every refusal of a credential takes at least this long, whether a record was read or not."""

_MOST_PARAMETERS: Final = 512

NoteUse = Callable[[bytes, float], None]
"""Takes the SHA-256 of an accepted credential, and the time in seconds since the epoch."""


@dataclass(slots=True)
class _Attempt(Generic[P]):
    """A request that was read. `repeats`: its credential and its parameters were recognised."""

    http: HttpRequest
    presented: PresentedCredential | Recognised
    parameters: P
    started: float
    repeats: bool = False


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
    find_known: FindKnown[P] | None = None
    _parameters: RecentDict[Hashable, P] = field(init=False, default_factory=lambda: RecentDict(_MOST_PARAMETERS))
    """Of answered requests, by their `key` and by bodies without secrets: most clients repeat their requests."""

    def decide(self, http: HttpRequest) -> Answer | Coroutine[None, None, Answer]:
        """The answer where no I/O is needed; otherwise a coroutine that returns it."""
        started, now = self.monotonic(), self.clock()
        attempt: _Attempt[P] | None = None
        try:
            registry = self.registry
            before = registry.clients.recognised.find(
                http.headers.get(b"authorization"), http.body, registry.issuer, now
            )
            if before is None:
                attempt, presented = self._first(http, started)
                authenticated = self.authenticator.authenticate_from_memory(presented, now)
                if authenticated is None:
                    return self._authenticate_slow(presented, attempt)
            else:
                authenticated = before.authenticated
                parameters = self._known_parameters(http, before, now)
                if parameters is not None:
                    return self._serve_again(http, before, parameters, started, now)
                attempt = self._again(http, before, started)
            outcome = self.handler.serve(authenticated, attempt.parameters, now)
            if isinstance(outcome, Outcome):
                return self._remember_and_finish(outcome, authenticated, attempt, now)
            return self._finish_async(outcome, authenticated, attempt)
        except OAuthError as error:
            return self._refuse(error, attempt, http.peer, started, known=attempt is not None)
        except Exception:
            log.exception("a %s request failed", self.handler.name)
            return self._refuse(unexpected(), None, http.peer, started, known=False)

    def _serve_again(
        self, http: HttpRequest, before: Recognised, parameters: P, started: float, now: float
    ) -> Answer | Coroutine[None, None, Answer]:
        """The answer to a request whose credential and parameters were recognised."""
        authenticated = before.authenticated
        try:
            outcome = self.handler.serve(authenticated, parameters, now)
        except OAuthError as error:
            attempt = _Attempt(http, before, parameters, started, repeats=True)
            return self._refuse(error, attempt, http.peer, started, known=True)
        if isinstance(outcome, Outcome):
            return self._finish(outcome, authenticated.digest, http.peer, started, now)
        return self._finish_async(outcome, authenticated, _Attempt(http, before, parameters, started, repeats=True))

    def _first(self, http: HttpRequest, started: float) -> tuple[_Attempt[P], PresentedCredential]:
        request = parse(http)
        presented = presented_credential(
            request.form,
            http.headers.get(b"authorization"),
            accepts_secrets=self.authenticator.accepts_secrets,
            admits_public=self.handler.admits_public,
        )
        return _Attempt(http, presented, self._read(request), started), presented

    def _known_parameters(self, http: HttpRequest, before: Recognised, now: float) -> P | None:
        """Those of an earlier request with this body; raises OAuthError. None: the body must be read."""
        if b"dpop" in http.headers:
            return None
        if before.in_header:
            parameters = self._parameters.get(http.body)
            if parameters is None and self.find_known is not None:
                parameters = self.find_known(http.body, before.authenticated.client, now)
        else:
            parameters = before.parameters if before.reader is self.handler else None
        if parameters is not None:
            check(http)
        return parameters

    def _again(self, http: HttpRequest, before: Recognised, started: float) -> _Attempt[P]:
        """The attempt of a request of which only the credential was recognised; raises OAuthError."""
        request = parse(http)
        if before.in_header:
            require_only_header(request.form, before.client_id)
        return _Attempt(http, before, self._read(request), started)

    def _read(self, request: ClientRequest) -> P:
        """The parameters: the same object as those of an earlier equal request."""
        parameters = self.handler.read(request)
        return (parameters.key is not None and self._parameters.get(parameters.key)) or parameters

    def _remember(self, authenticated: Authenticated, attempt: _Attempt[P]) -> None:
        """Enter the parameters of an answered request, and its credential where it can be repeated."""
        http, parameters = attempt.http, attempt.parameters
        key, authorization = parameters.key, http.headers.get(b"authorization")
        if key is not None:
            parameters = self._parameters.setdefault(key, parameters)
            if authorization is not None and has_no_secrets(http.body):
                self._parameters[http.body] = parameters
        is_entered = authorization is not None and isinstance(attempt.presented, Recognised)
        has_single_use = authorization is None and key is None
        if authenticated.issuer is None or is_entered or has_single_use:
            return
        self.registry.clients.recognised.remember(
            authorization, http.body, authenticated, attempt.presented.method, self.handler, parameters
        )

    async def _authenticate_slow(self, presented: PresentedCredential, attempt: _Attempt[P]) -> Answer:
        """The same path for unknown clients and wrong credentials: no refusal is faster than the minimum."""
        peer = attempt.http.peer
        try:
            authenticated = await self._authenticate(presented, peer)
        except CredentialRefused as refused:
            error = self._refusal(refused, presented, peer)
        except Exception as failure:
            error = self._as_oauth_error(failure)
        else:
            return await self._serve(authenticated, attempt)
        await asyncio.sleep(self.min_refusal_seconds - (self.monotonic() - attempt.started))
        known = self.registry.clients.get(presented.client_id) is not None
        return self._refuse(error, attempt, peer, attempt.started, known=known)

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
        if not presented.client_id:
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
            return self._remember_and_finish(outcome, authenticated, attempt, self.clock())
        return await self._finish_async(outcome, authenticated, attempt)

    async def _finish_async(
        self, outcome: Awaitable[Outcome], authenticated: Authenticated, attempt: _Attempt[P]
    ) -> Answer:
        try:
            return self._remember_and_finish(await outcome, authenticated, attempt, self.clock())
        except Exception as failure:
            return self._refuse_known(failure, attempt)

    def _remember_and_finish(
        self, outcome: Outcome, authenticated: Authenticated, attempt: _Attempt[P], now: float
    ) -> Answer:
        """Finish a request. One that was read is recognised from now on, if it may be."""
        if not attempt.repeats:
            self._remember(authenticated, attempt)
        return self._finish(outcome, authenticated.digest, attempt.http.peer, attempt.started, now)

    def _finish(self, outcome: Outcome, digest: bytes, peer: str, started: float, now: float) -> Answer:
        self.note_use(digest, now)
        name, result, members = self.handler.name, outcome.result, outcome.audit_fields
        if isinstance(members, bytes):
            self.sink(audit.encoded(name, now, peer, result, members))
        else:
            self.sink(audit.entry(name, now, peer, result, members))
        self.metrics.count(result, self.monotonic() - started)
        return outcome.answer

    def _refuse_known(self, failure: Exception, attempt: _Attempt[P]) -> Answer:
        error = self._as_oauth_error(failure)
        return self._refuse(error, attempt, attempt.http.peer, attempt.started, known=True)

    def _refuse(
        self, error: OAuthError, attempt: _Attempt[P] | None, peer: str, started: float, *, known: bool
    ) -> Answer:
        """`known`: there is a record with the client id of the request, authenticated or not."""
        entry = refusal(
            error.reason,
            attempt.presented if attempt else None,
            attempt.parameters.audit_fields() if attempt and known else {},
            known=known,
        )
        self.sink(audit.entry(self.handler.name, self.clock(), peer, error.result, {**entry, **error.about}))
        self.metrics.count(error.result, self.monotonic() - started)
        if known:
            self.metrics.refused_known(error.result)
        return error.answer()
