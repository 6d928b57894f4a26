"""Requests to a Kubernetes API server: JSON in, JSON out, and every failure as `Rejected`, `Unavailable` or `Conflict`.

`kubernetes.aio` brings configuration, TLS, authentication and connections; its generated models are left aside, which
halves the cost of a request.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode, urlsplit
from urllib.request import getproxies, proxy_bypass

import aiohttp
import orjson
import yaml
from kubernetes.aio import config as kube_config
from kubernetes.aio.client import ApiClient, Configuration

from scopewright.core.failures import Conflict, Rejected, Unavailable
from scopewright.stores.kube_refusals import bounded, refusal

REQUEST_TIMEOUT: Final = 30.0
"""Seconds. A write that has not been answered by then will not arrive any more."""
WATCH_SILENCE: Final = 150.0
"""Seconds without a line, not even a bookmark, after which a watch counts as broken."""

SERVICE_ACCOUNT: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount")
"""Where a Pod finds who it is."""
MINTING_PATIENCE: Final = 60.0
"""Seconds that a mounted folder may be without a token."""
ACCEPT: Final = "application/json, application/jwk-set+json"
"""The API server gives its own keys as nothing but the second."""

METHODS: Final = ("GET", "POST", "PUT", "DELETE")
RESULTS: Final = ("ok", "not_found", "conflict", "rejected", "unavailable")
"""What may become of a request; the first three are everyday life."""

Observe = Callable[[str, str, float], None]
"""Takes one of `METHODS`, one of `RESULTS`, and seconds."""

_NO_KUBECONFIG: Final = (yaml.YAMLError, ValueError, TypeError, KeyError, AttributeError)
"""What the loader raises, by accident, where a file is something else altogether; its words might quote the file."""


class NotFound(Exception):
    """404. `named` tells that the answer speaks of this very object, not of a kind that is not served."""

    def __init__(self, message: str, *, named: bool) -> None:
        super().__init__(message)
        self.named = named


class Gone(Exception):
    """410: the version to go on from is too old; list again."""


@dataclass(frozen=True, slots=True)
class Identity:
    """As whom we talk to which server, for others who connect by themselves."""

    host: str
    ca_file: str | None
    insecure: bool
    certificate_file: str | None
    key_file: str | None
    token: str | None = field(repr=False)


class Api:
    """One API server, as whoever the kubeconfig or the mounted ServiceAccount says."""

    def __init__(self, client: ApiClient) -> None:
        self._client = client
        self.host: str = client.configuration.host
        self.observe: Observe = lambda method, result, seconds: None
        """Told of every request but watches."""

    async def get(self, path: str, **query: str) -> dict[str, Any]:
        return await self.request("GET", path, query=query)

    async def request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Any = None,
        timeout: float = REQUEST_TIMEOUT,
    ) -> dict[str, Any]:
        began = time.monotonic()
        try:
            content = await self._request(method, path, query, body, timeout)
        except (NotFound, Conflict, Gone, Rejected, Unavailable) as failure:
            self.observe(method, _result(failure), time.monotonic() - began)
            raise
        self.observe(method, "ok", time.monotonic() - began)
        return content

    async def _request(
        self, method: str, path: str, query: Mapping[str, str] | None, body: Any, timeout: float
    ) -> dict[str, Any]:
        async with self._response(method, path, query, body, timeout) as response:
            data = await _read(response)
            content: dict[str, Any] = _json(data)
            if response.status >= 400:
                raise _failure(response, content, f"{method} {path}")
            return content

    async def watch(self, path: str, query: Mapping[str, str]) -> AsyncIterator[dict[str, Any]]:
        """The watch's events until the server ends it. `Gone` where the version is too old."""
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=10, sock_read=WATCH_SILENCE)
        async with self._response("GET", path, {**query, "watch": "1"}, None, timeout) as response:
            if response.status >= 400:
                raise _failure(response, _json(await _read(response)), f"WATCH {path}")
            async for line in _lines(response):
                event: dict[str, Any] = orjson.loads(line)
                if event["type"] == "ERROR":
                    status = event["object"]
                    if status.get("code") == 410:
                        raise Gone(status.get("message", ""))
                    raise Unavailable(f"watch of {path}: {status.get('message', 'error')}")
                yield event

    def identity(self) -> Identity:
        """As it is now: a mounted token is read again by whoever loads it."""
        c = self._client.configuration
        bearer = c.api_key.get("BearerToken", "")
        return Identity(
            host=c.host,
            ca_file=c.ssl_ca_cert,
            insecure=not c.verify_ssl,
            certificate_file=c.cert_file,
            key_file=c.key_file,
            token=bearer.removeprefix("Bearer ").removeprefix("bearer ") or None,
        )

    async def close(self) -> None:
        await self._client.close()

    @asynccontextmanager
    async def _response(
        self, method: str, path: str, query: Mapping[str, str] | None, body: Any, timeout: Any
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        headers = {"Accept": ACCEPT, "Content-Type": "application/json", "User-Agent": "scopewright"}
        url = f"{self.host}{path}" + (f"?{urlencode(query)}" if query else "")
        try:
            await self._client.update_params_for_auth(headers, [], ["BearerToken"], path, method, body)
            answer = await self._client.call_api(
                method, url, header_params=headers, body=body, _request_timeout=timeout
            )
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise _unreachable(self.host, error) from None
        response: aiohttp.ClientResponse = answer.response
        try:
            yield response
        finally:
            response.release() if response.content.at_eof() else response.close()


async def connect(kubeconfig: Path | None = None, *, in_cluster: bool = False) -> Api:
    """The API server of a kubeconfig file (default: `KUBECONFIG`, `~/.kube/config`) or of the Pod we run in."""
    configuration = Configuration()
    try:
        if in_cluster:
            await _mounted(SERVICE_ACCOUNT)
            kube_config.load_incluster_config(client_configuration=configuration)
        else:
            file = str(kubeconfig) if kubeconfig else None
            await kube_config.load_kube_config(config_file=file, client_configuration=configuration)
    except (kube_config.ConfigException, OSError, *_NO_KUBECONFIG) as error:
        why = "the file is no kubeconfig" if isinstance(error, _NO_KUBECONFIG) else _first_line(error)
        raise Rejected(
            "NoKubeconfig",
            f"no cluster to talk to ({why}): set KUBECONFIG, pass --kubeconfig FILE, or run in a Pod "
            "with a ServiceAccount",
        ) from None
    configuration.connection_pool_maxsize = 64
    configuration.retries = None
    # Left to itself, aiohttp asks the environment for proxies and reads ~/.netrc in a thread for each single request.
    configuration.client_session_kwargs = {"trust_env": False}
    configuration.proxy = configuration.proxy or _proxy_for(configuration.host)
    return Api(ApiClient(configuration))


async def _mounted(folder: Path, patience: float = MINTING_PATIENCE) -> None:
    """A sidecar's token is there a moment after the volume that it comes to."""
    deadline = time.monotonic() + patience
    while _awaits_token(folder) and time.monotonic() < deadline:  # noqa: ASYNC110 (another process makes it)
        await asyncio.sleep(0.1)


def _awaits_token(folder: Path) -> bool:
    return folder.is_dir() and not (folder / "token").exists()


def _proxy_for(host: str) -> str | None:
    """The proxy that the environment names for the API server: HTTPS_PROXY, unless NO_PROXY excepts it."""
    parts = urlsplit(host)
    return None if proxy_bypass(parts.hostname or "") else getproxies().get(parts.scheme)


async def _read(response: aiohttp.ClientResponse) -> bytes:
    try:
        return await response.read()
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        raise _unreachable(response.url.host or "", error) from None


async def _lines(response: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    rest = b""
    try:
        async for chunk in response.content.iter_any():
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                if line:
                    yield line
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        raise _unreachable(response.url.host or "", error) from None


def _json(data: bytes) -> Any:
    try:
        content = orjson.loads(data)
    except orjson.JSONDecodeError:
        content = {}
    return content if isinstance(content, dict) else {}


def _failure(response: aiohttp.ClientResponse, status: Mapping[str, Any], what: str) -> Exception:
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


def _result(failure: Exception) -> str:
    match failure:
        case NotFound():
            return "not_found"
        case Conflict() | Gone():
            return "conflict"
        case Rejected():
            return "rejected"
    return "unavailable"


def _unreachable(host: str, error: BaseException) -> Unavailable:
    why = "no answer in time" if isinstance(error, asyncio.TimeoutError) else _first_line(error)
    return Unavailable(f"the API server at {host} cannot be reached: {why}", reason="Unreachable")


def _first_line(error: BaseException) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]
