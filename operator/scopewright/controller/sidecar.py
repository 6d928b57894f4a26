"""The issuer's own identity where it shares our Pod: a token of its ServiceAccount, kept fresh in a folder of both.

The folder looks as a mounted ServiceAccount does, so that the issuer reads it like any other. It is of memory, and the
token is of another ServiceAccount than ours: who takes over the issuer has the issuer's rights, and none of ours.
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
from scopewright.stores.kubernetes.answers import NotFound
from scopewright.stores.kubernetes.api import Api

TOKEN_LIFETIME_SECONDS: Final = 3600
"""Seconds asked for; the API server may give another life."""

RENEWAL_SHARE: Final = 0.5
"""Of the life: whoever reads the file once a minute, and an API server that is away for a while, are then in time."""

FIRST_RETRY_SECONDS: Final = 1.0
MAX_RETRY_SECONDS: Final = 10.0

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Sidecar:
    """The issuer's ServiceAccount, of our namespace, and the folder that its token goes to."""

    service_account: str
    folder: Path


class TokenMinter:
    """Every replica does this for the issuer beside it, whoever leads."""

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
        """For ever. While there is no new token the one before goes on, as long as it lives."""
        pause = FIRST_RETRY_SECONDS
        while True:
            try:
                life = await self.mint()
            except (Rejected, Unavailable, NotFound, OSError) as error:
                log.warning("no new token for %s: %s", self._sidecar.service_account, error)
                await self._sleep(with_jitter(pause))
                pause = min(pause * 2, MAX_RETRY_SECONDS)
            else:
                pause = FIRST_RETRY_SECONDS
                await self._sleep(with_jitter(life * RENEWAL_SHARE, 0.9, 1.0))

    async def mint(self) -> float:
        """Put a new token in its place. How many seconds it lives."""
        asked = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenRequest",
            "spec": {"expirationSeconds": TOKEN_LIFETIME_SECONDS},
        }
        answer = await self._api.request("POST", self._path, body=asked)
        self._put(answer["status"]["token"])
        return float(answer["spec"]["expirationSeconds"])

    def _put(self, token: str) -> None:
        """The token last: who finds it finds the others too."""
        authority = self._api.identity().ca_file
        self._write("ca.crt", Path(authority).read_bytes() if authority else b"")
        self._write("namespace", self._namespace.encode())
        self._write("token", token.encode())

    def _write(self, name: str, content: bytes) -> None:
        """Whole or not at all, and readable by nobody else from the first byte on."""
        new = self._sidecar.folder / f".{name}.{os.getpid()}"
        new.unlink(missing_ok=True)
        with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(content)
        new.replace(self._sidecar.folder / name)
