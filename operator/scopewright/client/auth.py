"""The one object of this room: `httpx.AsyncClient(auth=ClientCredentials(path))`."""

import asyncio
import logging
import os
import random
import re
import threading
from collections.abc import AsyncGenerator, Callable, Generator
from concurrent.futures import Future

import httpx
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

from scopewright.client.clock import Clock
from scopewright.client.dpop import Prover
from scopewright.client.errors import TokenError
from scopewright.client.grant import Ask, Flow, Granted, fetch_token
from scopewright.client.mounted import MountedSecret
from scopewright.client.slot import Need, Slot
from scopewright.client.token import AccessToken
from scopewright.client.transport import Http, run, run_sync

logger = logging.getLogger("scopewright.client")

_CALLERS = 1000
_INVALID_TOKEN = re.compile(r'\b(bearer|dpop)\b.*\berror="?invalid_token"?', re.IGNORECASE)
_USE_NONCE = re.compile(r'\bdpop\b.*\berror="?use_dpop_nonce"?', re.IGNORECASE)


class ClientCredentials(httpx.Auth):
    """Sends `Authorization: Bearer` with a token for `resource` (RFC 8707) and `scope` (space-delimited).

    Left out, both come from the Secret mounted at `path`. The token is shared by all who use this object, threads and
    tasks alike, and fetched anew in good time before it ends. A 401 `invalid_token` of the API is answered with a
    fresh token, once, if the request can be sent again. `http` replaces the HTTP client that asks the token endpoint
    (for a private CA, say): a `Client`, or an `AsyncClient` where only async code uses this. `jitter` is in [0, 1).
    With `subject_token` the token is got by exchange (RFC 8693): `on_behalf_of` is the way to that.

    With `dpop` the tokens are bound to a key (RFC 9449): one that is made here and kept in memory, or a P-256 key that
    is given. Every request then carries `Authorization: DPoP` and a proof for its method and URL; a nonce that issuer
    or API ask for is sent with one more try.
    """

    def __init__(
        self,
        path: str | os.PathLike[str] | MountedSecret,
        resource: str | None = None,
        scope: str | None = None,
        *,
        http: Http | None = None,
        dpop: bool | EllipticCurvePrivateKey | Prover = False,
        clock: Clock | None = None,
        jitter: Callable[[], float] = random.random,
        subject_token: str | None = None,
    ) -> None:
        self._clock = clock or Clock()
        self.secret = path if isinstance(path, MountedSecret) else MountedSecret(path, clock=self._clock)
        self._ask = Ask(resource, scope, subject_token)
        self._http = http
        self._prover = dpop if isinstance(dpop, Prover) else Prover.of(dpop)
        self._jitter = jitter
        self._slot = Slot()
        self._lock = threading.Lock()
        self._flight: Future[None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._on_behalf: dict[str, ClientCredentials] = {}

    def on_behalf_of(self, subject_token: str) -> "ClientCredentials":
        """For requests on behalf of a caller, whose token this service was sent: `client.get(url, auth=…)`.

        The same for the same token, so that it is exchanged once; the last thousand are remembered.
        """
        with self._lock:
            found = self._on_behalf.pop(subject_token, None)
            if found is None:
                resource, scope = self._ask.resource, self._ask.scope
                found = ClientCredentials(
                    self.secret,
                    resource,
                    scope,
                    http=self._http,
                    dpop=self._prover or False,
                    clock=self._clock,
                    jitter=self._jitter,
                    subject_token=subject_token,
                )
            self._on_behalf[subject_token] = found
            if len(self._on_behalf) > _CALLERS:
                del self._on_behalf[next(iter(self._on_behalf))]
        return found

    async def token(self) -> AccessToken:
        """Raises `TokenError`. Waits only where there is no token that is still good."""
        if (flight := self._look()) is not None:
            await asyncio.shield(asyncio.wrap_future(flight))
        return self._result()

    def token_sync(self) -> AccessToken:
        """`token` for threads."""
        if (flight := self._look()) is not None:
            flight.result()
        return self._result()

    async def async_auth_flow(self, request: httpx.Request) -> AsyncGenerator[httpx.Request, httpx.Response]:
        token = await self.token()
        response = yield self._with(token, request)
        if self._nonce_asked(request, response) and _can_be_sent_again(request):
            response = yield self._with(token, request)
        if _refused(_INVALID_TOKEN, request, response) and _can_be_sent_again(request):
            need, flight = self._look_after_refusal(token)
            if flight is not None:
                await asyncio.shield(asyncio.wrap_future(flight))
            if (fresh := self._other_than(token, need)) is not None:
                self._nonce_asked(request, (yield self._with(fresh, request)))

    def sync_auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        token = self.token_sync()
        response = yield self._with(token, request)
        if self._nonce_asked(request, response) and _can_be_sent_again(request):
            response = yield self._with(token, request)
        if _refused(_INVALID_TOKEN, request, response) and _can_be_sent_again(request):
            need, flight = self._look_after_refusal(token)
            if flight is not None:
                flight.result()
            if (fresh := self._other_than(token, need)) is not None:
                self._nonce_asked(request, (yield self._with(fresh, request)))

    def _with(self, token: AccessToken, request: httpx.Request) -> httpx.Request:
        if self._prover is None:
            request.headers["Authorization"] = f"Bearer {token.value}"
        else:
            request.headers["Authorization"] = f"DPoP {token.value}"
            request.headers["DPoP"] = self._prover.proof(request.method, request.url, self._clock.now(), token.value)
        return request

    def _nonce_asked(self, request: httpx.Request, response: httpx.Response) -> bool:
        """Whether the API wants the proof again with the nonce that it gave. Keeps it, whatever the answer is."""
        if self._prover is None or not self._prover.heard(response.request.url, response.headers):
            return False
        return _refused(_USE_NONCE, request, response)

    def _look(self) -> Future[None] | None:
        """The fetch to wait for, if any."""
        credentials = self.secret.read()
        with self._lock:
            need = self._slot.need(self._clock.now(), credentials)
            if need in (Need.NOTHING, Need.WAIT):
                return None
            flight = self._flight or self._take_off()
            return flight if need is Need.NOW else None

    def _look_after_refusal(self, refused: AccessToken) -> tuple[Need, Future[None] | None]:
        with self._lock:
            if self._flight is not None:
                return Need.NOW, self._flight
            need = self._slot.need_after_refusal(self._clock.now(), refused)
            return need, self._take_off() if need is Need.NOW else None

    def _result(self) -> AccessToken:
        with self._lock:
            token, error = self._slot.token, self._slot.error
        if token is not None and self._clock.now() < token.expires_at:
            return token
        raise error.again() if error is not None else TokenError("temporarily_unavailable", "no token; try again")

    def _other_than(self, refused: AccessToken, need: Need) -> AccessToken | None:
        """None: the caller gets the API's own answer."""
        with self._lock:
            token = self._slot.token
        return token if need is not Need.WAIT and token is not refused else None

    def _take_off(self) -> Future[None]:
        flight = Future[None]()
        if isinstance(self._http, httpx.AsyncClient):
            loop = asyncio.get_running_loop()  # raises RuntimeError in token_sync, which needs a Client
            task = loop.create_task(self._fetch(self._http))
            self._tasks.add(task)
            task.add_done_callback(self._landed)
        else:
            threading.Thread(target=self._fetch_in_thread, name="scopewright-token", daemon=True).start()
        self._flight = flight  # the fetch cannot end before: that takes the lock which is held here
        return flight

    def _landed(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        error = asyncio.CancelledError() if task.cancelled() else task.exception()
        if error is not None:
            self._finish(error)

    def _flow(self) -> Flow:
        return fetch_token(
            lambda now: self.secret.read(now=now), self._ask, self._clock.now, self._jitter, self._prover
        )

    async def _fetch(self, client: httpx.AsyncClient) -> None:
        self._finish(await run(self._flow(), client, self._clock))

    def _fetch_in_thread(self) -> None:
        try:
            if isinstance(self._http, httpx.Client):
                self._finish(run_sync(self._flow(), self._http, self._clock))
            else:
                with httpx.Client() as client:
                    self._finish(run_sync(self._flow(), client, self._clock))
        except Exception as error:  # whatever it was, those who wait must be told
            self._finish(error)

    def _finish(self, outcome: Granted | BaseException) -> None:
        with self._lock:
            flight, self._flight = self._flight, None
            if isinstance(outcome, BaseException):
                error = outcome if isinstance(outcome, TokenError) else _unexpected(outcome)
                self._slot.failed(error, self._clock.now())
                logger.warning("no token from the issuer: %s", error)
            else:
                self._slot.received(*outcome, self._jitter())
        if flight is not None:
            flight.set_result(None)


def _unexpected(outcome: object) -> TokenError:
    # Without its text: nobody has looked at what it may repeat.
    return TokenError("temporarily_unavailable", f"the token request ended with {type(outcome).__name__}; try again")


def _refused(why: re.Pattern[str], request: httpx.Request, response: httpx.Response) -> bool:
    """By the API itself (a redirect elsewhere goes without the token), and for this reason (RFC 6750 §3.1)."""
    there, here = response.request.url, request.url
    return (
        response.status_code == 401
        and (there.scheme, there.host, there.port) == (here.scheme, here.host, here.port)
        and any(why.search(challenge) for challenge in response.headers.get_list("www-authenticate"))
    )


def _can_be_sent_again(request: httpx.Request) -> bool:
    """A streamed body is gone once it has been sent."""
    try:
        _ = request.content
    except httpx.RequestNotRead:
        return False
    return True
