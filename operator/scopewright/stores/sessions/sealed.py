"""Seals what a session store holds: neither the keys nor the values show a handle, a user or a token.

The key of a record is the SHA-256 of the issuer's URL and the record's handle. Its value is sealed with AES-256-GCM
under a key that HKDF derives for this record from a key of `Secret/scopewright-sessions`. The record's key and version
are associated data: a value opens at its place and version only.
"""

import hashlib
import logging
import os
import time
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass, field
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from scopewright.core.failures import Unavailable
from scopewright.stores.sessions import Delete, Put, SessionStore, Stored

log: Final = logging.getLogger(__name__)

MAX_VALUE_BYTES: Final = 256 * 1024
"""Of one value. The largest is the session of a user with many claims and groups."""
MIN_KEY_BYTES: Final = 32

_FORMAT: Final = b"\x01"
_KEY_ID_BYTES: Final = 4
_NONCE_BYTES: Final = 12
_KEY_ID_LABEL: Final = b"scopewright-session-key-id-v1"
_RECORD_LABEL: Final = b"scopewright-session-v1"


@dataclass(frozen=True, slots=True)
class SessionKeys:
    """The keys of `Secret/scopewright-sessions`, 32 bytes or more each. `current` seals, all open."""

    current: bytes = field(repr=False)
    previous: tuple[bytes, ...] = field(default=(), repr=False)
    """The latest first."""
    current_since: float = 0.0
    """Seconds since the epoch. Until then the first of `previous` seals: every issuer must have read `current`."""

    def sealing_key(self, now: float) -> bytes:
        return self.previous[0] if self.previous and now < self.current_since else self.current

    def with_id(self, key_id: bytes) -> bytes | None:
        return next((key for key in (self.current, *self.previous) if _key_id(key) == key_id), None)


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


@dataclass(frozen=True, slots=True)
class Scanned:
    """A value that a scan has found, and the key of its record in the store."""

    record: bytes
    opened: Opened


@dataclass(frozen=True, slots=True)
class ScannedPage:
    """`unreadable` counts the values that cannot be opened: those of another installation, or of a key that is lost.

    `now` is the clock of the store.
    """

    now: float
    values: tuple[Scanned, ...]
    unreadable: int


class SealedSessions:
    """A handle is a string with its kind, such as `session:…`, `code:…`, `family:…` or `user:…`.

    `keys` returns None until the issuer has read the Secret; then every method raises `Unavailable`. `installation`
    returns the issuer's URL, or raises it: installations that share a server have different records of the same user.
    `require_shared` raises `Unavailable` while another replica has another store, and then so does every method but
    `close`.
    """

    def __init__(
        self,
        store: SessionStore,
        installation: Callable[[], str],
        keys: Callable[[], SessionKeys | None],
        clock: Callable[[], float] = time.time,
        require_shared: Callable[[], None] = lambda: None,
    ) -> None:
        self._store = store
        self._installation = installation
        self._keys = keys
        self._clock = clock
        self.require_shared: Final = require_shared
        self._logged: set[str] = set()

    async def read(self, *handles: str) -> Read:
        """Read the values of `handles` in one round trip."""
        keys, records = self._require_keys(), [self._record_key(handle) for handle in handles]
        found = await self._store.get(*records)
        pairs = zip(records, found.values, strict=True)
        return Read(found.now, tuple(self._open(keys, record, stored) for record, stored in pairs))

    async def write(self, *changes: Save | Forget) -> bool:
        """Make all changes or none; return whether they were made.

        A `Save` with `if_version` 0 replaces a value that cannot be opened.
        """
        keys = self._require_keys()
        if await self._store.write(*(self._sealed(keys, change) for change in changes)):
            return True
        unreadable = await self._unreadable(keys, changes)
        if not unreadable:
            return False
        return await self._store.write(*(self._sealed(keys, change, unreadable) for change in changes))

    async def scan(self) -> AsyncIterator[ScannedPage]:
        """All values, as `SessionStore.scan` has them. A value does not show its handle: see `is_under`."""
        keys, start = self._require_keys(), ""
        while True:
            page = await self._store.scan(start)
            found = tuple(
                Scanned(record, opened) for record, stored in page.values if (opened := _opened(keys, record, stored))
            )
            yield ScannedPage(page.now, found, len(page.values) - len(found))
            if not (start := page.following):
                return

    def is_under(self, scanned: Scanned, handle: str) -> bool:
        """Whether the value is stored under `handle`, and by the installation with this issuer URL."""
        return scanned.record == self._record_key(handle)

    async def delete(self, found: Iterable[Scanned]) -> None:
        """Delete values that a scan has found, in whichever version they are."""
        if changes := [Delete(scanned.record) for scanned in found]:
            await self._store.write(*changes)

    async def close(self) -> None:
        await self._store.close()

    def _record_key(self, handle: str) -> bytes:
        return hashlib.sha256(f"{self._installation()} {handle}".encode()).digest()

    def _require_keys(self) -> SessionKeys:
        self.require_shared()
        keys = self._keys()
        if keys is None:
            raise Unavailable("the issuer has not read the session keys yet", refused=True)
        return keys

    async def _unreadable(self, keys: SessionKeys, changes: tuple[Save | Forget, ...]) -> dict[bytes, int]:
        """The versions of those values that cannot be opened and that `changes` expect not to be stored."""
        new = [self._record_key(c.handle) for c in changes if isinstance(c, Save) and c.if_version == 0]
        found = await self._store.get(*new) if new else None
        return {
            record: stored.version
            for record, stored in zip(new, found.values if found else (), strict=True)
            if stored is not None and self._open(keys, record, stored) is None
        }

    def _sealed(
        self, keys: SessionKeys, change: Save | Forget, unreadable: dict[bytes, int] | None = None
    ) -> Put | Delete:
        record = self._record_key(change.handle)
        if isinstance(change, Forget):
            return Delete(record)
        if len(change.value) > MAX_VALUE_BYTES:
            raise ValueError(f"a stored value has at most {MAX_VALUE_BYTES} bytes")
        version = (unreadable or {}).get(record, change.if_version)
        value = _seal(keys.sealing_key(self._clock()), record, version + 1, change.value)
        return Put(record, value, change.ttl, version)

    def _open(self, keys: SessionKeys, record: bytes, stored: Stored | None) -> Opened | None:
        if stored is None:
            return None
        try:
            return Opened(stored.version, _open(keys, record, stored))
        except ValueError as error:
            if (problem := str(error)) not in self._logged:
                self._logged.add(problem)
                log.warning("some stored sessions are ignored: %s", problem)
            return None


def _opened(keys: SessionKeys, record: bytes, stored: Stored) -> Opened | None:
    try:
        return Opened(stored.version, _open(keys, record, stored))
    except ValueError:
        return None


def _key_id(key: bytes) -> bytes:
    return hashlib.sha256(_KEY_ID_LABEL + key).digest()[:_KEY_ID_BYTES]


def _cipher(key: bytes, record: bytes) -> AESGCM:
    return AESGCM(HKDF(SHA256(), 32, salt=None, info=_RECORD_LABEL + record).derive(key))


def _bound_to(record: bytes, version: int) -> bytes:
    return _FORMAT + record + version.to_bytes(8, "big")


def _seal(key: bytes, record: bytes, version: int, value: bytes) -> bytes:
    """The nonce is random: two writers may seal different values for the same version."""
    nonce = os.urandom(_NONCE_BYTES)
    return _FORMAT + _key_id(key) + nonce + _cipher(key, record).encrypt(nonce, value, _bound_to(record, version))


def _open(keys: SessionKeys, record: bytes, stored: Stored) -> bytes:
    """Raises ValueError, whose text has no content."""
    start = len(_FORMAT) + _KEY_ID_BYTES
    if stored.value[: len(_FORMAT)] != _FORMAT:
        raise ValueError("they have the format of another version of Scopewright")
    key = keys.with_id(stored.value[len(_FORMAT) : start])
    if key is None:
        raise ValueError("they were sealed with a key that is not in the Secret scopewright-sessions any more")
    nonce, sealed = stored.value[start : start + _NONCE_BYTES], stored.value[start + _NONCE_BYTES :]
    try:
        return _cipher(key, record).decrypt(nonce, sealed, _bound_to(record, stored.version))
    except (InvalidTag, ValueError):
        raise ValueError("they were changed in the store, or moved to another place or version") from None
