"""A static provider for tests, and `Passwords` whose computations a test counts and holds."""

import threading
from dataclasses import dataclass, field
from typing import Any

from scopewright.core.providers.static_users import encode_static_users
from scopewright.core.records.identity_provider import ClaimMappings
from scopewright.issuer.state.providers import Provider
from scopewright.issuer.upstream.authenticated_user import AuthenticatedUser
from scopewright.issuer.upstream.computations import Computations
from scopewright.issuer.upstream.password_budgets import PasswordBudgets
from scopewright.issuer.upstream.passwords import Passwords
from tests.harness.clock import Clock
from tests.harness.users import provider_of, static_user
from tests.harness.waiting import until

RIGHT = "correct horse"
ADDRESS = "192.0.2.1"


def static_provider(*users: Any, name: str = "staff", **changes: Any) -> Provider:
    """A provider of these StaticUsers, by default of `ada` alone. `changes` are as in `provider_of`."""
    data = encode_static_users(users or [static_user("ada", groups=["hr-staff", "admins"])])
    claims = ClaimMappings(groups_prefix="staff:", groups_allow=("hr-*",))
    fields = {"oidc": None, "subject_domain": f"static:{name}", "claims": claims, "users": data} | changes
    return provider_of(name, **fields)


@dataclass
class PasswordsHarness:
    """Passwords with a clock that the test moves. For every user the password is RIGHT."""

    provider: Provider = field(default_factory=static_provider)
    clock: Clock = field(default_factory=Clock)
    checked: list[str] = field(default_factory=list)
    """The hash of each computation."""
    slept: list[float] = field(default_factory=list)
    capacity: int = 10_000
    concurrency: int = 2
    queue: int = 20

    def __post_init__(self) -> None:
        self.go_on = threading.Event()
        """Clear it to hold the computations."""
        self.go_on.set()
        self.budgets = PasswordBudgets(self.clock, self.capacity)
        self.computations = Computations(self.concurrency, self.queue)
        self.passwords = Passwords(
            self.clock, self.budgets, check=self._check, computations=self.computations, sleep=self._sleep
        )

    async def verify(self, username: str = "ada", password: str = RIGHT, address: str = ADDRESS) -> AuthenticatedUser:
        return await self.passwords.verify(self.provider, username, password, address)

    async def outcome(self, username: str = "ada", password: str = "wrong", address: str = ADDRESS) -> str:
        """The name of the exception, or of the user."""
        try:
            return (await self.verify(username, password, address)).display_name
        except Exception as refused:
            return type(refused).__name__

    async def until_checked(self, count: int) -> None:
        """Wait until so many computations have begun."""
        await until(lambda: len(self.checked) >= count)

    def _check(self, password_hash: str, password: bytes) -> bool:
        self.checked.append(password_hash)
        assert self.go_on.wait(5)
        return password == RIGHT.encode()

    async def _sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
