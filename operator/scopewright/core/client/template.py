"""Labels and annotations that `secretTemplate` gives a Secret: those that leave the template leave the Secret.

The Secret itself lists the keys that came from the template, in an annotation that is written together with them.
Labels and annotations of others are not in that list, and stay.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import replace

from scopewright.api.credentials import SecretTemplate
from scopewright.api.names import MAX_ITEMS
from scopewright.core.objects import TEMPLATE_ANNOTATION, Desired

_OURS = "scopewright.dev/"


def with_template(desired: Desired, template: SecretTemplate) -> Desired:
    """The Secret, which has the template's labels and annotations already, without those of earlier templates."""
    before = _listed(desired.replaces.annotations if desired.replaces else {})
    now = {"annotations": sorted(template.annotations), "labels": sorted(template.labels)}
    listed = {TEMPLATE_ANNOTATION: json.dumps(now, separators=(",", ":"))} if any(now.values()) else {}
    annotations = {**desired.annotations, **listed}
    over = frozenset() if listed else frozenset({TEMPLATE_ANNOTATION})
    return replace(
        desired,
        annotations=annotations,
        without_labels=_dropped(before.get("labels"), desired.labels),
        without_annotations=desired.without_annotations | _dropped(before.get("annotations"), annotations) | over,
    )


def keys_of_template(annotations: Mapping[str, str]) -> dict[str, list[str]]:
    """The keys that a Secret has from its template, as many of labels and annotations as a template may have."""
    listed = _listed(annotations)
    found = {what: keys if isinstance(keys := listed.get(what), list) else [] for what in ("labels", "annotations")}
    return {what: [k for k in keys if isinstance(k, str)][:MAX_ITEMS] for what, keys in found.items()}


def _listed(annotations: Mapping[str, str]) -> dict[str, object]:
    """What the annotation lists; nothing where it was edited into something else."""
    try:
        listed = json.loads(annotations.get(TEMPLATE_ANNOTATION, "{}"))
    except ValueError:
        return {}
    return listed if isinstance(listed, dict) else {}


def _dropped(listed: object, wanted: Iterable[str]) -> frozenset[str]:
    keys = {key for key in listed if isinstance(key, str)} if isinstance(listed, list) else set()
    return frozenset(key for key in keys - set(wanted) if not key.startswith(_OURS))
