"""What all four kinds share: the group's name, the base model, metadata, conditions."""

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema, model_validator
from pydantic.alias_generators import to_camel

from scopewright.api.names import DNS_LABEL, MAX_ITEMS, Label
from scopewright.api.rules import ISSUER_IMMUTABLE, Rule
from scopewright.api.times import Duration as Duration
from scopewright.api.times import Timestamp as Timestamp
from scopewright.api.times import format_duration as format_duration
from scopewright.api.times import format_timestamp as format_timestamp
from scopewright.api.times import parse_duration as parse_duration

GROUP = "scopewright.dev"
VERSION = "v1alpha1"
API_VERSION: Literal["scopewright.dev/v1alpha1"] = "scopewright.dev/v1alpha1"
CATEGORY = "oauth"

MAX_HISTORY = 10
MAX_HISTORY_MESSAGE = 1024
"""Characters of a line of the history; the condition and the event have the whole message."""
MAX_MESSAGE = 32768


@dataclass(frozen=True)
class Column:
    """One printer column. An instant in the future is a `string`: kubectl prints a future `date` as `<invalid>`."""

    name: str
    json_path: str
    description: str
    type: Literal["string", "integer", "date"] = "string"
    wide: bool = False


class Model(BaseModel):
    """Base of everything in a manifest: frozen, snake_case in Python, camelCase outside, deaf to unknown fields.

    Errors never quote the input, which may be a private key that somebody put where a public one belongs.
    """

    model_config = ConfigDict(
        frozen=True,
        alias_generator=to_camel,
        populate_by_name=True,
        serialize_by_alias=True,
        extra="ignore",
        hide_input_in_errors=True,
        use_attribute_docstrings=True,
    )

    RULES: ClassVar[tuple[Rule, ...]] = ()

    def to_dict(self) -> dict[str, Any]:
        """As it goes to the API server: JSON types, camelCase, nothing that is None."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)


class ObjectMeta(Model):
    """The part of an object's metadata that we read."""

    name: str
    namespace: str | None = None
    uid: str | None = None
    resource_version: str | None = None
    generation: int | None = None
    creation_timestamp: Timestamp | None = None
    deletion_timestamp: Timestamp | None = None
    finalizers: list[str] = Field(default_factory=list)
    more_finalizers: int = Field(default=0, exclude=True)
    """How many there are besides `finalizers`, where not all of them are kept."""
    labels: dict[str, str] = Field(default_factory=dict)
    annotations: dict[str, str] = Field(default_factory=dict)
    applied_time: Timestamp | None = Field(default=None, exclude=True)
    """When anything but the status was last changed, to the second."""

    @model_validator(mode="before")
    @classmethod
    def _from_managed_fields(cls, data: Any) -> Any:
        """The API server says so only by who manages which fields since when."""
        if not isinstance(data, dict) or "managedFields" not in data:
            return data
        times = [m["time"] for m in data["managedFields"] or () if m.get("time") and not m.get("subresource")]
        return {**data, "appliedTime": max(times, default=data.get("creationTimestamp"))}


class Condition(Model):
    """One aspect of the object's state, as it was last observed."""

    type: Annotated[str, Field(max_length=316)]
    """Name of the condition, such as Ready."""
    status: Literal["True", "False", "Unknown"]
    """True, False or Unknown."""
    reason: Annotated[str, Field(max_length=1024)]
    """Why, in one CamelCase word for programs."""
    message: Annotated[str, Field(max_length=MAX_MESSAGE)] = ""
    """Why, and what to do about it, for people."""
    observed_generation: int | None = None
    """The metadata.generation that this was observed of. Left out: not yet observed."""
    last_transition_time: Timestamp | None = None
    """When the status last changed."""


class HistoryEntry(Model):
    """One thing that happened to the object; kept because events are gone after an hour."""

    time: Timestamp
    """When it happened."""
    reason: Annotated[str, Field(max_length=1024)]
    """What happened, in one CamelCase word for programs."""
    message: Annotated[str, Field(max_length=MAX_MESSAGE)] = ""
    """What happened, for people."""


Conditions = Annotated[
    list[Condition],
    Field(
        max_length=MAX_ITEMS,
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]},
    ),
]
History = Annotated[list[HistoryEntry], Field(max_length=MAX_HISTORY)]


class Spec(Model):
    """What every kind's spec holds."""

    RULES: ClassVar[tuple[Rule, ...]] = (ISSUER_IMMUTABLE,)

    issuer: Label = "default"
    """Which Scopewright installation serves this object; the others ignore it. Immutable. Left out: default."""


class Status(Model):
    """What every kind's status holds."""

    observed_generation: int | None = None
    """The metadata.generation that this status describes. Left out: none has been looked at yet."""
    history: History = Field(default_factory=list)
    """The last ten things that happened to this object, oldest first."""
    conditions: Conditions = Field(default_factory=list)
    """The state of this object: Ready first of all."""


PENDING_STATUS: dict[str, Any] = {
    "conditions": [
        {
            "type": "Ready",
            "status": "Unknown",
            "reason": "Pending",
            "message": "Waiting for the operator",
            # A default cannot know the time; the epoch is what the Gateway API's kinds say too.
            "lastTransitionTime": "1970-01-01T00:00:00Z",
        }
    ]
}
"""The status of an object nobody has looked at: without one, kstatus and Argo CD would count it as done."""

READY_COLUMNS = (
    Column("Ready", '.status.conditions[?(@.type=="Ready")].status', "Whether the object is in working order."),
    Column("Reason", '.status.conditions[?(@.type=="Ready")].reason', "Why it is, or is not."),
)
AGE_COLUMN = Column("Age", ".metadata.creationTimestamp", "Time since the object was created.", type="date")

# Of these the root schema may say nothing but their type: the API server checks them by itself.
ApiVersion = Annotated[Literal["scopewright.dev/v1alpha1"], WithJsonSchema({"type": "string"})]
Metadata = Annotated[ObjectMeta, WithJsonSchema({"type": "object"})]


class Kind(Model):
    """Base of the four kinds."""

    KIND: ClassVar[str]
    PLURAL: ClassVar[str]
    SINGULAR: ClassVar[str]
    SHORT_NAMES: ClassVar[tuple[str, ...]]
    COLUMNS: ClassVar[tuple[Column, ...]]
    """Printer columns; the first two of every kind are Ready and Reason."""
    SELECTABLE: ClassVar[tuple[str, ...]] = (".spec.issuer",)
    """What `kubectl get --field-selector` can choose by."""

    RULES = (
        Rule(
            "name-is-a-dns-label",
            f"size(self.metadata.name) <= 63 && self.metadata.name.matches('{DNS_LABEL}')",
            "metadata.name must be a DNS label: at most 63 lower-case letters, digits and '-', beginning and ending "
            "with a letter or digit; rename the object, and write '-' for '.'",
        ),
    )

    api_version: ApiVersion = API_VERSION
    """Version of the API that this manifest is written for: scopewright.dev/v1alpha1."""
    kind: str
    """Which of the four kinds this object is."""
    metadata: Metadata
    """Standard object metadata. The name must be a DNS label of at most 63 characters."""
    spec: Spec
    """What is asked for."""
    status: Status | None = None
    """What the operator found and did. Written by the operator alone."""

    @property
    def name(self) -> str:
        return self.metadata.name

    @property
    def namespace(self) -> str:
        """`default` where a manifest names none, as kubectl has it."""
        return self.metadata.namespace or "default"

    @property
    def uid(self) -> str:
        """Who the object is. Empty for a manifest that no store has accepted yet."""
        return self.metadata.uid or ""

    def condition(self, type_: str) -> Condition | None:
        """The condition of that type, if the status has one."""
        return next((c for c in (self.status.conditions if self.status else ()) if c.type == type_), None)
