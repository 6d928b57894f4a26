"""Objects of an installation itself: issuer record, seal key, nonce key, shared records, a first SigningKey."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any, Final

from scopewright.api import API_VERSION
from scopewright.core.client.seal import KEY_BYTES
from scopewright.core.config import Config
from scopewright.core.failures import Rejected
from scopewright.core.objects import MANAGED_BY, MANAGER, ROTATE_ANNOTATION, Desired, Existing, Ref, digest
from scopewright.core.records.codec import config_map_write
from scopewright.core.records.names import (
    ISSUER_NAME,
    KEY_ENTRY,
    NONCE_KEY_NAME,
    NONCE_KEY_TYPE,
    REVOCATIONS_NAME,
    ROTATE_ENTRY,
    SEAL_KEY_NAME,
    SEAL_KEY_TYPE,
    USAGE_NAME,
)
from scopewright.core.records.written_by_issuers import RevocationRecord, UsageRecord

DEFAULT_SIGNING_KEY: Final = "default"


def issuer_ref(config: Config) -> Ref:
    return Ref("ConfigMap", config.namespace, ISSUER_NAME)


def seal_key_ref(config: Config) -> Ref:
    return Ref("Secret", config.namespace, SEAL_KEY_NAME)


def nonce_key_ref(config: Config) -> Ref:
    return Ref("Secret", config.namespace, NONCE_KEY_NAME)


def plan_issuer(config: Config, existing: Existing | None) -> Desired | None:
    """Return the write of the issuer record, or None if it matches the configuration already."""
    desired = config_map_write(issuer_ref(config), "issuer", config.issuer_record(), existing)
    return None if desired.changes_nothing else desired


def plan_seal_key(config: Config, key: bytes) -> Desired:
    """Return the write of the key for seals, created once. Its loss only prevents adoption after a restore."""
    return _secret_key(seal_key_ref(config), SEAL_KEY_TYPE, key)


def plan_another_seal_key(config: Config, existing: Existing, key: bytes) -> Desired:
    """Return the write that replaces the seal key and records the request for it, in one step."""
    first = plan_seal_key(config, key)
    entries = {**first.entries, ROTATE_ENTRY: existing.annotations[ROTATE_ANNOTATION].encode()}
    return replace(first, entries=entries, replaces=existing)


def asks_for_another_key(existing: Existing) -> bool:
    """Whether its annotation `scopewright.dev/rotate` has another value than when the key was created."""
    requested = existing.annotations.get(ROTATE_ANNOTATION, "")
    return requested != "" and existing.entries.get(ROTATE_ENTRY) != digest(requested)


def plan_nonce_key(config: Config, key: bytes) -> Desired:
    """Return the write of the issuers' key for DPoP nonces. A replacement costs each client one retry."""
    return _secret_key(nonce_key_ref(config), NONCE_KEY_TYPE, key)


def _secret_key(ref: Ref, type_: str, key: bytes) -> Desired:
    return Desired(ref, type=type_, entries={KEY_ENTRY: key}, labels={MANAGED_BY: MANAGER})


def usage_ref(config: Config) -> Ref:
    return Ref("ConfigMap", config.namespace, USAGE_NAME)


def plan_usage(config: Config, now: datetime) -> Desired:
    """Return the write of the empty usage record. Issuers update it from then on."""
    return config_map_write(usage_ref(config), "usage", UsageRecord(since=now))


def revocations_ref(config: Config) -> Ref:
    return Ref("ConfigMap", config.namespace, REVOCATIONS_NAME)


def plan_revocations(config: Config) -> Desired:
    """Return the write of the empty revocation record. Issuers update it from then on."""
    record = RevocationRecord(longest_lifetime=config.issuer_record().max_token_lifetime)
    return config_map_write(revocations_ref(config), "revocations", record)


def seal_key(existing: Existing, entries: Mapping[str, bytes]) -> bytes:
    key = entries.get(KEY_ENTRY, b"")
    if existing.type != SEAL_KEY_TYPE or len(key) < KEY_BYTES:
        raise Rejected("SealKeyConflict", f"{existing.ref} is not a seal key: delete it, and the operator creates one")
    return key


def default_signing_key(config: Config) -> dict[str, Any]:
    """Return the SigningKey that an installation needs from the start."""
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
