"""The HTTP client with which the gateway fetches keys and revocations."""

import os
from pathlib import Path
from typing import Any

import httpx

from scopewright.authorities import AUTHORITIES, check_authorities
from scopewright.core.failures import Rejected
from scopewright.http_flow import FetchError

Version = tuple[int, int, int] | None


class IssuerClient(httpx.AsyncClient):
    """Keeps its connections open, and begins with new ones when the file of SSL_CERT_FILE has changed.

    Reading the CAs takes longer than many decisions, and the revocations are fetched every second. Raises `Rejected` if
    the file cannot be used.
    """

    def __init__(self) -> None:
        try:
            check_authorities()
        except FetchError as error:
            raise Rejected("BadAuthorities", str(error)) from None
        super().__init__()
        self._version = _version()
        self._current = _client()

    async def send(self, request: httpx.Request, **options: Any) -> httpx.Response:
        if (version := _version()) != self._version:
            # A file that is being written cannot be read: this raises, and the next request tries again.
            replaced, self._current = self._current, _client()
            self._version = version
            await replaced.aclose()
        return await self._current.send(request, **options)

    async def aclose(self) -> None:
        await self._current.aclose()
        await super().aclose()


def _client() -> httpx.AsyncClient:
    return httpx.AsyncClient(mounts={"http://": None})


def _version() -> Version:
    file = os.environ.get(AUTHORITIES)
    if not file:
        return None
    try:
        status = Path(file).stat()
    except OSError:
        return None
    return (status.st_mtime_ns, status.st_ino, status.st_size)
