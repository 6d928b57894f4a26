"""Seals what a session store holds: neither the keys nor the values show a handle, a user or a token."""

from collections.abc import Callable
from dataclasses import dataclass, field

from scopewright.stores.sessions import SessionStore


@dataclass(frozen=True, slots=True)
class SessionKeys:
    """The keys of `Secret/scopewright-sessions`, 32 bytes or more each. `current` seals, both open."""

    current: bytes = field(repr=False)
    previous: bytes = field(default=b"", repr=False)


@dataclass(frozen=True, slots=True)
class Opened:
    """A value that was read and opened."""

    version: int
    value: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Read:
    """As `stores.sessions.Found`, opened. A value that cannot be opened is None, as one that is not stored."""

    now: float
    values: tuple[Opened | None, ...]


@dataclass(frozen=True, slots=True)
class Save:
    """The write of `value` under `handle` for `ttl` seconds, if the stored version is `if_version` (0: none)."""

    handle: str = field(repr=False)
    value: bytes = field(repr=False)
    ttl: float
    if_version: int


@dataclass(frozen=True, slots=True)
class Forget:
    """The deletion of `handle`."""

    handle: str = field(repr=False)


class SealedSessions:
    """A handle is a string with its kind, such as `session:…`, `code:…`, `family:…` or `user:…`.

    `keys` returns None until the issuer has read the Secret; then every method raises `Unavailable`.
    """

    def __init__(self, store: SessionStore, keys: Callable[[], SessionKeys | None]) -> None:
        self._store = store
        self._keys = keys

    async def read(self, *handles: str) -> Read:
        """Read the values of `handles` in one round trip."""
        raise NotImplementedError

    async def write(self, *changes: Save | Forget) -> bool:
        """Make all changes or none; return whether they were made."""
        raise NotImplementedError

    async def close(self) -> None:
        await self._store.close()
