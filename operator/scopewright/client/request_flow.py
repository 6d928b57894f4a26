"""Sends a request with a token, step by step. No I/O: each adapter for an HTTP library runs these steps.

A step is an `Attempt` to send the request, which is answered with an `ApiResponse`; or a token fetch to wait for, which
is answered with whether it ended in time. The flow ends when the caller may have the last response.
"""

import re
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, Final

import httpx

from scopewright.client.destination import Destinations
from scopewright.client.dpop import Prover
from scopewright.client.errors import TokenError, invalid_request
from scopewright.client.shared_token import SharedToken
from scopewright.client.token import AccessToken
from scopewright.origins import origin


@dataclass(frozen=True, slots=True)
class _Refusal:
    """An error code in a challenge. Two searches: one for both would take minutes for a long header of many schemes."""

    scheme: re.Pattern[str]
    error: re.Pattern[str]

    def is_in(self, challenge: str) -> bool:
        scheme = self.scheme.search(challenge)
        return scheme is not None and self.error.search(challenge, scheme.end()) is not None


_INVALID_TOKEN: Final = _Refusal(
    re.compile(r"\b(?:bearer|dpop)\b", re.IGNORECASE), re.compile(r'\berror="?invalid_token"?', re.IGNORECASE)
)
_USE_NONCE: Final = _Refusal(
    re.compile(r"\bdpop\b", re.IGNORECASE), re.compile(r'\berror="?use_dpop_nonce"?', re.IGNORECASE)
)


@dataclass(frozen=True, slots=True)
class ApiResponse:
    """What a flow reads of a response of the API.

    `url` is the one that answered: after redirects, not the one of the request. `challenges` are the values of
    `WWW-Authenticate`, and `nonce` is that of `DPoP-Nonce`. `can_repeat` may be False for any status but 401, and is so
    if the body of the request was a stream, which cannot be sent twice.
    """

    status: int
    url: httpx.URL
    challenges: Sequence[str]
    nonce: str
    can_repeat: bool


@dataclass(frozen=True, slots=True)
class Attempt:
    """The request is to be sent with this token. `now` returns seconds since 1970."""

    _token: AccessToken
    _prover: Prover | None
    _now: Callable[[], float]

    def headers(self, method: str, url: httpx.URL) -> dict[str, str]:
        """The headers to set, for the method and URL that are sent. A proof is for one request: every repetition and
        every redirect within the origin needs its own.
        """
        if self._prover is None:
            return {"Authorization": f"Bearer {self._token.value}"}
        proof = self._prover.proof(method, url, self._now(), self._token.value)
        return {"Authorization": f"DPoP {self._token.value}", "DPoP": proof}


RequestFlow = Generator[Attempt | Future[None], Any, None]


class TokenSender:
    """Decides for every request whether the token may be sent, and whether the request is repeated with another one.

    `now` returns seconds since 1970.
    """

    def __init__(
        self, tokens: SharedToken, destinations: Destinations, prover: Prover | None, now: Callable[[], float]
    ) -> None:
        self.tokens = tokens
        self._destinations = destinations
        self._prover = prover
        self._now = now

    @property
    def is_bound(self) -> bool:
        """Whether the tokens are bound to a key, so that each request needs a proof."""
        return self._prover is not None

    def check_sync(self) -> None:
        """Raises ValueError if tokens can be fetched only on an event loop."""
        if self.tokens.needs_event_loop:
            raise ValueError("tokens are needed outside of the event loop: pass a Client as http=, not an AsyncClient")

    def check(self, url: httpx.URL) -> None:
        """Raises `TokenError` if the token must not be sent to `url`."""
        self._destinations.check(url)

    def flow(self, url: httpx.URL) -> RequestFlow:
        """The steps of one request. Raises `TokenError` before the first one is sent."""
        self.check(url)
        token = yield from self.tokens.current()
        response = yield self._with(token)
        if self._requires_nonce(url, response) and response.can_repeat:
            response = yield self._with(token)
        if self._is_refused(token, url, response) and response.can_repeat:
            try:
                fresh = yield from self.tokens.current()
            except TokenError:
                return  # the caller gets the response of the API
            if fresh is not token:
                self._requires_nonce(url, (yield self._with(fresh)))

    def _with(self, token: AccessToken) -> Attempt:
        return Attempt(token, self._prover, self._now)

    def _requires_nonce(self, url: httpx.URL, response: ApiResponse) -> bool:
        """Whether the API requires a proof with the nonce of its response. Keeps the nonce of any response."""
        if self._prover is None or not self._prover.keep_nonce(response.url, response.nonce):
            return False
        return _refuses(_USE_NONCE, url, response)

    def _is_refused(self, token: AccessToken, url: httpx.URL, response: ApiResponse) -> bool:
        """Whether the API answered that the token is invalid. The next caller then fetches another one."""
        if not _refuses(_INVALID_TOKEN, url, response):
            return False
        self.tokens.refuse(token.value)
        return True


def _refuses(why: _Refusal, url: httpx.URL, response: ApiResponse) -> bool:
    """Whether the API itself refused the request for this reason (RFC 6750 §3.1). A redirect elsewhere has no token."""
    return (
        response.status == 401
        and origin(response.url) == origin(url)
        and any(why.is_in(challenge) for challenge in response.challenges)
    )


def url_of(scheme: str, host: str, port: int | None, path: str, query: str = "") -> httpx.URL:
    """A URL from the parts that another library has parsed. Parsed twice, it might be read as two different hosts.

    Raises `TokenError` if it cannot be one.
    """
    target = f"{path or '/'}?{query}" if query else path or "/"
    try:
        return httpx.URL(scheme=scheme, host=host, port=port, raw_path=target.encode())
    except httpx.InvalidURL as error:
        raise invalid_request(f"no token is sent to a URL that cannot be read: {error}") from None
