"""The keys that seal what the session store holds, as the operator's Secret has them."""

from datetime import datetime
from typing import Final

from scopewright.core.failures import Rejected
from scopewright.core.records.names import ISSUE_TIME_ENTRY, KEY_ENTRY, MAX_PREVIOUS_KEYS, previous_key_entry
from scopewright.stores import Entries
from scopewright.stores.sessions.sealed import MIN_KEY_BYTES, SessionKeys

PUBLICATION_SECONDS: Final = 300.0
"""A new key seals this long after its creation: until then other issuers may not have read it."""


def load_session_keys(entries: Entries) -> SessionKeys:
    """Raises `Rejected` if the current key is not a key. Malformed previous ones are ignored."""
    if len(current := entries.get(KEY_ENTRY, b"")) < MIN_KEY_BYTES:
        raise Rejected("MalformedRecord", f"it has no key of {MIN_KEY_BYTES} bytes")
    previous = (entries.get(previous_key_entry(number), b"") for number in range(1, MAX_PREVIOUS_KEYS + 1))
    return SessionKeys(
        current,
        tuple(key for key in previous if len(key) >= MIN_KEY_BYTES),
        current_since=_issue_time(entries) + PUBLICATION_SECONDS,
    )


def _issue_time(entries: Entries) -> float:
    try:
        return datetime.fromisoformat(entries[ISSUE_TIME_ENTRY].decode("ascii")).timestamp()
    except (KeyError, ValueError, OverflowError):
        return 0.0
