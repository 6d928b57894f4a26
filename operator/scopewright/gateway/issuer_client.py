"""The HTTP client with which the gateway fetches keys and revocations."""

import logging
import os
from pathlib import Path
from typing import Any, Final

import httpx

from scopewright.authorities import AUTHORITIES, check_authorities
from scopewright.core.failures import Rejected
from scopewright.http_flow import FetchError

log: Final = logging.getLogger(__name__)

Version = tuple[int, int, int] | None


class IssuerClient(httpx.AsyncClient):
    """Keeps its connections open, and begins with new ones when the file of SSL_CERT_FILE has changed.

    Reading the CAs takes longer than many decisions, and the revocations are fetched every second. Raises `Rejected` if
    the file cannot be used; a later one that cannot is ignored.
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
        if (version := _version()) not in (None, self._version):
            self._version = version
            await self._replace()
        return await self._current.send(request, **options)

    async def _replace(self) -> None:
        try:
            replaced, self._current = self._current, _client()
        except OSError as error:
            log.warning("cannot read the new %s, keeping the last one: %s", AUTHORITIES, error.strerror)
        else:
            await replaced.aclose()

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
