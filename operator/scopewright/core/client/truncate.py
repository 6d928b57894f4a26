"""What stays in memory of a Secret in a namespace of tenants: they choose its owners, entries, labels and annotations.

All of a Secret is read again before it is written; what is not kept here stays in the cluster as it is.
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
"""More than a credential Secret ever has: no seal covers so many."""
MAX_OWNERS: Final = 32
MAX_UID: Final = 64
MAX_MANAGERS: Final = 10
MAX_VALUE: Final = 8192
"""Characters of an annotation of our own; more than the longest public key has."""
MAX_TEMPLATE: Final = 2 * MAX_ITEMS * 300
"""Characters of the list of the template's keys, of which each has 253 and a pair of quotation marks."""
MAX_TEMPLATE_VALUE: Final = 1024
"""Characters of an annotation that `secretTemplate` may set."""
MAX_OTHERS: Final = 8192
"""Characters of labels, and of annotations, that are neither ours nor the template's."""

_ENTRIES: Final = tuple(str(name) for name in SecretKeys().model_dump().values())


def truncate_secret(existing: Existing) -> Existing:
    """Type, owners and version; of a credential Secret also entries, the labels and annotations that are ours or its
    template's, and some others. What is cut short differs from anything that would be written.
    """
    owners = tuple(uid[: MAX_UID + 1] for uid in existing.owner_uids[:MAX_OWNERS])
    if existing.type != SECRET_TYPE:
        labels = {k: v for k, v in existing.labels.items() if k == MANAGED_BY}
        return replace(existing, owner_uids=owners, labels=labels, annotations={}, entries={}, managers=())
    ours = {k: _cut(k, v) for k, v in existing.annotations.items() if k in _KEPT}
    template = keys_of_template(ours)
    annotations = {k: v[: MAX_TEMPLATE_VALUE + 1] for k, v in existing.annotations.items() if k not in ours}
    return replace(
        existing,
        owner_uids=owners,
        labels=_some(existing.labels, (MANAGED_BY, CLIENT_LABEL, *template["labels"])),
        annotations={**_some(annotations, template["annotations"]), **ours},
        entries=_entries(existing.entries),
        managers=existing.managers[:MAX_MANAGERS],
    )


_KEPT: Final = (
    SEAL_ANNOTATION,
    ISSUE_TIME_ANNOTATION,
    PUBLIC_KEY_ANNOTATION,
    ROTATE_DIGEST_ANNOTATION,
    DELETION_POLICY_ANNOTATION,
    TEMPLATE_ANNOTATION,
)


def _some(given: Mapping[str, str], first: Iterable[str]) -> dict[str, str]:
    """Those of the keys `first`, and others up to `MAX_OTHERS`."""
    found, room = {k: given[k] for k in first if k in given}, MAX_OTHERS
    for key, value in given.items():
        if key not in found and (room := room - len(key) - len(value)) >= 0:
            found[key] = value
        elif room < 0:
            break
    return found


def _cut(key: str, value: str) -> str:
    return value[: MAX_TEMPLATE if key == TEMPLATE_ANNOTATION else MAX_VALUE]


def _entries(entries: Mapping[str, str]) -> Mapping[str, str]:
    """All, where there are no more than a credential Secret can have; otherwise those of the usual names first."""
    if len(entries) <= MAX_ENTRIES:
        return entries
    usual = {name: entries[name] for name in _ENTRIES if name in entries}
    others = ((name, sha256) for name, sha256 in entries.items() if name not in usual)
    return {**usual, **dict(islice(others, MAX_ENTRIES - len(usual)))}
