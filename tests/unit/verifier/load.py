"""Load on one service, while its issuer rotates keys and is unreachable for more than five minutes.

The time is simulated: it passes in steps, and in each step some requests end. Requests are sent during a fetch, but a
step waits for its end: on a busy machine more than a minute would pass in it, and a fetch that failed in the outage
would end after it, with a pause (503) in which no new key is known.
"""

import itertools
import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from tests.harness.clock import Clock
from tests.unit.verifier.support import KEY, FakeIssuer, SigningKey, token

WORKERS: Final = 4
REQUESTS_PER_STEP: Final = 8
STEPS_SECONDS: Final = (2, 13)
"""Shorter and longer than the interval between two polls of the revocation feed."""
LIFETIME_SECONDS: Final = 600
OUTAGE_SECONDS: Final = 330
NEXT: Final = SigningKey("key-2")
EMERGENCY: Final = SigningKey("key-3")

FETCHES: Final = ("scopewright-keys", "scopewright-revocations")
"""Names of the threads in which verifiers fetch."""

Send = Callable[[str], bool]
"""Sends a token, and returns whether it was accepted."""


@dataclass
class Load:
    """`refused` is empty if each valid token was accepted."""

    send: Send
    issuer: FakeIssuer
    clock: Clock
    sent: int = 0
    refused: list[str] = field(default_factory=list)
    fetches_in_outage: int = 0
    _tokens: list[str] = field(default_factory=list)
    _key: SigningKey = KEY
    _ended: threading.Event = field(default_factory=threading.Event)
    _numbers: "itertools.count[int]" = field(default_factory=itertools.count)

    def run(self) -> None:
        workers = [threading.Thread(target=self._work, args=(number,)) for number in range(WORKERS)]
        for worker in workers:
            worker.start()
        try:
            self._pass_time()
        finally:
            self._ended.set()
            for worker in workers:
                worker.join()

    def _pass_time(self) -> None:
        self._pass_seconds(60)
        self.issuer.keys.append(NEXT)  # published ahead, by the lifetime of the keys in caches
        self._pass_seconds(310)
        self._key = NEXT
        self._pass_seconds(120)
        self._pass_outage()
        self._pass_seconds(60)
        self.issuer.keys = [NEXT, EMERGENCY]  # signs as soon as it is published
        self._key = EMERGENCY
        self._pass_seconds(310)

    def _pass_outage(self) -> None:
        """No token is issued. Services have not seen all of the last ones."""
        self._tokens = [self.token() for _ in range(500)]
        self.issuer.unavailable = True
        before = len(self.issuer.requests)
        self._pass_seconds(OUTAGE_SECONDS)
        self.fetches_in_outage = len(self.issuer.requests) - before
        self.issuer.unavailable = False
        self._tokens = []

    def _pass_seconds(self, seconds: int) -> None:
        end = self.clock() + seconds
        for step in itertools.cycle(STEPS_SECONDS):
            if self.clock() >= end:
                return
            self._wait_for_fetches()
            self.clock.advance(seconds=step)
            self._wait_for(self.sent + REQUESTS_PER_STEP)

    def _wait_for_fetches(self) -> None:
        """Of those that have begun: requests begin others. A thread is listed before it can be joined."""
        begun = {thread for thread in threading.enumerate() if thread.name in FETCHES}
        give_up = time.monotonic() + 60
        while begun.intersection(threading.enumerate()):
            assert time.monotonic() < give_up, "a fetch does not end"
            time.sleep(0.001)

    def _wait_for(self, sent: int) -> None:
        give_up = time.monotonic() + 60
        while self.sent < sent:
            assert time.monotonic() < give_up, "the service does not respond"
            time.sleep(0.001)

    def token(self, key: SigningKey | None = None) -> str:
        """A new token."""
        now = int(self.clock())
        return token(key or self._key, iat=now, exp=now + LIFETIME_SECONDS, jti=str(next(self._numbers)))

    def _work(self, seed: int) -> None:
        chosen = random.Random(seed)
        own = self.token()
        while not self._ended.is_set():
            if self._tokens:
                own = chosen.choice(self._tokens)
            elif chosen.random() < 0.5:
                own = self.token()
            try:
                accepted = self.send(own)
            except Exception as error:
                self.refused.append(f"{self.clock.now} {error!r}")
            else:
                if not accepted:
                    self.refused.append(f"{self.clock.now} {own}")
            self.sent += 1
