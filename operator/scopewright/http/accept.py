"""Accept connections a few at a time, so that a flood of new ones leaves time for the open ones."""

import asyncio
import logging
import socket
from collections.abc import Awaitable, Callable
from typing import Final

from scopewright.http.limits import BACKLOG

log: Final = logging.getLogger(__name__)

_MAX_SERVED_PER_ROUND: Final = 16
"""Connections that are served from one round of the event loop. asyncio itself accepts without a limit, and a flood may
not end."""
_MAX_ACCEPTED_PER_ROUND: Final = 64
"""Including refused ones, which cost little: others wait behind them in the kernel's queue."""
_PAUSE_SECONDS: Final = 0.25
"""Pause after `accept` fails, for example because no more files can be opened."""

IsAdmitted = Callable[[socket.socket, str], bool]
"""Whether to serve a connection of this address. If not, it has been answered already, and is closed."""
OnAccepted = Callable[[socket.socket], Awaitable[None]]


class Acceptor:
    def __init__(self, listener: socket.socket, is_admitted: IsAdmitted, on_accepted: OnAccepted) -> None:
        self._listener = listener
        self._is_admitted = is_admitted
        self._on_accepted = on_accepted
        self._in_setup: set[asyncio.Future[None]] = set()
        self._resuming: asyncio.TimerHandle | None = None

    def start(self) -> None:
        self._listener.setblocking(False)
        self._listener.listen(BACKLOG)
        self._resume()

    async def stop(self) -> None:
        """Close the listener, and wait for the connections that are being served."""
        if self._resuming is not None:
            self._resuming.cancel()
        asyncio.get_running_loop().remove_reader(self._listener)
        self._listener.close()
        await asyncio.gather(*self._in_setup, return_exceptions=True)

    def _resume(self) -> None:
        self._resuming = None
        asyncio.get_running_loop().add_reader(self._listener, self._accept)

    def _accept(self) -> None:
        served = 0
        for _ in range(_MAX_ACCEPTED_PER_ROUND):
            try:
                connected, address = self._listener.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                log.warning("cannot accept connections, retrying in %.2f s: %s", _PAUSE_SECONDS, error.strerror)
                loop = asyncio.get_running_loop()
                loop.remove_reader(self._listener)
                self._resuming = loop.call_later(_PAUSE_SECONDS, self._resume)
                return
            if self._is_admitted(connected, address[0] if isinstance(address, tuple) else ""):
                connected.setblocking(False)
                setup = asyncio.ensure_future(self._on_accepted(connected))
                self._in_setup.add(setup)
                setup.add_done_callback(self._in_setup.discard)
                served += 1
                if served == _MAX_SERVED_PER_ROUND:
                    return
            else:
                connected.close()
