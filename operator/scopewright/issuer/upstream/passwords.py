"""Logs static users in with their passwords. Every name costs the same, known or not."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from cryptography.exceptions import InvalidKey
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

from scopewright.core.providers.password_hash import PasswordUnusable, password_bytes
from scopewright.core.providers.static_users import name_key
from scopewright.issuer.state.providers import Provider
from scopewright.issuer.upstream.authenticated_user import AuthenticatedUser
from scopewright.issuer.upstream.computations import Computations
from scopewright.issuer.upstream.login import PasswordsBusy, WrongPassword
from scopewright.issuer.upstream.password_budgets import PasswordAttempt, PasswordBudgets
from scopewright.issuer.upstream.static_users import StaticUsers
from scopewright.rate_budget import Clock

MAX_USERNAME: Final = 256
"""Characters of a typed name."""
MAX_WAITING: Final = 8
"""Attempts at once that wait for the turn of their users: floods of a few users keep no place from the others."""


def is_password_of(password_hash: str, password: bytes) -> bool:
    """Whether the hash is that of the password. It takes the memory and the time of the hash's parameters."""
    try:
        Argon2id.verify_phc_encoded(password, password_hash)
    except InvalidKey:
        return False
    return True


class Passwords:
    """Implements `PasswordLogins`."""

    def __init__(
        self,
        clock: Clock,
        budgets: PasswordBudgets,
        *,
        check: Callable[[str, bytes], bool] = is_password_of,
        computations: Computations | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """`clock` is for `auth_time`: seconds since the epoch."""
        self._clock = clock
        self._budgets = budgets
        self._check = check
        self.computations: Final = computations or Computations()
        self._sleep = sleep
        self._users = StaticUsers()
        self._waiting = 0

    async def verify(self, provider: Provider, username: str, password: str, address: str) -> AuthenticatedUser:
        """See `PasswordLogins`. A name or password that is too long is wrong; no hash is computed."""
        if not 0 < len(username) <= MAX_USERNAME:
            raise WrongPassword
        try:
            secret = password_bytes(password)
        except PasswordUnusable:
            raise WrongPassword from None
        login_key = name_key(username)
        attempt = PasswordAttempt.of(provider.uid, login_key, address)
        has_begun = False

        def check() -> bool:
            nonlocal has_begun
            has_begun = True
            return self._check(candidate.password_hash, secret)

        wait = self._budgets.begin(attempt)
        try:
            if wait:
                await self._wait(wait)
            users = self._users.of(provider)
            candidate = users.candidate(login_key)
            right = await self.computations.run(check)
        except BaseException:
            if not has_begun:  # busy, or the request took too long: a flood must not use up the attempts of others
                self._budgets.withdraw(attempt)
            raise
        if not right or candidate.user is None:
            raise WrongPassword
        self._budgets.succeeded(attempt)
        return users.authenticated(candidate.user, int(self._clock()))

    async def _wait(self, seconds: float) -> None:
        if self._waiting >= MAX_WAITING:
            raise PasswordsBusy
        self._waiting += 1
        try:
            await self._sleep(seconds)
        finally:
            self._waiting -= 1

    def current(self, provider: Provider, subject: str) -> AuthenticatedUser | None:
        """See `PasswordLogins`."""
        users = self._users.of(provider)
        user = users.by_subject(subject)
        return users.authenticated(user, 0) if user is not None else None
