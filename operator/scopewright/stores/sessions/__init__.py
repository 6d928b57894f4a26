"""Where sessions of users are stored, and what belongs to them: codes, refresh tokens, consents.

A store holds bytes by key, each with a version and an end. It knows nothing of their content, which is sealed
(`stores.sessions.sealed`). Every value has an end.
"""

from dataclasses import dataclass, field
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Stored:
    """A value as it is stored. The first version of a key is 1."""

    version: int
    value: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Found:
    """The values of the keys that were read, in their order; None for a key that is not stored or has ended.

    `now` is the clock of the store, in seconds since the epoch.
    """

    now: float
    values: tuple[Stored | None, ...]


@dataclass(frozen=True, slots=True)
class Put:
    """The write of `value` under `key`, for `ttl` seconds, if the stored version is `if_version` (0: none is stored).

    The new version is `if_version + 1`.
    """

    key: bytes
    value: bytes = field(repr=False)
    ttl: float
    if_version: int


@dataclass(frozen=True, slots=True)
class Delete:
    """The deletion of `key`, in whichever version."""

    key: bytes


@dataclass(frozen=True, slots=True)
class ScanPage:
    """Some of the values that a store holds, by key, and where the next page begins; empty: there is none.

    `now` is the clock of the store, in seconds since the epoch.
    """

    now: float
    values: tuple[tuple[bytes, Stored], ...]
    following: str


class SessionStore(Protocol):
    """Raises `Unavailable` if the store cannot be reached or is full."""

    async def get(self, *keys: bytes) -> Found:
        """Read the values of `keys`, all at the same instant, in one round trip."""

    async def write(self, *changes: Put | Delete) -> bool:
        """Make all changes if every `if_version` is right, else none. Return whether they were made."""

    async def scan(self, start: str = "") -> ScanPage:
        """Read a page of all values: the first one, or the one that begins at `following` of the page before.

        A page takes the store a few milliseconds, and may be empty though others follow. A value that is stored during
        all of the scan is found at least once; one that is written or deleted meanwhile, perhaps.
        """

    async def store_id(self) -> str:
        """Return a random id, made with the store: replicas with different ids do not share a store."""

    async def close(self) -> None: ...
