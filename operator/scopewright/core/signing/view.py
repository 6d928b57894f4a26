"""Inputs of the plan for one SigningKey."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

from scopewright.api import SigningKey
from scopewright.core.config import Config
from scopewright.core.failed_writes import FailedWrite
from scopewright.core.objects import Existing
from scopewright.core.plan import Event
from scopewright.core.profile import allows
from scopewright.core.records.signing_key import KeyRecord
from scopewright.core.signing.jwks import StoredKey


@dataclass(frozen=True, slots=True)
class GeneratedKey:
    """A new key pair: the public JWK with `kid`, `alg` and `use`, and the private key as PKCS#8 PEM."""

    jwk: dict[str, str]
    pem: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class KeyAttempt:
    """A key whose record could not be written, and its algorithm."""

    key: GeneratedKey
    algorithm: str


@dataclass(frozen=True, slots=True)
class SigningView:
    """All inputs of the plan for one SigningKey. `keys` are those of every SigningKey, including deleted ones."""

    name: str
    key: SigningKey | None
    keys: tuple[StoredKey, ...]
    jwks: Existing | None
    config: Config
    now: datetime
    generate_key: Callable[[str], GeneratedKey]
    events: tuple[Event, ...] = ()
    """Events that no status lists yet."""
    failed_writes: tuple[FailedWrite, ...] = ()
    """Failed writes whose retry is not due yet."""
    attempt: KeyAttempt | None = None
    """Key of the last attempt, to be retried."""
    sign_at_once: bool = False
    """Whether a first or requested key signs without waiting for caches of the JWKS (`scopewright dev`)."""

    @property
    def own(self) -> tuple[StoredKey, ...]:
        return tuple(k for k in self.keys if k.record.signing_key == self.name)

    @property
    def usable(self) -> tuple[KeyRecord, ...]:
        """Keys that sign now or will sign later. A SigningKey that was deleted and created again with another algorithm
        has the earlier keys too: those that the profile forbids sign nothing.
        """
        return tuple(r for r in self.unended if allows(self.config.profile, r.algorithm))

    @property
    def unended(self) -> tuple[KeyRecord, ...]:
        """Keys that could sign now or later, with any profile."""
        complete = (k.record for k in self.own if k.has_private_key)
        return tuple(r for r in complete if _can_still_sign(r, self.now) and not self.is_revoked_by_spec(r))

    @property
    def to_revoke(self) -> tuple[StoredKey, ...]:
        """Keys that `revokedBefore` revokes, and whose record does not say so yet."""
        return tuple(k for k in self.own if k.record.revoked_time is None and self.is_revoked_by_spec(k.record))

    @property
    def is_forbidden(self) -> bool:
        """Whether the profile does not allow the algorithm: there is no new key, and the existing ones retire."""
        return self.key is not None and not allows(self.config.profile, self.key.spec.jose_algorithm)

    @property
    def config_map(self) -> str | None:
        """Name of the ConfigMap that publishes the keys: that of the existing keys, else that of the spec."""
        declared = self.key.spec.jwks.config_map_name if self.key else None
        return next((k.record.config_map for k in self.own), declared)

    def is_revoked_by_spec(self, record: KeyRecord) -> bool:
        """Whether `revokedBefore` has come and is after the creation of this key."""
        before = self.key.spec.revoked_before if self.key else None
        return before is not None and before <= self.now and record.creation_time < before


def _can_still_sign(record: KeyRecord, now: datetime) -> bool:
    return record.revoked_time is None and (record.signing_end_time is None or now < record.signing_end_time)
