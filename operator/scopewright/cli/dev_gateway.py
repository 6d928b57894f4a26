"""`scopewright dev --gateway`: a gateway in the process of `dev`, for all proxies."""

import asyncio
import socket
from collections.abc import Awaitable
from dataclasses import dataclass

from rich.console import Console
from rich.text import Text

from scopewright.cli.settings import url_of
from scopewright.core.config import Config
from scopewright.gateway.build import build_gateway
from scopewright.gateway.server import serve_gateway
from scopewright.gateway.settings import GatewaySettings
from scopewright.origins import HttpUrl, host_of
from scopewright.serving.process import until_ready
from scopewright.stores import Reader

DOCS = "docs/gateway/index.md"


@dataclass(frozen=True, slots=True)
class DevGateway:
    """`address` is that of `--gateway`, on which `listener` listens."""

    address: str
    listener: socket.socket

    async def run(
        self, store: Reader, config: Config, ready: Awaitable[object], stop: asyncio.Event, console: Console
    ) -> None:
        """Serve until `stop` is set. `ready` is done when the issuer is ready. Connections wait in the queue of the
        listener until the gateway is ready too, and announced.
        """

        def announce() -> None:
            url = url_of(self.address, self.listener)
            text = f"gateway ready at {url}: a proxy asks it at {url}/auth/<profile>/<hostname> ({DOCS})"
            console.print(Text(text), soft_wrap=True)

        await ready
        # The issuer is of this process, and dev has decided that its URL may be http.
        host = host_of(HttpUrl.parse(config.issuer))
        settings = GatewaySettings(config.namespace, allow_http_issuer=True, allow_http=(host,))
        async with build_gateway(settings, store).running() as gateway:
            await until_ready(gateway.readiness.wait(), stop)
            await serve_gateway(gateway, listener=self.listener, stop=stop, on_ready=announce)
