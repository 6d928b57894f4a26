"""What one installation has beside its objects: the issuer record, keys of its own, a first SigningKey."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any, Final

from scopewright.api import API_VERSION
from scopewright.core.client.seal import KEY_BYTES
from scopewright.core.config import Config
from scopewright.core.failures import Rejected
from scopewright.core.objects import MANAGED_BY, MANAGER, ROTATE_ANNOTATION, Desired, Existing, Ref, digest, in_place
from scopewright.core.records import (
    ENTRY,
    ISSUER_NAME,
    KEY_ENTRY,
    NONCE_KEY_NAME,
    NONCE_KEY_TYPE,
    RECORD_LABEL,
    REVOCATIONS_NAME,
    ROTATE_ENTRY,
    SEAL_KEY_NAME,
    SEAL_KEY_TYPE,
    USAGE_NAME,
    RevocationRecord,
    UsageRecord,
    encode,
)

DEFAULT_SIGNING_KEY: Final = "default"


def issuer_ref(config: Config) -> Ref:
    return Ref("ConfigMap", config.namespace, ISSUER_NAME)


def seal_key_ref(config: Config) -> Ref:
    return Ref("Secret", config.namespace, SEAL_KEY_NAME)


def nonce_key_ref(config: Config) -> Ref:
    return Ref("Secret", config.namespace, NONCE_KEY_NAME)


def plan_issuer(config: Config, existing: Existing | None) -> Desired | None:
    """The issuer record, if it is not as the configuration has it: the one source that issuers read."""
    content = encode(config.issuer_record())
    labels = {MANAGED_BY: MANAGER, RECORD_LABEL: "issuer"}
    desired = Desired(issuer_ref(config), entries={ENTRY: content}, labels=labels, replaces=existing)
    return None if in_place(desired) else desired


def plan_seal_key(config: Config, key: bytes) -> Desired:
    """The operator's key for seals, made once. Whoever loses it loses adoption after a restore, and nothing else."""
    return _secret_key(seal_key_ref(config), SEAL_KEY_TYPE, key)


def plan_another_seal_key(config: Config, existing: Existing, key: bytes) -> Desired:
    """In one write with the request that it answers: whoever dies before it has done nothing, and after it all."""
    first = plan_seal_key(config, key)
    entries = {**first.entries, ROTATE_ENTRY: existing.annotations[ROTATE_ANNOTATION].encode()}
    return replace(first, entries=entries, replaces=existing)


def asks_for_another_key(existing: Existing) -> bool:
    """Whether its annotation `scopewright.dev/rotate` has a value that it was not made for."""
    asked = existing.annotations.get(ROTATE_ANNOTATION, "")
    return asked != "" and existing.entries.get(ROTATE_ENTRY) != digest(asked)


def plan_nonce_key(config: Config, key: bytes) -> Desired:
    """What all issuers make DPoP nonces with. Another one in its place costs each client one more try."""
    return _secret_key(nonce_key_ref(config), NONCE_KEY_TYPE, key)


def _secret_key(ref: Ref, of_type: str, key: bytes) -> Desired:
    return Desired(ref, type=of_type, entries={KEY_ENTRY: key}, labels={MANAGED_BY: MANAGER})


def usage_ref(config: Config) -> Ref:
    return Ref("ConfigMap", config.namespace, USAGE_NAME)


def plan_usage(config: Config, now: datetime) -> Desired:
    """Where issuers report the use of credentials: made empty once, and theirs from then on."""
    labels = {MANAGED_BY: MANAGER, RECORD_LABEL: "usage"}
    return Desired(usage_ref(config), entries={ENTRY: encode(UsageRecord(since=now))}, labels=labels)


def revocations_ref(config: Config) -> Ref:
    return Ref("ConfigMap", config.namespace, REVOCATIONS_NAME)


def plan_revocations(config: Config) -> Desired:
    """Where issuers keep what has ended before its time: made empty, and theirs from then on."""
    labels = {MANAGED_BY: MANAGER, RECORD_LABEL: "revocations"}
    record = RevocationRecord(longest_lifetime=config.issuer_record().max_token_lifetime)
    return Desired(revocations_ref(config), entries={ENTRY: encode(record)}, labels=labels)


def seal_key(existing: Existing, entries: Mapping[str, bytes]) -> bytes:
    key = entries.get(KEY_ENTRY, b"")
    if existing.type != SEAL_KEY_TYPE or len(key) < KEY_BYTES:
        raise Rejected("SealKeyConflict", f"{existing.ref} is not a seal key of ours: delete it, and one is made")
    return key


def default_signing_key(config: Config) -> dict[str, Any]:
    """The SigningKey that an install needs, so that there is no second step."""
    return {
        "apiVersion": API_VERSION,
        "kind": "SigningKey",
        "metadata": {
            "name": DEFAULT_SIGNING_KEY,
            "namespace": config.namespace,
            "labels": {MANAGED_BY: MANAGER},
        },
        "spec": {"issuer": config.name},
    }
