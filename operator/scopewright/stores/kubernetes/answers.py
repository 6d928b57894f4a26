"""Answers of the API server as JSON, exceptions and the results that metrics count."""

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import orjson

from scopewright.core.failures import Conflict, Rejected, Unavailable
from scopewright.stores.kubernetes.refusals import bounded, refusal

if TYPE_CHECKING:
    import aiohttp

RESULTS: Final = ("ok", "not_found", "conflict", "rejected", "unavailable")
"""Outcomes of a request; the first three are normal."""


class NotFound(Exception):
    """404. `named`: the answer names this object, so it is not an unserved kind."""

    def __init__(self, message: str, *, named: bool) -> None:
        super().__init__(message)
        self.named = named


class Gone(Unavailable):
    """410: the resourceVersion is too old; list again."""


def json_object(data: bytes) -> dict[str, Any]:
    """The object; empty if it is not a JSON object."""
    try:
        content = orjson.loads(data)
    except orjson.JSONDecodeError:
        content = {}
    return content if isinstance(content, dict) else {}


def api_object(data: bytes, path: str) -> dict[str, Any]:
    """The object of an answer without an error. `Unavailable` if it is not a Kubernetes object, but a proxy's page."""
    content = json_object(data)
    if not content or (path.startswith(("/api/", "/apis/")) and not isinstance(content.get("kind"), str)):
        raise Unavailable(f"what answers {path} is not an API server: its answer is no Kubernetes object")
    return content


def watch_event(line: bytes, path: str) -> dict[str, Any]:
    """The event in a line of a watch. `Unavailable` if it is none."""
    event = json_object(line)
    if not isinstance(event.get("type"), str) or not isinstance(event.get("object"), dict):
        raise Unavailable(f"what answers the watch of {path} is not an API server: a line is no event")
    return event


def failure_of(response: "aiohttp.ClientResponse", status: Mapping[str, Any], what: str) -> Exception:
    answer = {**status, "message": status.get("message") or response.reason or "no message"}
    known = refusal(response.status, answer, what)
    if known:
        return known
    message = bounded(str(answer["message"]))
    match response.status:
        case 404:
            return NotFound(message, named=bool((status.get("details") or {}).get("name")))
        case 409:
            return Conflict(message)
        case 410:
            return Gone(message)
    retry_after = response.headers.get("Retry-After", "")
    return Unavailable(
        f"the API server answered {response.status} to {what}: {message}",
        retry_after=float(retry_after) if retry_after.isdecimal() else 1.0,
        reason="TooManyRequests" if response.status == 429 else "ServerError",
        refused=response.status == 429,
    )


def result_of(failure: Exception) -> str:
    match failure:
        case NotFound():
            return "not_found"
        case Conflict() | Gone():
            return "conflict"
        case Rejected():
            return "rejected"
    return "unavailable"


def unreachable(host: str, error: BaseException) -> Unavailable:
    why = "no answer in time" if isinstance(error, asyncio.TimeoutError) else first_line(error)
    return Unavailable(f"the API server at {host} cannot be reached: {why}", reason="Unreachable")


def first_line(error: BaseException) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]
