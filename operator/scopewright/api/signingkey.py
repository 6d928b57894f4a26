"""SigningKey: generation, publication, rotation and removal of the issuer's signing keys."""

from datetime import timedelta
from typing import Annotated, Literal

from pydantic import Field, WithJsonSchema

from scopewright.api.meta import AGE_COLUMN, PENDING_STATUS, READY_COLUMNS, Column, Kind, Model, Spec, Status
from scopewright.api.names import MAX_ITEMS, Subdomain
from scopewright.api.rules import CelRule, no_days_rule, timestamp_rule, unless_days
from scopewright.api.times import Duration, Timestamp

Algorithm = Literal["ES256", "ES384", "RS256", "PS256", "Ed25519"]
"""Fully specified algorithm names (RFC 9864). For the `alg` of tokens, see `SigningKeySpec.jose_algorithm`."""


class KeyRotation(Model):
    """Schedule of key rotation."""

    RULES = (
        CelRule(
            "every-longer-than-publish-ahead",
            unless_days("every", "publishAhead")
            + "duration(self.every) >= duration(self.publishAhead) + duration('20m')",
            "rotation.every must be at least 20m longer than rotation.publishAhead: the next key is published "
            "before it signs, by publishAhead plus the JWKS max-age plus ten minutes for replica lag; raise every or "
            "lower publishAhead",
            "every",
        ),
        *(no_days_rule("key", field) for field in ("every", "publishAhead")),
    )

    every: Duration = timedelta(hours=720)
    """Duration for which a key signs before the next key replaces it. Defaults to 720h."""
    publish_ahead: Duration = timedelta(hours=24)
    """Duration for which a key is published in the JWKS before it signs. Must be longer than any verifier caches the
    JWKS. Defaults to 24h."""


class JwksTarget(Model):
    """Location at which the public keys are published."""

    config_map_name: Subdomain = "scopewright-jwks"
    """Name of the ConfigMap, in the namespace of the SigningKey. SigningKeys with the same ConfigMap publish the union
    of their keys. Defaults to scopewright-jwks."""


class SigningKeySpec(Spec):
    """Desired state of the signing key, declared by the platform team."""

    RULES = (
        *Spec.RULES,
        CelRule(
            "algorithm-immutable",
            "(has(self.algorithm) ? self.algorithm : 'ES256')"
            " == (has(oldSelf.algorithm) ? oldSelf.algorithm : 'ES256')",
            "algorithm is immutable; create another SigningKey with the new algorithm, "
            "set tokens.signingKey of the ResourceServers to its name, and delete this one",
            "algorithm",
        ),
        timestamp_rule("revokedBefore"),
    )

    algorithm: Algorithm = "ES256"
    """Signature algorithm of the keys. Immutable. Defaults to ES256."""
    rotation: KeyRotation = KeyRotation()
    """Schedule of key rotation. Defaults to every 720h, with publication 24h ahead."""
    jwks: JwksTarget = JwksTarget()
    """Location at which the public keys are published. Defaults to the ConfigMap scopewright-jwks."""
    revoked_before: Timestamp | None = None
    """Time before which generated keys are revoked, for use in an emergency. They are removed from the JWKS and stop
    signing at once, and a new key signs immediately; tokens signed by revoked keys are refused. Defaults to none."""

    @property
    def jose_algorithm(self) -> str:
        """`alg` of tokens and JWKs: EdDSA for Ed25519 keys, the only name that PyJWT and many verifiers support."""
        return "EdDSA" if self.algorithm == "Ed25519" else self.algorithm


class KeyStatus(Model):
    """One key, its state, and the times that determine the state."""

    kid: Annotated[str, Field(max_length=128)]
    """Key id: the RFC 7638 thumbprint of the key."""
    state: Literal["Pending", "Active", "Retiring"]
    """State of the key. Pending: published, does not sign yet. Active: signs. Retiring: published to verify tokens that
    it signed earlier."""
    signing_start_time: Timestamp | None = None
    """Time from which the key signs."""
    signing_end_time: Timestamp | None = None
    """Time after which the key no longer signs. Not set before it is determined."""
    verification_end_time: Timestamp | None = None
    """Time at which the key is removed from the JWKS, after all its tokens have expired. Not set before it is
    determined."""


class SigningKeyStatus(Status):
    """Observed state of the signing key. Written by the operator only."""

    keys: Annotated[list[KeyStatus], Field(max_length=MAX_ITEMS)] = Field(default_factory=list)
    """Existing keys and their states."""


class SigningKey(Kind):
    """SigningKey is a series of keys that sign access tokens. The operator generates each key, publishes it in a JWKS
    before use, activates it, retires it and removes it on schedule. It is created in the issuer's namespace."""

    KIND = "SigningKey"
    PLURAL = "signingkeys"
    SINGULAR = "signingkey"
    SHORT_NAMES = ("swk",)
    COLUMNS = (
        *READY_COLUMNS,
        Column("Algorithm", ".spec.algorithm", "Signature algorithm of the keys."),
        Column(
            "Signs Until",
            '.status.keys[?(@.state=="Active")].signingEndTime',
            "Latest time at which the active key signs.",
        ),
        Column("Key ID", '.status.keys[?(@.state=="Active")].kid', "Key id of the active key.", wide=True),
        AGE_COLUMN,
    )

    kind: Annotated[Literal["SigningKey"], WithJsonSchema({"type": "string"})] = "SigningKey"
    """Kind of the object: SigningKey."""
    spec: SigningKeySpec = SigningKeySpec()
    """Desired state of the signing key. Defaults to an ES256 key, rotated every 720h."""
    status: Annotated[SigningKeyStatus | None, Field(json_schema_extra={"default": PENDING_STATUS})] = None
    """Observed state of the signing key. Written by the operator only."""
