"""Work that takes long, such as a TLS handshake: one piece in each round of the event loop, and addresses take turns.

So what others wait for is looked at between two handshakes, and the handshake of a caller does not wait behind the
thousands of one that floods.
"""

import asyncio
from typing import Protocol


class Waiting(Protocol):
    def turn(self) -> None:
        """The work, which is waited for no more."""


class Turns:
    def __init__(self) -> None:
        self._waiting: dict[str, dict[Waiting, None]] = {}
        """By address: who waits, in the order in which they came. Who had a turn goes behind all others."""
        self._taken = False
        """There was one in this round of the loop, or some wait."""

    def ask(self, address: str, who: Waiting) -> None:
        """Call its `turn`: now, where this round of the loop has had none; else later, unless it leaves."""
        if self._taken:
            self._waiting.setdefault(address, {})[who] = None
            return
        self._taken = True
        asyncio.get_running_loop().call_soon(self._next)
        who.turn()

    def leave(self, address: str, who: Waiting) -> None:
        waiting = self._waiting.get(address)
        if waiting is not None:
            waiting.pop(who, None)
            if not waiting:
                del self._waiting[address]

    def _next(self) -> None:
        if not self._waiting:
            self._taken = False
            return
        asyncio.get_running_loop().call_soon(self._next)
        address = next(iter(self._waiting))
        waiting = self._waiting.pop(address)
        who = next(iter(waiting))
        del waiting[who]
        if waiting:
            self._waiting[address] = waiting
        who.turn()
