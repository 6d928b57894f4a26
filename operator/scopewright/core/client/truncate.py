"""Limits of what stays in memory of a tenant's Secret: tenants choose its owners, entries, labels and annotations.

A Secret is read again in full before a write, so that parts which are dropped here stay unchanged in the cluster.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from itertools import islice
from typing import Final

from scopewright.api.credentials import SecretKeys
from scopewright.api.names import MAX_ITEMS
from scopewright.core.client.credentials import SECRET_TYPE
from scopewright.core.client.template import keys_of_template
from scopewright.core.objects import (
    CLIENT_LABEL,
    DELETION_POLICY_ANNOTATION,
    ISSUE_TIME_ANNOTATION,
    MANAGED_BY,
    PUBLIC_KEY_ANNOTATION,
    ROTATE_DIGEST_ANNOTATION,
    SEAL_ANNOTATION,
    TEMPLATE_ANNOTATION,
    Existing,
)

MAX_ENTRIES: Final = 32
"""More entries than a credential Secret ever has."""
MAX_OWNERS: Final = 32
MAX_UID: Final = 64
MAX_MANAGERS: Final = 10
MAX_VALUE: Final = 8192
"""Characters of a Scopewright annotation; more than the longest public key has."""
MAX_TEMPLATE: Final = 2 * MAX_ITEMS * 300
"""Characters of the list of the template's keys; each key has at most 253, and quotation marks."""
MAX_TEMPLATE_VALUE: Final = 1024
"""Characters of an annotation that `secretTemplate` may set."""
MAX_OTHERS: Final = 8192
"""Characters of labels, and of annotations, that are neither Scopewright's nor the template's."""

_ENTRIES: Final = tuple(str(name) for name in SecretKeys().model_dump().values())


def truncate_secret(existing: Existing) -> Existing:
    """Return the Secret with type, owners and version; a credential Secret also with entries, with the labels and
    annotations of Scopewright and of its template, and some others. A truncated value equals no value that is written.
    """
    owners = tuple(uid[: MAX_UID + 1] for uid in existing.owner_uids[:MAX_OWNERS])
    if existing.type != SECRET_TYPE:
        labels = {k: v for k, v in existing.labels.items() if k == MANAGED_BY}
        return replace(existing, owner_uids=owners, labels=labels, annotations={}, entries={}, managers=())
    own = {k: _truncate(k, v) for k, v in existing.annotations.items() if k in _OWN_ANNOTATIONS}
    template = keys_of_template(own)
    annotations = {k: v[: MAX_TEMPLATE_VALUE + 1] for k, v in existing.annotations.items() if k not in own}
    return replace(
        existing,
        owner_uids=owners,
        labels=_some(existing.labels, (MANAGED_BY, CLIENT_LABEL, *template["labels"])),
        annotations={**_some(annotations, template["annotations"]), **own},
        entries=_entries(existing.entries),
        managers=existing.managers[:MAX_MANAGERS],
    )


_OWN_ANNOTATIONS: Final = (
    SEAL_ANNOTATION,
    ISSUE_TIME_ANNOTATION,
    PUBLIC_KEY_ANNOTATION,
    ROTATE_DIGEST_ANNOTATION,
    DELETION_POLICY_ANNOTATION,
    TEMPLATE_ANNOTATION,
)


def _some(items: Mapping[str, str], first: Iterable[str]) -> dict[str, str]:
    """Return the items with the keys `first`, and others up to `MAX_OTHERS` characters."""
    kept, room = {k: items[k] for k in first if k in items}, MAX_OTHERS
    for key, value in items.items():
        if key not in kept and (room := room - len(key) - len(value)) >= 0:
            kept[key] = value
        elif room < 0:
            break
    return kept


def _truncate(key: str, value: str) -> str:
    return value[: MAX_TEMPLATE if key == TEMPLATE_ANNOTATION else MAX_VALUE]


def _entries(entries: Mapping[str, str]) -> Mapping[str, str]:
    """Return all entries, up to the number that a credential Secret can have; beyond that, the usual names first."""
    if len(entries) <= MAX_ENTRIES:
        return entries
    usual = {name: entries[name] for name in _ENTRIES if name in entries}
    others = ((name, sha256) for name, sha256 in entries.items() if name not in usual)
    return {**usual, **dict(islice(others, MAX_ENTRIES - len(usual)))}
