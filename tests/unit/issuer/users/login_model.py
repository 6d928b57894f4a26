"""What sessions, codes and families of refresh tokens promise, as a model of a few values: see `test_login_model`."""

from dataclasses import dataclass, field
from typing import Any

import httpx

from scopewright.core.failures import Unavailable
from scopewright.stores.sessions import Delete, Found, Put
from tests.harness.memory_sessions import MemorySessions

CODE_SECONDS = 60
REUSE_SECONDS = 30
USE_INTERVAL_SECONDS = 300
PUSHED_SECONDS = 90
ATTEMPT_SECONDS = 600
SESSION_SECONDS = 12 * 3600
IDLE_SECONDS = 3600
FAMILY_IDLE_SECONDS = 8 * 3600
FAMILY_SECONDS = 12 * 3600


class UnreliableStore(MemorySessions):
    """A store that is away, or that makes the next write and loses the answer."""

    is_away = False
    loses_answer = False

    async def get(self, *keys: bytes) -> Found:
        if self.is_away:
            raise Unavailable("away")
        return await super().get(*keys)

    async def write(self, *changes: Put | Delete) -> bool:
        if self.is_away:
            raise Unavailable("away")
        written = await super().write(*changes)
        if self.loses_answer:
            self.loses_answer = False
            raise Unavailable("the answer is lost")
        return written


@dataclass(eq=False)
class ModelSession:
    sid: str
    cookie: str
    subject: str
    end_time: float
    ended: bool = False

    def is_alive(self, now: float) -> bool:
        return not self.ended and now < self.end_time

    def logs_in(self, now: float) -> bool:
        """Whether it surely logs the user in: a browser may have used it since, and later it may be idle."""
        return self.is_alive(now) and now < self.end_time - SESSION_SECONDS + IDLE_SECONDS


@dataclass(eq=False)
class ModelCode:
    value: str
    client_id: str
    session: ModelSession
    end_time: float
    offline: bool
    used: bool = False
    family: "ModelFamily | None" = None
    """None also if its answer was lost."""


@dataclass(eq=False)
class ModelTab:
    """A consent page in a browser."""

    browser: httpx.AsyncClient
    page: httpx.Response
    session: ModelSession
    end_time: float

    def can_decide(self, now: float) -> bool:
        return self.session.logs_in(now) and now < self.end_time


@dataclass(eq=False)
class ModelPushed:
    """A pushed request. `prompts`: it asks for the consent page, whatever the user has consented to."""

    uri: str
    client_id: str
    prompts: bool
    end_time: float
    used: bool = False
    """Its answer was sent: a code or an error."""
    codes: int = 0
    tabs: list[ModelTab] = field(default_factory=list)

    def can_be_brought(self, now: float) -> bool:
        return not self.used and now < self.end_time


@dataclass(eq=False)
class ModelFamily:
    """`tokens` are those that the application has seen, by generation; one that does not rotate has generation 1."""

    client_id: str
    session: ModelSession
    offline: bool
    rotates: bool
    created_time: float
    used_time: float
    rotated_time: float
    generation: int = 1
    tokens: dict[int, str] = field(default_factory=dict)
    ended: bool = False
    """And with it its access tokens."""
    access: list[dict[str, Any]] = field(default_factory=list)
    """Claims of its access tokens."""

    def is_alive(self, now: float) -> bool:
        has_session = self.offline or self.session.is_alive(now)
        expired = now >= min(self.used_time + FAMILY_IDLE_SECONDS, self.created_time + FAMILY_SECONDS)
        return has_session and not self.ended and not expired

    def expected(self, generation: int, now: float) -> int:
        """The generation of the refresh token that this one gives; 0: it is refused."""
        if not self.is_alive(now):
            return 0
        if not self.rotates:
            return 1
        if generation == self.generation:
            return generation + 1
        lost = generation == self.generation - 1 and now <= self.rotated_time + REUSE_SECONDS
        return self.generation if lost else 0

    def used(self, generation: int, now: float) -> None:
        """The state after this token was presented."""
        given = self.expected(generation, now)
        if not self.rotates:
            if given and now >= self.used_time + USE_INTERVAL_SECONDS:
                self.used_time = now
        elif given == generation + 1 and given > self.generation:
            self.generation, self.rotated_time, self.used_time = given, now, now
        elif not given and self.is_alive(now):
            self.end()

    def end(self) -> None:
        self.ended = True
