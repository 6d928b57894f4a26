"""The options of a verifier, and the environment variables that some of them default to."""

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Final, TypedDict

from scopewright.singleflight import Http
from scopewright.variables import ALLOW_HTTP, listed
from scopewright.verifier.feedcache import RevocationFeed
from scopewright.verifier.introspection import Introspection, Introspector
from scopewright.verifier.nonces import Nonces
from scopewright.verifier.replay import Replay
from scopewright.verifier.token_verifier import shown_type

ISSUER: Final = "SCOPEWRIGHT_ISSUER"
AUDIENCE: Final = "SCOPEWRIGHT_AUDIENCE"


class VerifierOptions(TypedDict, total=False):
    """The keyword arguments of `Verifier`."""

    scopes: Iterable[str]
    allow_http: Collection[str]
    leeway: float
    algorithms: Iterable[str]
    jwks_uri: str | None
    http: Http | None
    clock: Callable[[], float]
    max_token_bytes: int
    cache_size: int
    dpop_required: bool
    dpop_algorithms: Iterable[str]
    replay: Replay | None
    nonces: Nonces | None
    revocations: bool | RevocationFeed
    introspection: Introspector | Introspection | None


def issuer_of(variables: Mapping[str, str]) -> str:
    """Raises ValueError if the variable is not set."""
    issuer = variables.get(ISSUER, "").strip()
    if not issuer:
        raise ValueError(f"set {ISSUER} to the URL of the issuer, or pass issuer=")
    return issuer


def audiences_of(variables: Mapping[str, str]) -> list[str]:
    """Raises ValueError if the variable is not set."""
    audiences = listed(variables.get(AUDIENCE))
    if not audiences:
        raise ValueError(f"set {AUDIENCE} to the audience of this API, or pass audience=")
    return audiences


def allow_http_of(variables: Mapping[str, str]) -> list[str]:
    return listed(variables.get(ALLOW_HTTP))


def require_http(http: object) -> None:
    """Raises TypeError for an `http=` that cannot send requests, such as a URL or the client of another library."""
    if http is not None and (isinstance(http, type) or not callable(getattr(http, "build_request", None))):
        raise TypeError(f"http= takes an httpx.Client, or an AsyncClient for async code only, not {shown_type(http)}")
