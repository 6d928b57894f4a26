"""Finds and fetches an issuer's keys and revocations, step by step (RFC 8414 §3).

No I/O: the generators yield requests and receive responses.
"""

import json
import re
from collections.abc import Generator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from scopewright.http_flow import FetchError, HttpResponse
from scopewright.issuer_metadata import MAX_BYTES, MAX_SHOWN_CHARACTERS, fetch_metadata, get
from scopewright.origins import Hosts, HttpUrl, advice, is_secure
from scopewright.strict_json import json_object
from scopewright.verifier.issuer_url import check_issuer_url
from scopewright.verifier.keyset import KeySet
from scopewright.verifier.revoked import Revoked

if TYPE_CHECKING:
    import httpx

_USER_AGENT = "scopewright-verifier"
MAX_FEED_BYTES = 2 * 1024 * 1024  # a feed with every client in it has about 1 MiB
DEFAULT_MAX_AGE_SECONDS = 300.0
# Limits for the issuer's max-age: no fetch for every request, and a removed key is noticed within an hour.
MAX_AGE_BOUNDS_SECONDS = (30.0, 3600.0)


@dataclass(frozen=True, slots=True)
class KeySource:
    """Where to fetch the keys. Without `jwks_uri`, the metadata of `issuer` names it. `allow_http` are the hosts
    that are allowed without TLS.
    """

    issuer: str
    jwks_uri: str | None = None
    allow_http: Hosts = frozenset()

    def __post_init__(self) -> None:
        secure_url(self.issuer, self.allow_http)
        check_issuer_url(self.issuer)
        if self.jwks_uri is not None:
            secure_url(self.jwks_uri, self.allow_http)


@dataclass(frozen=True, slots=True)
class Fetched:
    """`keys` is None if they have not changed (304). `max_age` is in seconds."""

    uri: str
    keys: KeySet | None
    etag: str | None
    max_age: float


@dataclass(frozen=True, slots=True)
class FetchedFeed:
    """`revoked` is None if the feed has not changed (304)."""

    uri: str
    revoked: Revoked | None
    etag: str | None


T = TypeVar("T")
Flow = Generator["httpx.Request", HttpResponse, T]


def secure_url(url: str, allow_http: Hosts = frozenset()) -> str:
    """The URL, unchanged. Raises ValueError unless it is HTTPS, or HTTP to loopback or `allow_http`."""
    parsed = HttpUrl.parse(url)
    if not is_secure(parsed, allow_http):
        raise ValueError(f"https is needed, except on loopback: {url!r}; {advice(parsed, allow_http)}")
    return url


def fetch_keys(source: KeySource, uri: str | None, previous: KeySet | None, etag: str | None) -> Flow[Fetched]:
    """Fetches the key set, after discovery if `uri` is None. Raises `FetchError` or `IssuerMismatch`."""
    if uri is None:
        uri = yield from _discover(source, "jwks_uri")
    response = yield _get(uri, etag if previous is not None else None)
    max_age = _max_age(response.headers)
    if not _has_changed(uri, response, previous):
        return Fetched(uri, None, etag, max_age)
    try:
        keys = KeySet.parse(_jwks(response.body), previous)
    except ValueError as error:
        raise FetchError(f"{uri} is not a JWKS: {error}") from None
    return Fetched(uri, keys, response.headers.get("etag"), max_age)


def _jwks(body: bytes) -> dict[str, Any]:
    """The parsed JWKS. Less strict than a token, so that one odd member does not invalidate the other keys.

    Raises ValueError.
    """
    try:
        document = json.loads(body, parse_int=float)  # without a limit of digits
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if not isinstance(document, dict):
        raise ValueError("not a JSON object")  # noqa: TRY004  # one error for all that is malformed
    return document


def fetch_feed(source: KeySource, uri: str | None, previous: Revoked | None, etag: str | None) -> Flow[FetchedFeed]:
    """Fetches the revocation feed, after discovery if needed. Raises as `fetch_keys` does."""
    if uri is None:
        uri = yield from _discover(source, "scopewright_revocation_feed_uri")
    response = yield _get(uri, etag if previous is not None else None, MAX_FEED_BYTES)
    if not _has_changed(uri, response, previous):
        return FetchedFeed(uri, None, etag)
    try:
        revoked = Revoked.parse(json_object(response.body), source.issuer)
    except ValueError as error:
        raise FetchError(f"{uri} is not a revocation feed: {error}") from None
    return FetchedFeed(uri, revoked, response.headers.get("etag"))


def _has_changed(uri: str, response: HttpResponse, previous: object) -> bool:
    if response.status == 304 and previous is not None:
        return False
    if response.status != 200:
        raise FetchError(f"{uri} answered {response.status}; 200 is needed, and redirects are not followed")
    return True


def _discover(source: KeySource, what: str) -> Flow[str]:
    metadata = yield from fetch_metadata(source.issuer, _USER_AGENT)
    try:
        return secure_url(str(metadata.members.get(what)), source.allow_http)
    except ValueError as error:
        raise FetchError(f"{metadata.url} names no usable {what}: {str(error)[:MAX_SHOWN_CHARACTERS]}") from None


def _get(url: str, etag: str | None = None, max_bytes: int = MAX_BYTES) -> "httpx.Request":
    return get(url, _USER_AGENT, etag, max_bytes)


def _max_age(headers: Mapping[str, str]) -> float:
    """Remaining freshness in seconds (RFC 9111 §4.2), within MAX_AGE_BOUNDS_SECONDS."""
    max_age = re.search(r"(?:^|[,\s])max-age=\"?(\d{1,10})", headers.get("cache-control", ""), re.IGNORECASE)
    age = headers.get("age", "0")
    left = DEFAULT_MAX_AGE_SECONDS
    if max_age:
        left = float(max_age[1]) - (float(age) if re.fullmatch(r"\d{1,10}", age) else 0.0)
    lowest, highest = MAX_AGE_BOUNDS_SECONDS
    return min(max(left, lowest), highest)
