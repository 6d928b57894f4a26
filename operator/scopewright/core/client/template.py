"""Labels and annotations of `secretTemplate`. Those that are removed from the template are removed from the Secret.

An annotation of the Secret lists the keys that came from the template. Labels and annotations of other owners are not
in that list, and stay.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import replace

from scopewright.api.credentials import SecretTemplate
from scopewright.api.names import MAX_ITEMS
from scopewright.core.objects import TEMPLATE_ANNOTATION, Desired
from scopewright.strict_json import json_object

_OWN_PREFIX = "scopewright.dev/"


def with_template(desired: Desired, template: SecretTemplate) -> Desired:
    """Remove the labels and annotations of earlier templates from the Secret, which has those of `template` already."""
    before = _listed(desired.replaces.annotations if desired.replaces else {})
    now = {"annotations": sorted(template.annotations), "labels": sorted(template.labels)}
    listed = {TEMPLATE_ANNOTATION: json.dumps(now, separators=(",", ":"))} if any(now.values()) else {}
    annotations = {**desired.annotations, **listed}
    unused = frozenset() if listed else frozenset({TEMPLATE_ANNOTATION})
    return replace(
        desired,
        annotations=annotations,
        without_labels=_dropped(before.get("labels"), desired.labels),
        without_annotations=desired.without_annotations | _dropped(before.get("annotations"), annotations) | unused,
    )


def keys_of_template(annotations: Mapping[str, str]) -> dict[str, list[str]]:
    """Return the keys that a Secret has from its template, at most as many as a template may have."""
    listed = _listed(annotations)
    lists = {what: keys if isinstance(keys := listed.get(what), list) else [] for what in ("labels", "annotations")}
    return {what: [k for k in keys if isinstance(k, str)][:MAX_ITEMS] for what, keys in lists.items()}


def _listed(annotations: Mapping[str, str]) -> dict[str, object]:
    """Return the content of the annotation; empty if an edit made it malformed."""
    try:
        return json_object(annotations.get(TEMPLATE_ANNOTATION, "{}").encode())
    except ValueError:
        return {}


def _dropped(listed: object, wanted: Iterable[str]) -> frozenset[str]:
    keys = {key for key in listed if isinstance(key, str)} if isinstance(listed, list) else set()
    return frozenset(key for key in keys - set(wanted) if not key.startswith(_OWN_PREFIX))
