"""Cross-origin requests of browsers (CORS, Fetch Standard §3.2), where users can log in.

An application that runs in a browser is a public client: its scripts call the token, revocation and userinfo endpoint.
Only origins of registered redirect URIs may read the answers. Cookies are never involved: no answer allows credentials.
"""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Final

from scopewright.http import Handler
from scopewright.issuer.protocol.responses import Answer, Headers, HttpRequest
from scopewright.issuer.state.registry import Registry

PREFLIGHT_SECONDS: Final = 600
_MAX_ORIGIN_BYTES: Final = 600
_VARY: Final = (b"vary", b"Origin")
_EXPOSED: Final = (b"access-control-expose-headers", b"DPoP-Nonce, WWW-Authenticate")
_PREFLIGHT: Final[Headers] = (
    (b"access-control-allow-methods", b"GET, POST"),
    (b"access-control-allow-headers", b"Authorization, Content-Type, DPoP"),
    (b"access-control-max-age", b"%d" % PREFLIGHT_SECONDS),
)
_ANY: Final = (b"access-control-allow-origin", b"*")


class CrossOrigin:
    """Wraps the function that answers an endpoint's requests. Those without the header Origin are passed on as they
    are, and so are all while no user can log in.
    """

    def __init__(self, decide: Handler, registry: Registry, offers_login: Callable[[], bool]) -> None:
        self._decide = decide
        self._registry = registry
        self._offers_login = offers_login

    def decide(self, http: HttpRequest) -> Answer | Awaitable[Answer]:
        if b"origin" not in http.headers or not self._offers_login():
            return self._decide(http)
        allowed = self._allowed(http)
        if _is_preflight(http):
            return Answer(204, (*allowed, *_PREFLIGHT) if allowed else (_VARY,), b"")
        decided = self._decide(http)
        headers = (*allowed, _EXPOSED) if allowed else (_VARY,)
        if isinstance(decided, Answer):
            return _with(decided, headers)
        return _with_later(decided, headers)

    def _allowed(self, http: HttpRequest) -> Headers:
        """Headers for an origin of a registered redirect URI; none for others."""
        origin = http.headers[b"origin"]
        if len(origin) > _MAX_ORIGIN_BYTES or not self._registry.clients.has_origin(origin.decode("latin-1")):
            return ()
        return (b"access-control-allow-origin", origin), _VARY


def any_origin(http: HttpRequest, answer: Answer) -> Answer:
    """The answer for a public document: every origin may read it."""
    if _is_preflight(http):
        return Answer(204, (_ANY, *_PREFLIGHT), b"")
    return _with(answer, (_ANY,))


def _is_preflight(http: HttpRequest) -> bool:
    return http.method == "OPTIONS" and b"access-control-request-method" in http.headers


def _with(answer: Answer, headers: Headers) -> Answer:
    """A copy: some answers are shared by all requests."""
    return replace(answer, headers=answer.headers + headers)


async def _with_later(decided: Awaitable[Answer], headers: Headers) -> Answer:
    return _with(await decided, headers)
