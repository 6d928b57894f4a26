"""Fetches the metadata of an issuer, step by step (RFC 8414 §3). Shared by `verifier` and `client`.

No I/O: the generator yields requests and receives responses.
"""

from collections.abc import Generator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from scopewright.http_flow import FetchError, HttpResponse
from scopewright.strict_json import json_object

if TYPE_CHECKING:
    import httpx

TIMEOUT_SECONDS: Final = 5.0  # for one step of one request
MAX_BYTES: Final = 512 * 1024
MAX_SHOWN_CHARACTERS: Final = 300  # of an issuer's text in a message


class IssuerMismatch(ValueError):
    """The `issuer` in the metadata differs from the configured one (RFC 8414 §3.3).

    `problem` is the text without advice. `named` is the value in the metadata, for a message.
    """

    def __init__(self, problem: str, named: str | None) -> None:
        self.problem = problem
        self.named = named
        super().__init__(problem, named)

    def __str__(self) -> str:
        return self.advising("pass issuer=")

    def advising(self, how: str) -> str:
        """The text with advice: `how` is followed by the value to configure, such as `pass issuer=`."""
        return f"{self.problem}: {f'{how}{self.named}' if self.named else 'it is not the metadata of an issuer'}"


class MetadataNotFound(FetchError):
    """No URL of the metadata answered 200. `response` is the last answer, of `url`."""

    def __init__(self, text: str, url: str, response: HttpResponse) -> None:
        self.url = url
        self.response = response
        super().__init__(text)


@dataclass(frozen=True, slots=True)
class IssuerMetadata:
    """The members of the document at `url`."""

    url: str
    members: dict[str, Any]


def metadata_urls(issuer: str) -> tuple[str, str]:
    """The metadata URLs to try: RFC 8414 §3.1 (before the path), then OpenID Connect Discovery §4 (after)."""
    import httpx

    url = httpx.URL(issuer)
    path = url.path.rstrip("/")
    return (
        str(url.copy_with(path=f"/.well-known/oauth-authorization-server{path}")),
        str(url.copy_with(path=f"{path}/.well-known/openid-configuration")),
    )


def fetch_metadata(issuer: str, user_agent: str) -> Generator["httpx.Request", HttpResponse, IssuerMetadata]:
    """Raises `FetchError`, or `IssuerMismatch` for the metadata of another issuer."""
    answers = []
    for url in metadata_urls(issuer):
        response = yield get(url, user_agent)
        if response.status == 200:
            return _parsed(url, response.body, issuer)
        answers.append(f"{url} answered {response.status}")
        if response.status is None:  # the issuer cannot be reached
            break
    raise MetadataNotFound("no metadata: " + ", ".join(answers), url, response)


def _parsed(url: str, body: bytes, issuer: str) -> IssuerMetadata:
    try:
        members = json_object(body)
    except ValueError as error:
        raise FetchError(f"{url} is not metadata: {error}") from None
    named = members.get("issuer")
    if named != issuer:  # byte for byte (RFC 8414 §3.3)
        shown = repr(named)[:MAX_SHOWN_CHARACTERS]
        problem = f"{url} is of issuer {shown}, but {issuer!r} is configured here"
        raise IssuerMismatch(problem, shown if isinstance(named, str) else None)
    return IssuerMetadata(url, members)


def get(url: str, user_agent: str, etag: str | None = None, max_bytes: int = MAX_BYTES) -> "httpx.Request":
    """A request, with the timeout and the maximum size of its response as extensions."""
    import httpx

    headers = {"Accept": "application/json", "Accept-Encoding": "identity", "User-Agent": user_agent}
    if etag:
        headers["If-None-Match"] = etag
    extensions = {"timeout": httpx.Timeout(TIMEOUT_SECONDS).as_dict(), "max_bytes": max_bytes}
    return httpx.Request("GET", url, headers=headers, extensions=extensions)
