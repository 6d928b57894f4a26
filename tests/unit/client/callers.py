"""Each HTTP library with the adapter for it, behind one interface."""

import asyncio
import io
from collections.abc import AsyncIterator, Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, ClassVar, Final

import aiohttp
import httpx
import requests
import urllib3

from scopewright.client import ClientCredentials
from scopewright.client.aiohttp import token_middleware
from scopewright.client.requests import RequestsAuth
from scopewright.client.urllib3 import TokenPoolManager

Body = bytes | io.BytesIO | list[bytes] | None
"""A list is sent as a stream of its items."""


class Caller:
    """`library` is the class of all errors of the library, and `repeated` are those that retry middleware repeats."""

    library: ClassVar[type[Exception]]
    repeated: ClassVar[tuple[type[Exception], ...]]
    repeats_file_objects: ClassVar[bool] = False

    def __init__(self, credentials: ClientCredentials) -> None:
        self.credentials = credentials

    def send(self, method: str, url: str, body: Body = None, *, follow: bool = True) -> int:
        """The status of the response."""
        raise NotImplementedError

    def send_many(self, count: int, url: str) -> list[int]:
        """`count` requests at the same time."""
        with ThreadPoolExecutor(count) as threads:
            return list(threads.map(lambda _: self.send("GET", url), range(count)))

    def close(self) -> None:
        pass


def stream(body: Body) -> Any:
    return iter(body) if isinstance(body, list) else body


def httpx_stream(body: Body) -> Any:
    """httpx does not send file objects from their position."""
    return iter([body.read()]) if isinstance(body, io.BytesIO) else stream(body)


class HttpxCaller(Caller):
    library = httpx.HTTPError
    repeated = (httpx.RequestError,)

    def __init__(self, credentials: ClientCredentials) -> None:
        super().__init__(credentials)
        self._client = httpx.Client(auth=credentials, limits=httpx.Limits(max_connections=None))

    def send(self, method: str, url: str, body: Body = None, *, follow: bool = True) -> int:
        return self._client.request(method, url, content=httpx_stream(body), follow_redirects=follow).status_code

    def close(self) -> None:
        self._client.close()


class RequestsCaller(Caller):
    library = requests.RequestException
    repeated = (requests.ConnectionError, requests.Timeout)
    repeats_file_objects = True

    def __init__(self, credentials: ClientCredentials) -> None:
        super().__init__(credentials)
        self._session = requests.Session()
        self._session.auth = RequestsAuth(credentials)
        self._session.mount("http://", requests.adapters.HTTPAdapter(pool_maxsize=64))

    def send(self, method: str, url: str, body: Body = None, *, follow: bool = True) -> int:
        return self._session.request(method, url, data=stream(body), allow_redirects=follow).status_code

    def close(self) -> None:
        self._session.close()


class Urllib3Caller(Caller):
    library = urllib3.exceptions.HTTPError
    repeated = (
        urllib3.exceptions.NewConnectionError,
        urllib3.exceptions.TimeoutError,
        urllib3.exceptions.ProtocolError,
        urllib3.exceptions.MaxRetryError,
    )
    repeats_file_objects = True

    def __init__(self, credentials: ClientCredentials) -> None:
        super().__init__(credentials)
        self._pools = TokenPoolManager(credentials, maxsize=64)

    def send(self, method: str, url: str, body: Body = None, *, follow: bool = True) -> int:
        return self._pools.request(method, url, body=stream(body), redirect=follow).status

    def close(self) -> None:
        self._pools.clear()


class AsyncCaller(Caller):
    """Each call has its own event loop, as `asyncio.run` does."""

    def send(self, method: str, url: str, body: Body = None, *, follow: bool = True) -> int:
        status: int = asyncio.run(self._within_client(lambda client: self._send(client, method, url, body, follow)))
        return status

    def send_many(self, count: int, url: str) -> list[int]:
        async def many(client: Any) -> list[int]:
            return await asyncio.gather(*(self._send(client, "GET", url, None, True) for _ in range(count)))

        return asyncio.run(self._within_client(many))

    async def _within_client(self, call: Callable[[Any], Any]) -> Any:
        raise NotImplementedError

    async def _send(self, client: Any, method: str, url: str, body: Body, follow: bool) -> int:
        raise NotImplementedError


async def async_stream(chunks: Iterable[bytes]) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk


class AsyncHttpxCaller(AsyncCaller):
    library = httpx.HTTPError
    repeated = (httpx.RequestError,)

    async def _within_client(self, call: Callable[[Any], Any]) -> Any:
        async with httpx.AsyncClient(auth=self.credentials) as client:
            return await call(client)

    async def _send(self, client: Any, method: str, url: str, body: Body, follow: bool) -> int:
        content: Any = body
        if isinstance(body, list):
            content = async_stream(body)
        elif isinstance(body, io.BytesIO):
            content = async_stream([body.read()])
        response: httpx.Response = await client.request(method, url, content=content, follow_redirects=follow)
        return response.status_code


class AiohttpCaller(AsyncCaller):
    library = aiohttp.ClientError
    repeated = (aiohttp.ClientConnectionError, aiohttp.ClientResponseError, aiohttp.ClientPayloadError)

    def __init__(self, credentials: ClientCredentials) -> None:
        super().__init__(credentials)
        self._middleware = token_middleware(credentials)

    async def _within_client(self, call: Callable[[Any], Any]) -> Any:
        async with aiohttp.ClientSession(middlewares=[self._middleware]) as client:
            return await call(client)

    async def _send(self, client: Any, method: str, url: str, body: Body, follow: bool) -> int:
        content = async_stream(body) if isinstance(body, list) else body
        async with client.request(method, url, data=content, allow_redirects=follow) as response:
            await response.read()
            status: int = response.status
            return status


CALLERS: Final[list[type[Caller]]] = [HttpxCaller, AsyncHttpxCaller, RequestsCaller, AiohttpCaller, Urllib3Caller]
