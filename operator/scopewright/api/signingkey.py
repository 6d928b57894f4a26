"""SigningKey: how the issuer's keys are made, published ahead of use, retired and removed."""

from datetime import timedelta
from typing import Annotated, Literal

from pydantic import Field, WithJsonSchema

from scopewright.api.meta import (
    AGE_COLUMN,
    PENDING_STATUS,
    READY_COLUMNS,
    Column,
    Duration,
    Kind,
    Model,
    Spec,
    Status,
    Timestamp,
)
from scopewright.api.names import MAX_ITEMS, Subdomain
from scopewright.api.rules import Rule, instant, unless_days, without_days

Algorithm = Literal["ES256", "ES384", "RS256", "PS256", "Ed25519"]
"""Named after the key, as RFC 9864 does; what tokens say is `SigningKeySpec.jose_algorithm`."""


class KeyRotation(Model):
    """When a key gives way to the next."""

    RULES = (
        Rule(
            "every-leaves-room-for-publishing",
            unless_days("every", "publishAhead")
            + "duration(self.every) >= duration(self.publishAhead) + duration('20m')",
            "rotation.every must be at least 20m longer than rotation.publishAhead: the next key is published "
            "publishAhead, the JWKS max-age and ten minutes of replica lag before it signs; "
            "raise every or lower publishAhead",
            "every",
        ),
        *(without_days("key", field) for field in ("every", "publishAhead")),
    )

    every: Duration = timedelta(hours=720)
    """How long a key signs before the next one does. Left out: 720h."""
    publish_ahead: Duration = timedelta(hours=24)
    """How long a key stands in the JWKS before it signs: longer than any verifier caches the JWKS. Left out: 24h."""


class KeySet(Model):
    """Where the public keys are published."""

    config_map_name: Subdomain = "scopewright-jwks"
    """Name of the ConfigMap, of this namespace. SigningKeys that share it publish the union of their keys.
    Left out: scopewright-jwks."""


class SigningKeySpec(Spec):
    """What the platform declares."""

    RULES = (
        *Spec.RULES,
        Rule(
            "algorithm-immutable",
            "(has(self.algorithm) ? self.algorithm : 'ES256')"
            " == (has(oldSelf.algorithm) ? oldSelf.algorithm : 'ES256')",
            "algorithm cannot be changed: create another SigningKey with the new algorithm, "
            "name it in the ResourceServers' tokens.signingKey, and delete this one",
            "algorithm",
        ),
        instant("revokedBefore"),
    )

    algorithm: Algorithm = "ES256"
    """What the keys sign with. Immutable. Left out: ES256."""
    rotation: KeyRotation = KeyRotation()
    """When a key gives way to the next. Left out: every 720h, published 24h ahead."""
    jwks: KeySet = KeySet()
    """Where the public keys are published. Left out: in the ConfigMap scopewright-jwks."""
    revoked_before: Timestamp | None = None
    """An emergency: every key made earlier leaves the JWKS and stops signing now, and a fresh one signs at once, so
    that tokens signed by the old ones are refused. Left out: none is revoked."""

    @property
    def jose_algorithm(self) -> str:
        """The `alg` of tokens and JWKs: EdDSA for Ed25519 keys, as PyJWT and many another verifier knows no other."""
        return "EdDSA" if self.algorithm == "Ed25519" else self.algorithm


class KeyStatus(Model):
    """One key and the three instants that decide its state."""

    kid: Annotated[str, Field(max_length=128)]
    """Key id: the RFC 7638 thumbprint."""
    state: Literal["Pending", "Active", "Retiring"]
    """Pending: published, does not sign yet. Active: signs. Retiring: published for the tokens it has signed."""
    signing_start_time: Timestamp | None = None
    """From when on it signs."""
    signing_end_time: Timestamp | None = None
    """It signs nothing later. Left out: not settled yet."""
    verification_end_time: Timestamp | None = None
    """When it leaves the JWKS; no token it signed lives longer. Left out: not settled yet."""


class SigningKeyStatus(Status):
    """What the operator found and did."""

    keys: Annotated[list[KeyStatus], Field(max_length=MAX_ITEMS)] = Field(default_factory=list)
    """The keys that exist, and what each is for now."""


class SigningKey(Kind):
    """A SigningKey makes the keys that sign access tokens, publishes each ahead of use in a JWKS, puts it to use,
    retires it and removes it, on schedule. It lives in the issuer's namespace."""

    KIND = "SigningKey"
    PLURAL = "signingkeys"
    SINGULAR = "signingkey"
    SHORT_NAMES = ("swk",)
    COLUMNS = (
        *READY_COLUMNS,
        Column("Algorithm", ".spec.algorithm", "What its keys sign with."),
        Column(
            "Signs Until", '.status.keys[?(@.state=="Active")].signingEndTime', "When the next key signs at the latest."
        ),
        Column("Key ID", '.status.keys[?(@.state=="Active")].kid', "The key that signs now.", wide=True),
        AGE_COLUMN,
    )

    kind: Annotated[Literal["SigningKey"], WithJsonSchema({"type": "string"})] = "SigningKey"
    """Kind of the object: SigningKey."""
    spec: SigningKeySpec = SigningKeySpec()
    """What the platform declares. Left out: an ES256 key, rotated every 720h."""
    status: Annotated[SigningKeyStatus | None, Field(json_schema_extra={"default": PENDING_STATUS})] = None
    """What the operator found and did. Written by the operator alone."""
