"""Work that takes long, such as a step of a TLS handshake: one piece in each round of the event loop.

Events of other connections are handled between two pieces. Addresses take turns, and every second turn is for an
address that has had none since it began to wait: a caller with few handshakes does not wait behind each address of a
flood (the new and old flows of FQ-CoDel, RFC 8290 §4.1).
"""

import asyncio
from typing import Protocol


class Waiter(Protocol):
    def turn(self) -> None:
        """Do the work. It waits no more then."""


_Queue = dict[str, dict[Waiter, None]]
"""By address: who waits, in the order in which they came."""


class AddressTurns:
    def __init__(self) -> None:
        self._new: _Queue = {}
        """Addresses that have had no turn since they began to wait."""
        self._old: _Queue = {}
        """Addresses that have had one, the latest last."""
        self._old_is_next = False
        self._taken = False
        """There was a turn in this round of the loop, or some wait."""

    def ask(self, address: str, who: Waiter) -> None:
        """Call its `turn`: now, where this round of the loop has had none; else later, unless it leaves."""
        if self._taken:
            queue = self._old if address in self._old else self._new
            queue.setdefault(address, {})[who] = None
            return
        self._taken = True
        asyncio.get_running_loop().call_soon(self._next)
        who.turn()

    def leave(self, address: str, who: Waiter) -> None:
        for queue in (self._new, self._old):
            waiting = queue.get(address)
            if waiting is not None:
                waiting.pop(who, None)
                if not waiting:
                    del queue[address]

    def _next(self) -> None:
        if not self._new and not self._old:
            self._taken = False
            return
        asyncio.get_running_loop().call_soon(self._next)
        queue = self._old if self._old and (self._old_is_next or not self._new) else self._new
        self._old_is_next = queue is self._new
        address = next(iter(queue))
        waiting = queue.pop(address)
        who = next(iter(waiting))
        del waiting[who]
        if waiting:
            self._old[address] = waiting
        who.turn()
