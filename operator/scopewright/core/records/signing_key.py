"""The record of a signing key."""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from scopewright.core.records.fields import RECORD_CONFIG, Instant, Rotate


@dataclass(frozen=True, slots=True)
class KeyRecord:
    """One key of a SigningKey and its schedule, which is set when the JWKS first contains the key.

    `jwk` is the public key with `kid`, `alg` and `use`. The key signs from `signing_start_time` until
    `signing_end_time`, and no token expires after `verification_end_time`. A `revoked_time` ends both.
    """

    __pydantic_config__ = RECORD_CONFIG

    kid: str
    signing_key: str
    algorithm: str
    config_map: str
    jwk: dict[str, str]
    creation_time: Instant
    rotate: Rotate = ""
    """As in Credential."""
    at_once: bool = False
    """Whether it signs as soon as it is published: the first key of all, or an emergency key."""
    signing_start_time: Instant | None = None
    signing_end_time: Instant | None = None
    verification_end_time: Instant | None = None
    revoked_time: Instant | None = None
    version: Literal[1] = 1

    def signs_at(self, now: datetime) -> bool:
        if self.revoked_time or self.signing_start_time is None or self.signing_end_time is None:
            return False
        return self.signing_start_time <= now < self.signing_end_time

    def published_at(self, now: datetime) -> bool:
        """Whether it belongs in the JWKS."""
        return self.revoked_time is None and (self.verification_end_time is None or now < self.verification_end_time)
