"""Limits guesses of passwords: of a user from an address, from an address, and of a user from everywhere.

Only the first two refuse. A flood from many addresses cannot lock a user out: it slows down the logins of that user
from addresses without an earlier login, and does not reach the others. Unknown users have the same budgets. An attempt
counts when it begins, so that attempts at once are not free, and not any more when the password was right.
"""

import hashlib
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from scopewright.bounded import BoundedDict
from scopewright.http import network_of
from scopewright.issuer.upstream.login import PasswordsBusy, TooManyAttempts
from scopewright.rate_budget import Clock

FREE_ATTEMPTS: Final = 5
"""Of a user from an address, before the delay: 1 s, then twice as long each time."""
MAX_DELAY_SECONDS: Final = 900.0
FORGET_SECONDS: Final = 3600.0
"""After this time without an attempt, a user has all attempts from an address again."""
ADDRESS_BURST: Final = 30
ADDRESS_INTERVAL_SECONDS: Final = 2.0
"""Between attempts from one address, for whatever user, after the burst."""
USER_BURST: Final = 20
USER_INTERVAL_SECONDS: Final = 2.0
"""Between attempts for one user from addresses without an earlier login, after the burst."""
MAX_WAIT_SECONDS: Final = 6.0
"""For the turn of a user. A request of users has 10 s in all."""
MAX_ENTRIES: Final = 10_000
"""Of each table. Beyond it, the entry that was changed least recently is dropped."""

K = TypeVar("K", bound=Hashable)


@dataclass(frozen=True, slots=True)
class PasswordAttempt:
    """Whose password is tried, and from where. `user` is a digest: some users type their password as user name."""

    user: bytes
    network: str

    @classmethod
    def of(cls, provider_uid: str, login_key: str, address: str) -> "PasswordAttempt":
        """`login_key` is `name_key` of the typed name."""
        hashed = hashlib.sha256(f"{provider_uid}\0{login_key}".encode("utf-8", "surrogatepass"))
        return cls(hashed.digest(), network_of(address))


@dataclass(frozen=True, slots=True)
class _Failures:
    count: int
    allowed_from: float


class _Pace(Generic[K]):
    """A burst, then one operation each interval, by key. It stores the time at which the burst is whole again."""

    def __init__(self, burst: int, interval: float, capacity: int) -> None:
        self._burst = burst * interval
        self._interval = interval
        self._whole = BoundedDict[K, float](capacity)

    def wait(self, key: K, now: float) -> float:
        """Return after how many seconds the next operation is allowed."""
        return max(0.0, self._whole.get(key, now) + self._interval - self._burst - now)

    def take(self, key: K, now: float) -> None:
        self._whole[key] = max(self._whole.get(key, now), now) + self._interval

    def give_back(self, key: K) -> None:
        if key in self._whole:
            self._whole[key] -= self._interval


class PasswordBudgets:
    def __init__(self, monotonic: Clock, capacity: int = MAX_ENTRIES) -> None:
        self._monotonic = monotonic
        self._failures = BoundedDict[PasswordAttempt, _Failures](capacity)
        self._logins = BoundedDict[PasswordAttempt, None](capacity)
        self._networks = _Pace[str](ADDRESS_BURST, ADDRESS_INTERVAL_SECONDS, capacity)
        self._users = _Pace[bytes](USER_BURST, USER_INTERVAL_SECONDS, capacity)

    def begin(self, attempt: PasswordAttempt) -> float:
        """Count the attempt, and return how many seconds to wait before the password is checked.

        Raises `TooManyAttempts`, or `PasswordsBusy` if others wait for the turn of the user; neither counts.
        """
        now = self._monotonic()
        failures = self._failures.get(attempt, _Failures(0, now))
        if now - failures.allowed_from > FORGET_SECONDS:
            failures = _Failures(0, now)
        if (refused := max(failures.allowed_from - now, self._networks.wait(attempt.network, now))) > 0:
            raise TooManyAttempts(refused)
        wait = 0.0 if attempt in self._logins else self._users.wait(attempt.user, now)
        if wait > MAX_WAIT_SECONDS:
            raise PasswordsBusy
        self._failures[attempt] = _Failures(failures.count + 1, now + _delay(failures.count + 1))
        self._networks.take(attempt.network, now)
        if attempt not in self._logins:
            self._users.take(attempt.user, now)
        return wait

    def succeeded(self, attempt: PasswordAttempt) -> None:
        """Give the user all attempts from this address again, and let them log in from it during a flood."""
        self._give_back(attempt)
        self._failures.pop(attempt, None)
        self._logins[attempt] = None

    def withdraw(self, attempt: PasswordAttempt) -> None:
        """The password was not checked: the attempt counts no more."""
        self._give_back(attempt)
        if (failures := self._failures.pop(attempt, None)) is not None and failures.count > 1:
            self._failures[attempt] = _Failures(failures.count - 1, self._monotonic())

    def _give_back(self, attempt: PasswordAttempt) -> None:
        self._networks.give_back(attempt.network)
        if attempt not in self._logins:
            self._users.give_back(attempt.user)


def _delay(failures: int) -> float:
    """Return the seconds until the next attempt."""
    beyond = failures - FREE_ATTEMPTS
    return 0.0 if beyond < 0 else min(MAX_DELAY_SECONDS, 2.0 ** min(beyond, 32))
