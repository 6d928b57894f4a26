"""Schedule long steps, such as those of a TLS handshake: one step in each round of the event loop.

Events of other connections are handled between two steps. Addresses take turns, and every second turn goes to an
address that has had none since it began to wait: a caller with few handshakes does not wait behind each address of a
flood (the new and old flows of FQ-CoDel, RFC 8290 §4.1).
"""

import asyncio
from typing import Protocol


class Waiter(Protocol):
    def turn(self) -> None:
        """Do one step. The object is no longer queued."""


_Queue = dict[str, dict[Waiter, None]]
"""Waiters by address, in the order of their requests."""


class AddressTurns:
    def __init__(self) -> None:
        self._new: _Queue = {}
        """Addresses that had no turn since they began to wait."""
        self._old: _Queue = {}
        """Addresses that had one, the latest last."""
        self._old_is_next = False
        self._taken = False
        """There was a turn in this round of the loop, or some are queued."""

    def ask(self, address: str, waiter: Waiter) -> None:
        """Call `waiter.turn` now, if this round of the loop had no turn; else later, unless it leaves."""
        if self._taken:
            queue = self._old if address in self._old else self._new
            queue.setdefault(address, {})[waiter] = None
            return
        self._taken = True
        asyncio.get_running_loop().call_soon(self._next)
        waiter.turn()

    def leave(self, address: str, waiter: Waiter) -> None:
        for queue in (self._new, self._old):
            waiting = queue.get(address)
            if waiting is not None:
                waiting.pop(waiter, None)
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
        waiter = next(iter(waiting))
        del waiting[waiter]
        if waiting:
            self._old[address] = waiting
        waiter.turn()
