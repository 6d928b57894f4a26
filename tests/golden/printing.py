"""A plan as the YAML that a golden case expects."""

import json
from typing import Any, cast

from scopewright.core.client.seal import seal
from scopewright.core.config import Config
from scopewright.core.objects import (
    DELETION_POLICY_ANNOTATION,
    ISSUE_TIME_ANNOTATION,
    PUBLIC_KEY_ANNOTATION,
    ROTATE_DIGEST_ANNOTATION,
    SEAL_ANNOTATION,
    Deletion,
    Desired,
    Existing,
    PreservedEntry,
    Ref,
    Write,
)
from scopewright.core.plan import Plan
from scopewright.core.records.fields import rfc3339
from scopewright.core.records.names import ENTRY
from scopewright.core.signing.jwks import JWKS_ENTRY
from tests.golden.existing import SEAL_KEY
from tests.golden.names import Names
from tests.golden.yaml_text import Yaml


class PlanPrinter:
    """Prints plans for the object `key`. Seals are checked, and `verifies` is printed in their place."""

    def __init__(self, key: Ref, config: Config, names: Names) -> None:
        self._key = key
        self._config = config
        self._names = names

    def printed(self, plan: Plan) -> Yaml:
        printed: Yaml = {}
        if plan.writes:
            printed["writes"] = [self._write(write) for write in plan.writes]
        if plan.events:
            printed["events"] = [
                {"reason": event.reason, "message": event.message} | ({"warning": True} if event.warning else {})
                for event in plan.events
            ]
        if plan.status is not None:
            printed["status"] = plan.status
        if plan.due:
            printed["due"] = rfc3339(plan.due)
        return cast("Yaml", self._names.shown(printed))

    def _write(self, write: Write) -> Yaml:
        if isinstance(write, Deletion):
            return {"delete": str(write.existing.ref)}
        printed: Yaml = {"replace" if write.replaces else "create": self._ref(write)}
        if write.type:
            printed["type"] = write.type
        if write.labels:
            printed["labels"] = dict(write.labels)
        if write.annotations:
            printed["annotations"] = dict(write.annotations)
            if SEAL_ANNOTATION in write.annotations:
                printed["annotations"][SEAL_ANNOTATION] = self._checked_seal(write)
        if write.owner:
            printed["owner"] = f"{write.owner.kind} {write.owner.name} {write.owner.uid}"
        if write.replaces and (removed := _removed(write, write.replaces)):
            printed["removes"] = removed
        printed["entries"] = {name: _entry(name, value) for name, value in write.entries.items()}
        return printed

    def _ref(self, write: Desired) -> str:
        ref = write.ref
        key = self._names.of_key_record(ref.name)
        return f"{ref.kind} {ref.namespace}/record of key {key}" if key else str(ref)

    def _checked_seal(self, write: Desired) -> str:
        issue_time, public = (write.annotations.get(a, "") for a in (ISSUE_TIME_ANNOTATION, PUBLIC_KEY_ANNOTATION))
        client = f"{self._key.namespace}.{self._key.name}"
        retained = DELETION_POLICY_ANNOTATION in write.annotations
        rotate = write.annotations.get(ROTATE_DIGEST_ANNOTATION, "")
        digests = write.digests()
        expected = seal(
            SEAL_KEY, self._config.issuer, client, issue_time, digests, public, retained=retained, rotate=rotate
        )
        return "verifies" if write.annotations[SEAL_ANNOTATION] == expected else "DOES NOT VERIFY"


def _entry(name: str, value: bytes | PreservedEntry) -> Any:
    """A record as YAML, a JWKS as its kids, an entry that is preserved as `kept`."""
    if isinstance(value, PreservedEntry):
        return f"kept {value.entry}"
    if name == ENTRY:
        return json.loads(value)
    if name == JWKS_ENTRY:
        return [key["kid"] for key in json.loads(value)["keys"]]
    return value.decode()


def _removed(write: Desired, existing: Existing) -> list[str]:
    return [
        *(f"label {key}" for key in sorted(write.without_labels & existing.labels.keys())),
        *(f"annotation {key}" for key in sorted(write.without_annotations & existing.annotations.keys())),
        *(f"owner {uid}" for uid in existing.owner_uids if uid == write.without_owner),
    ]
