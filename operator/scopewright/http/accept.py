"""Connections are accepted a few at a time, so that a flood of new ones leaves time for those that are there."""

import asyncio
import logging
import socket
from collections.abc import Awaitable, Callable
from typing import Final

from scopewright.http.limits import BACKLOG

log: Final = logging.getLogger(__name__)

_TAKEN_AT_ONCE: Final = 16
"""Connections that are taken in one round of the event loop. Event loops accept all there are, and a flood goes on
while they do."""
_ACCEPTED_AT_ONCE: Final = 64
"""With those that are turned away, which cost little: others wait behind them in the kernel's queue."""
_PAUSE: Final = 0.25
"""Seconds without accepting where the system has no more to give, such as open files."""

Welcome = Callable[[socket.socket, str], bool]
"""Whether a connection of this address is to be taken. Else it is closed, and has been answered without waiting."""
Take = Callable[[socket.socket], Awaitable[None]]


class Acceptor:
    def __init__(self, listener: socket.socket, welcome: Welcome, take: Take) -> None:
        self._listener = listener
        self._welcome = welcome
        self._take = take
        self._taking: set[asyncio.Future[None]] = set()
        self._resuming: asyncio.TimerHandle | None = None

    def start(self) -> None:
        self._listener.setblocking(False)
        self._listener.listen(BACKLOG)
        self._resume()

    async def stop(self) -> None:
        """Accept no more, and close the listener; those that are being taken are waited for."""
        if self._resuming is not None:
            self._resuming.cancel()
        asyncio.get_running_loop().remove_reader(self._listener)
        self._listener.close()
        await asyncio.gather(*self._taking, return_exceptions=True)

    def _resume(self) -> None:
        self._resuming = None
        asyncio.get_running_loop().add_reader(self._listener, self._accept)

    def _accept(self) -> None:
        taken = 0
        for _ in range(_ACCEPTED_AT_ONCE):
            try:
                connected, address = self._listener.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                log.warning("no connection can be accepted for the moment: %s", error.strerror)
                loop = asyncio.get_running_loop()
                loop.remove_reader(self._listener)
                self._resuming = loop.call_later(_PAUSE, self._resume)
                return
            if self._welcome(connected, address[0] if isinstance(address, tuple) else ""):
                connected.setblocking(False)
                taking = asyncio.ensure_future(self._take(connected))
                self._taking.add(taking)
                taking.add_done_callback(self._taking.discard)
                taken += 1
                if taken == _TAKEN_AT_ONCE:
                    return
            else:
                connected.close()
