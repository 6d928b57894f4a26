"""TCP connections to the API server with keep-alive probes and a user timeout.

Without these options Linux keeps an idle connection whose packets are dropped for two hours, and one with unanswered
data for about a quarter of an hour.
"""

import socket
from collections.abc import Mapping
from typing import Any, Final

import aiohttp
from kubernetes.aio.client import ApiClient, Configuration
from kubernetes.aio.client.rest import RESTClientObject

IDLE_SECONDS: Final = 3
PROBE_INTERVAL_SECONDS: Final = 2
PROBES: Final = 3
DEAD_AFTER_SECONDS: Final = IDLE_SECONDS + PROBE_INTERVAL_SECONDS * PROBES
"""How long a peer may leave keep-alive probes or sent data unacknowledged before the kernel closes the connection."""

# Linux has all of them; other systems lack some, and then rely on the heartbeat and on watches being short.
_TCP_OPTIONS: Final = {
    "TCP_KEEPIDLE": IDLE_SECONDS,
    "TCP_KEEPALIVE": IDLE_SECONDS,  # macOS' name of the same
    "TCP_KEEPINTVL": PROBE_INTERVAL_SECONDS,
    "TCP_KEEPCNT": PROBES,
    "TCP_USER_TIMEOUT": DEAD_AFTER_SECONDS * 1000,
}


def kept_alive(address: Any) -> socket.socket:
    """A socket for one of `getaddrinfo`'s results; aiohttp's `socket_factory`."""
    family, kind, protocol, _, _ = address
    created = socket.socket(family, kind, protocol)
    created.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in _TCP_OPTIONS.items():
        if (option := getattr(socket, name, None)) is not None:
            created.setsockopt(socket.IPPROTO_TCP, option, value)
    return created


class _Pool(RESTClientObject):
    """The Kubernetes client's connection pool, with these sockets."""

    def _create_connector(self) -> aiohttp.TCPConnector:
        return aiohttp.TCPConnector(limit=self.maxsize, ssl=self.ssl_context, socket_factory=kept_alive)

    def session(self) -> aiohttp.ClientSession:
        if self.pool_manager is None:
            self.pool_manager = self._create_pool_manager()
        session: aiohttp.ClientSession = self.pool_manager
        return session


class KubeClient(ApiClient):
    """The Kubernetes client; `reset` closes its connections and keeps the client."""

    def __init__(self, configuration: Configuration) -> None:
        super().__init__(configuration)
        self.rest_client: _Pool = _Pool(configuration)

    async def send(
        self, method: str, url: str, headers: Mapping[str, str], data: bytes | None, timeout: Any
    ) -> aiohttp.ClientResponse:
        """Send a request. It is `call_api` without what that does for generated models: the body is JSON already, and
        nothing is retried.
        """
        rest, configuration = self.rest_client, self.configuration
        more: dict[str, Any] = {}
        if configuration.tls_server_name:
            more["server_hostname"] = configuration.tls_server_name
        if rest.proxy:
            more["proxy"] = rest.proxy
        if rest.proxy_headers:
            more["proxy_headers"] = rest.proxy_headers
        if not isinstance(timeout, aiohttp.ClientTimeout):
            timeout = aiohttp.ClientTimeout(total=timeout)
        return await rest.session().request(method, url, headers=headers, data=data, timeout=timeout, **more)

    async def close(self) -> None:
        await self.rest_client.close()

    async def reset(self) -> None:
        """Close every connection, used or idle; the next request opens a new one."""
        session, self.rest_client.pool_manager = self.rest_client.pool_manager, None
        if session is not None:
            await session.close()
