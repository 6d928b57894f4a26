"""Finds the endpoints of the issuer: in the credentials, or in the issuer's metadata, which is cached. No I/O."""

from collections.abc import Callable, Generator
from typing import Final

import httpx

from scopewright.client.credentials import MountedCredentials
from scopewright.client.errors import TokenError, invalid_request, printable
from scopewright.client.option_names import OptionNames
from scopewright.client.refusals import temporary
from scopewright.http_flow import FetchError, HttpResponse
from scopewright.issuer_metadata import IssuerMetadata, IssuerMismatch, MetadataNotFound, fetch_metadata
from scopewright.origins import Hosts, advice, is_secure, origin

TOKEN: Final = "token_endpoint"  # noqa: S105  # members of the metadata (RFC 8414 §2)
INTROSPECTION: Final = "introspection_endpoint"
REVOCATION: Final = "revocation_endpoint"

USER_AGENT: Final = "scopewright-client"
_MISSING_SECONDS: Final = 60.0  # until the metadata is fetched again because it lacks an endpoint
_MAX_MESSAGE_CHARACTERS: Final = 1000


class Endpoints:
    """Caches the metadata of one issuer until `forget`. `allow_http` are hosts that may be called without TLS."""

    def __init__(self, allow_http: Hosts, now: Callable[[], float], names: OptionNames) -> None:
        self._allow_http = allow_http
        self._names = names
        self._now = now
        self._cached: tuple[str, IssuerMetadata, float] | None = None

    def locate(self, name: str, credentials: MountedCredentials) -> Generator[httpx.Request, HttpResponse, httpx.URL]:
        """The URL of an endpoint. It must be at the issuer's origin, and use HTTPS except on loopback and for
        `allow_http`. Raises `TokenError`.
        """
        issuer, named = _url("issuer", credentials.issuer), credentials.token_endpoint if name == TOKEN else None
        if named is None:
            self._check_secure("issuer", issuer)
            named = yield from self._from_metadata(name, credentials.issuer)
        endpoint = _url(name, named)
        self._check_secure(name, endpoint)
        if origin(endpoint) != origin(issuer):
            raise invalid_request(
                f"the {name} {endpoint} is not of the same scheme, host and port as the issuer {issuer}; no credential "
                "is sent there: use the Secret as the operator writes it",
                _MAX_MESSAGE_CHARACTERS,
            )
        return endpoint

    def forget(self) -> None:
        """An endpoint did not answer as one: the next request fetches the metadata again."""
        self._cached = None

    def _from_metadata(self, name: str, issuer: str) -> Generator[httpx.Request, HttpResponse, str]:
        metadata = self._usable(name, issuer)
        if metadata is None:
            metadata = yield from self._fetch(name, issuer)
            self._cached = (issuer, metadata, self._now())
        found = metadata.members.get(name)
        if not isinstance(found, str):
            raise TokenError("invalid_response", f"{printable(metadata.url)} names no {name}: the issuer has none")
        return found

    def _usable(self, name: str, issuer: str) -> IssuerMetadata | None:
        cached = self._cached
        if cached is None or cached[0] != issuer:
            return None
        _, metadata, fetched_at = cached
        return metadata if name in metadata.members or self._now() - fetched_at < _MISSING_SECONDS else None

    def _fetch(self, name: str, issuer: str) -> Generator[httpx.Request, HttpResponse, IssuerMetadata]:
        try:
            return (yield from fetch_metadata(issuer, USER_AGENT))
        except MetadataNotFound as error:
            if (busy := temporary(error.response, httpx.URL(error.url), self._now())) is not None:
                raise busy from None
            text = f"{error}; see that the issuer {issuer} is right"
            if name == TOKEN:
                text += f", or give its {TOKEN} in the Secret, the variable or the argument"
        except IssuerMismatch as error:
            text = error.advising("correct the issuer in the Secret, the variable or the argument to ")
        except FetchError as error:
            text = str(error)
        raise TokenError("invalid_response", printable(text, most=_MAX_MESSAGE_CHARACTERS))

    def _check_secure(self, name: str, url: httpx.URL) -> None:
        if not is_secure(url, self._allow_http):
            how = advice(url, self._allow_http, self._names.variables.get("allow_http"))
            raise invalid_request(f"the {name} must be https and is {url}: {how}")


def _url(name: str, text: str) -> httpx.URL:
    if "@" in text.partition("://")[2].partition("/")[0]:  # not shown: it may be a password
        raise invalid_request(f"the {name} must be https, a URL without a user and a password: remove them")
    try:
        url = httpx.URL(text)
    except httpx.InvalidURL:
        url = httpx.URL("")
    if url.scheme not in ("http", "https") or not url.host:
        raise invalid_request(f"the {name} must be https, and is {text}")
    return url
