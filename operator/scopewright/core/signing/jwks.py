"""The ConfigMap that publishes keys: the union of the SigningKeys that share it. No plan reads keys from it."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from scopewright.core.config import Config
from scopewright.core.failures import Rejected
from scopewright.core.objects import MANAGED_BY, MANAGER, Desired, Existing, Ref, Write
from scopewright.core.records.names import CONFIG_MAP_PREFIXES, ISSUER_NAME, RECORD_LABEL, WRITTEN_BY_ISSUERS
from scopewright.core.records.signing_key import KeyRecord

JWKS_ENTRY: Final = "jwks.json"


@dataclass(frozen=True, slots=True)
class StoredKey:
    """A key's existing record. `has_private_key` is true if its private key exists and matches."""

    record: KeyRecord
    existing: Existing
    has_private_key: bool


def publication(
    name: str, existing: Existing | None, keys: Iterable[StoredKey], config: Config, now: datetime
) -> tuple[Write, ...]:
    """Return the write that publishes the keys in ConfigMap `name`, if needed; `Rejected` if it has another use."""
    if _is_reserved(name) or (existing and not _publishes(existing)):
        message = f"ConfigMap {name} is not for a JWKS: delete it, or choose another spec.jwks.configMapName"
        raise Rejected("ConfigMapConflict", message)
    write = Desired(
        ref=Ref("ConfigMap", config.namespace, name),
        entries={JWKS_ENTRY: jwks(keys, name, now)},
        labels={MANAGED_BY: MANAGER},
        replaces=existing,
    )
    return () if write.changes_nothing else (write,)


def jwks(keys: Iterable[StoredKey], config_map: str, now: datetime) -> bytes:
    """Return the JWKS of the keys that share the ConfigMap, oldest first, with the same bytes for equal keys."""
    records = [k.record for k in keys if k.record.config_map == config_map and k.record.published_at(now)]
    ordered = sorted(records, key=lambda r: (r.creation_time, r.kid))
    return json.dumps({"keys": [r.jwk for r in ordered]}, indent=1, sort_keys=True).encode()


def _is_reserved(name: str) -> bool:
    """Whether the name is reserved: a JWKS would block a record of that name."""
    return name.startswith(CONFIG_MAP_PREFIXES) or name in (ISSUER_NAME, *WRITTEN_BY_ISSUERS)


def _publishes(existing: Existing) -> bool:
    """Whether it is a JWKS of Scopewright, even if it was edited or lost its label."""
    if RECORD_LABEL in existing.labels:
        return False
    return existing.labels.get(MANAGED_BY) == MANAGER or set(existing.entries) == {JWKS_ENTRY}
