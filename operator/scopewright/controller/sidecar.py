"""Renews the token of the ServiceAccount of an issuer that is a sidecar, in a folder that both containers mount.

The folder has the files of a mounted ServiceAccount, so that the issuer reads it like one, and is a tmpfs. The token is
not of the operator's ServiceAccount: an attacker in the issuer gets the issuer's rights, and none of the operator's.
"""

import asyncio
import logging
import os
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from scopewright.backoff import with_jitter
from scopewright.core.failures import Rejected, Unavailable
from scopewright.stores.directory.atomic_files import replace_file
from scopewright.stores.kubernetes.answers import NotFound
from scopewright.stores.kubernetes.api import Api

TOKEN_LIFETIME_SECONDS: Final = 3600
"""Seconds that are requested; the API server may give another lifetime."""

RENEWAL_SHARE: Final = 0.5
"""The share of the lifetime after which a token is renewed: the rest is for readers that look once a minute, and for
outages of the API server."""

FIRST_RETRY_SECONDS: Final = 1.0
MAX_RETRY_SECONDS: Final = 10.0

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Sidecar:
    """The issuer's ServiceAccount, in the operator's namespace, and the folder for its token."""

    service_account: str
    folder: Path


class TokenMinter:
    """Runs in every replica, leader or not, for the issuer in the same Pod."""

    def __init__(
        self,
        api: Api,
        namespace: str,
        sidecar: Sidecar,
        sleep: Callable[[float], Coroutine[Any, Any, None]] = asyncio.sleep,
    ) -> None:
        self._api = api
        self._namespace = namespace
        self._path = f"/api/v1/namespaces/{namespace}/serviceaccounts/{sidecar.service_account}/token"
        self._sidecar = sidecar
        self._sleep = sleep

    async def run(self) -> None:
        """Run until cancelled. While there is no new token, the previous one remains until it expires."""
        pause = FIRST_RETRY_SECONDS
        while True:
            try:
                lifetime = await self.mint()
            except (Rejected, Unavailable, NotFound, OSError) as error:
                log.warning("no new token for %s: %s", self._sidecar.service_account, error)
                await self._sleep(with_jitter(pause))
                pause = min(pause * 2, MAX_RETRY_SECONDS)
            else:
                pause = FIRST_RETRY_SECONDS
                await self._sleep(with_jitter(lifetime * RENEWAL_SHARE, 0.9, 1.0))

    async def mint(self) -> float:
        """Request a token and write it. Return its lifetime in seconds."""
        request = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenRequest",
            "spec": {"expirationSeconds": TOKEN_LIFETIME_SECONDS},
        }
        answer = await self._api.request("POST", self._path, body=request)
        self._put(answer["status"]["token"])
        return float(answer["spec"]["expirationSeconds"])

    def _put(self, token: str) -> None:
        """Write the token last: a reader that finds it finds the other files too."""
        authority = self._api.identity().ca_file
        self._write("ca.crt", Path(authority).read_bytes() if authority else b"")
        self._write("namespace", self._namespace.encode())
        self._write("token", token.encode())

    def _write(self, name: str, content: bytes) -> None:
        """Write atomically, with mode 0600 from the first byte on."""
        spare = self._sidecar.folder / f".{name}.{os.getpid()}"
        spare.unlink(missing_ok=True)
        replace_file(self._sidecar.folder / name, content, spare)
