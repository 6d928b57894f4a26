"""Objects of an installation itself: issuer record, its keys, shared records, a first SigningKey."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, Final

from scopewright.api import API_VERSION
from scopewright.api.login import ID_TOKENS
from scopewright.core.client.seal import KEY_BYTES
from scopewright.core.config import Config
from scopewright.core.failures import Rejected
from scopewright.core.objects import (
    MANAGED_BY,
    MANAGER,
    ROTATE_ANNOTATION,
    Desired,
    Existing,
    PreservedEntry,
    Ref,
    digest,
)
from scopewright.core.records.codec import config_map_write
from scopewright.core.records.fields import rfc3339
from scopewright.core.records.names import (
    ISSUE_TIME_ENTRY,
    ISSUER_NAME,
    KEY_ENTRY,
    MAX_PREVIOUS_KEYS,
    NONCE_KEY_NAME,
    NONCE_KEY_TYPE,
    REVOCATIONS_NAME,
    ROTATE_ENTRY,
    SEAL_KEY_NAME,
    SEAL_KEY_TYPE,
    SESSION_KEY_NAME,
    SESSION_KEY_TYPE,
    USAGE_NAME,
    previous_key_entry,
)
from scopewright.core.records.written_by_issuers import RevocationRecord, UsageRecord

DEFAULT_SIGNING_KEY: Final = "default"
SESSION_KEY_LIFETIME: Final = timedelta(days=30)
"""After it, another session key seals. The one before opens what it has sealed."""


def issuer_ref(config: Config) -> Ref:
    return Ref("ConfigMap", config.namespace, ISSUER_NAME)


def seal_key_ref(config: Config) -> Ref:
    return Ref("Secret", config.namespace, SEAL_KEY_NAME)


def nonce_key_ref(config: Config) -> Ref:
    return Ref("Secret", config.namespace, NONCE_KEY_NAME)


def session_key_ref(config: Config) -> Ref:
    return Ref("Secret", config.namespace, SESSION_KEY_NAME)


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


def plan_session_key(config: Config, key: bytes, now: datetime) -> Desired:
    """Return the write of the first key that seals what issuers store for users. Its loss ends all sessions."""
    first = _secret_key(session_key_ref(config), SESSION_KEY_TYPE, key)
    return replace(first, entries={**first.entries, ISSUE_TIME_ENTRY: rfc3339(now).encode()})


def plan_another_session_key(config: Config, existing: Existing, key: bytes, now: datetime) -> Desired:
    """Return the write that adds a session key. The keys before it stay, except the oldest beyond MAX_PREVIOUS_KEYS."""
    first = plan_session_key(config, key, now)
    before = [KEY_ENTRY, *map(previous_key_entry, range(1, MAX_PREVIOUS_KEYS))]
    entries: dict[str, bytes | PreservedEntry] = {
        previous_key_entry(number): PreservedEntry(entry, existing.entries[entry])
        for number, entry in enumerate(before, start=1)
        if entry in existing.entries
    }
    if requested := existing.annotations.get(ROTATE_ANNOTATION, ""):
        entries[ROTATE_ENTRY] = requested.encode()
    return replace(first, entries={**first.entries, **entries}, replaces=existing)


def needs_another_session_key(existing: Existing, entries: Mapping[str, bytes], now: datetime) -> bool:
    """Whether the key is old or its annotation asks for another one. Raise `Rejected` if it is not a session key."""
    if existing.type != SESSION_KEY_TYPE or len(entries.get(KEY_ENTRY, b"")) < KEY_BYTES:
        raise Rejected(
            "SessionKeyConflict",
            f"{existing.ref} is not a session key: delete it, and the operator creates one; users log in again",
        )
    if asks_for_another_key(existing):
        return True
    try:
        issued = datetime.fromisoformat(entries[ISSUE_TIME_ENTRY].decode("ascii"))
        return issued + SESSION_KEY_LIFETIME <= now
    except (KeyError, ValueError, TypeError, OverflowError):  # it was edited
        return True


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
    return _signing_key(config, DEFAULT_SIGNING_KEY)


def id_token_signing_key(config: Config) -> dict[str, Any]:
    """Return the SigningKey of ID tokens: RS256, which every OpenID Connect client accepts (Core §15.1), and which
    profile FAPI2 forbids (§5.4.1).
    """
    return _signing_key(config, ID_TOKENS, algorithm="ES256" if config.profile == "FAPI2" else "RS256")


def id_token_key_ref(config: Config) -> Ref:
    return Ref("SigningKey", config.namespace, ID_TOKENS)


def _signing_key(config: Config, name: str, **spec: str) -> dict[str, Any]:
    return {
        "apiVersion": API_VERSION,
        "kind": "SigningKey",
        "metadata": {"name": name, "namespace": config.namespace, "labels": {MANAGED_BY: MANAGER}},
        "spec": {"issuer": config.name, **spec},
    }
