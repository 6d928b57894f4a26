"""Parts that all five kinds share: group and version, base model, metadata, conditions."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema, model_validator
from pydantic.alias_generators import to_camel

from scopewright.api.names import DNS_LABEL, MAX_ITEMS, Label
from scopewright.api.rules import ISSUER_IMMUTABLE, CelRule
from scopewright.api.times import TIMESTAMP_PATTERN, Timestamp

GROUP = "scopewright.dev"
VERSION = "v1alpha1"
API_VERSION: Literal["scopewright.dev/v1alpha1"] = "scopewright.dev/v1alpha1"
CATEGORY = "oauth"

MAX_HISTORY = 10
MAX_HISTORY_MESSAGE = 1024
"""Length limit of the message in a history entry, in characters. The condition and the event have the full message."""
MAX_MESSAGE = 32768


@dataclass(frozen=True)
class Column:
    """One printer column (`additionalPrinterColumns`). A wide column is shown by `kubectl get -o wide` only.

    A time in the future has type `string`: kubectl prints a future `date` as `<invalid>`.
    """

    name: str
    json_path: str
    description: str
    type: Literal["string", "integer", "date"] = "string"
    wide: bool = False


class Model(BaseModel):
    """Base model of every part of a manifest: frozen, snake_case in Python, camelCase in JSON, unknown fields ignored.

    Errors never quote the input: it may be a private key in the place of a public one.
    """

    model_config = ConfigDict(
        frozen=True,
        alias_generator=to_camel,
        populate_by_name=True,
        serialize_by_alias=True,
        extra="ignore",
        hide_input_in_errors=True,
    )

    RULES: ClassVar[tuple[CelRule, ...]] = ()

    def __deepcopy__(self, memo: Any = None) -> Self:
        """Return the object itself: it is frozen. pydantic copies a default for each object that has it, which
        takes time and memory of each declared object.
        """
        return self

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form that is sent to the API server: camelCase names, without members that are None."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)


class ObjectMeta(Model):
    """The part of an object's metadata that Scopewright reads."""

    name: str
    namespace: str | None = None
    uid: str | None = None
    resource_version: str | None = None
    generation: int | None = None
    creation_timestamp: Timestamp | None = None
    deletion_timestamp: Timestamp | None = None
    finalizers: list[str] = Field(default_factory=list)
    more_finalizers: int = Field(default=0, exclude=True)
    """Number of finalizers that are not in `finalizers`, where the list was cut."""
    labels: dict[str, str] = Field(default_factory=dict)
    annotations: dict[str, str] = Field(default_factory=dict)
    applied_time: Timestamp | None = Field(default=None, exclude=True)
    """Time of the last change to anything except the status, in whole seconds."""

    @model_validator(mode="before")
    @classmethod
    def _from_managed_fields(cls, data: Any) -> Any:
        """Set `applied_time` from `managedFields`, the only place where the API server records it."""
        if not isinstance(data, dict) or "managedFields" not in data:
            return data
        return without_managed_fields(data)


def without_managed_fields(meta: Mapping[str, Any]) -> dict[str, Any]:
    """The metadata with what `ObjectMeta` reads from `managedFields` in place of them: they are half of an object."""
    times = [m["time"] for m in meta["managedFields"] or () if _has_time(m) and not m.get("subresource")]
    kept = {name: value for name, value in meta.items() if name != "managedFields"}
    return {**kept, "appliedTime": max(times, default=meta.get("creationTimestamp"))}


def _has_time(entry: Mapping[str, Any]) -> bool:
    """Whether a time can be read. Clients write these entries too, and no object may be unreadable because of one."""
    time = entry.get("time")
    return isinstance(time, str) and re.fullmatch(TIMESTAMP_PATTERN, time) is not None


class Condition(Model):
    """One aspect of the state of the object, as last observed."""

    type: Annotated[str, Field(max_length=316)]
    """Type of the condition, such as Ready."""
    status: Literal["True", "False", "Unknown"]
    """Status of the condition: True, False or Unknown."""
    reason: Annotated[str, Field(max_length=1024)]
    """Machine-readable reason for the status, in CamelCase."""
    message: Annotated[str, Field(max_length=MAX_MESSAGE)] = ""
    """Human-readable reason for the status, and what to do about it."""
    observed_generation: int | None = None
    """metadata.generation for which the condition was set. Not set before the first observation."""
    last_transition_time: Timestamp | None = None
    """Time at which the status last changed."""


class HistoryEntry(Model):
    """One event in the life of the object. Kubernetes deletes Events after an hour by default; the history stays."""

    time: Timestamp
    """Time of the event."""
    reason: Annotated[str, Field(max_length=1024)]
    """Machine-readable reason of the event, in CamelCase."""
    message: Annotated[str, Field(max_length=MAX_MESSAGE)] = ""
    """Human-readable description of the event."""


Conditions = Annotated[
    list[Condition],
    Field(
        max_length=MAX_ITEMS,
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]},
    ),
]
History = Annotated[list[HistoryEntry], Field(max_length=MAX_HISTORY)]


class Spec(Model):
    """Fields of every kind's spec."""

    RULES: ClassVar[tuple[CelRule, ...]] = (ISSUER_IMMUTABLE,)

    issuer: Label = "default"
    """Name of the Scopewright installation that manages this object; other installations ignore it. Immutable.
    Defaults to "default"."""


class Status(Model):
    """Fields of every kind's status."""

    observed_generation: int | None = None
    """metadata.generation that this status describes. Not set before the first observation."""
    history: History = Field(default_factory=list)
    """Last ten events of this object, oldest first."""
    conditions: Conditions = Field(default_factory=list)
    """Conditions of this object, beginning with Ready."""


PENDING_STATUS: dict[str, Any] = {
    "conditions": [
        {
            "type": "Ready",
            "status": "Unknown",
            "reason": "Pending",
            "message": "Waiting for the operator",
            # A default cannot contain the current time; the Gateway API uses the epoch too.
            "lastTransitionTime": "1970-01-01T00:00:00Z",
        }
    ]
}
"""Default status of a new object. Without a status, kstatus and Argo CD would report the object as healthy."""

READY_COLUMNS = (
    Column("Ready", '.status.conditions[?(@.type=="Ready")].status', "Status of the condition Ready."),
    Column("Reason", '.status.conditions[?(@.type=="Ready")].reason', "Reason of the condition Ready."),
)
AGE_COLUMN = Column("Age", ".metadata.creationTimestamp", "Time since the object was created.", type="date")

# The root schema may give no more than the type of these fields: the API server validates them itself.
ApiVersion = Annotated[Literal["scopewright.dev/v1alpha1"], WithJsonSchema({"type": "string"})]
Metadata = Annotated[ObjectMeta, WithJsonSchema({"type": "object"})]


class Kind(Model):
    """Base model of the five kinds."""

    KIND: ClassVar[str]
    PLURAL: ClassVar[str]
    SINGULAR: ClassVar[str]
    SHORT_NAMES: ClassVar[tuple[str, ...]]
    COLUMNS: ClassVar[tuple[Column, ...]]
    """Printer columns; the first two of every kind are Ready and Reason."""
    SELECTABLE: ClassVar[tuple[str, ...]] = (".spec.issuer",)
    """Field paths that `kubectl get --field-selector` supports."""

    RULES = (
        CelRule(
            "name-is-a-dns-label",
            f"size(self.metadata.name) <= 63 && self.metadata.name.matches('{DNS_LABEL}')",
            "metadata.name must be a DNS label: at most 63 lower-case letters, digits and '-', beginning and ending "
            "with a letter or digit; rename the object, with '-' in place of '.'",
        ),
    )

    api_version: ApiVersion = API_VERSION
    """API group and version: scopewright.dev/v1alpha1."""
    kind: str
    """Kind of the object."""
    metadata: Metadata
    """Standard object metadata. The name must be a DNS label of at most 63 characters."""
    spec: Spec
    """Desired state."""
    status: Status | None = None
    """Observed state. Written by the operator only."""

    @property
    def name(self) -> str:
        return self.metadata.name

    @property
    def namespace(self) -> str:
        """Namespace of the object; `default` if the manifest has none, as in kubectl."""
        return self.metadata.namespace or "default"

    @property
    def uid(self) -> str:
        """metadata.uid; empty for a manifest that is not stored yet."""
        return self.metadata.uid or ""

    def condition(self, type_: str) -> Condition | None:
        """Return the condition of that type, or None if the status does not have it."""
        return next((c for c in (self.status.conditions if self.status else ()) if c.type == type_), None)
