"""Validate a manifest as an API server does, without one: defaults, structure, and the CEL rules of the CRDs.

One check is stricter: unknown fields are rejected, where an API server may drop them without an error, so that a
mistyped field in Git is reported. Transition rules need the old object too: see `validate_update`.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime
from difflib import get_close_matches
from functools import cache
from typing import Any, Final

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from scopewright.api import API_VERSION, KINDS, Kind
from scopewright.api.cel_rules import holds
from scopewright.api.meta import Model
from scopewright.api.names import LABEL_KEY, LABEL_VALUE, is_label
from scopewright.api.schema import Schema, StructuralSchema, structural_schema

Path = tuple[str | int, ...]

# Fields of metadata that API servers set and `kubectl get -o yaml` prints. They are allowed and ignored.
_SERVER_METADATA = frozenset(
    {"deletionGracePeriodSeconds", "finalizers", "generateName", "managedFields", "ownerReferences", "selfLink"}
)

# Reserved words of CEL. Kubernetes escapes properties with these names in rules: `namespace` is `__namespace__`.
_CEL_RESERVED = frozenset(
    {"true", "false", "null", "in", "as", "break", "const", "continue", "else", "for", "function", "if", "import"}
    | {"let", "loop", "package", "namespace", "return"}
)


@dataclass(frozen=True)
class Violation:
    """One error in a manifest: where it is, what is wrong, and how to fix it.

    `path` has the names of fields and the indexes of list items. `message` reads `what is wrong; what to do`, and never
    quotes the value: it may be secret.
    """

    path: Path
    message: str

    def __str__(self) -> str:
        where = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in self.path).removeprefix(".")
        return f"{where}: {self.message}" if where else self.message


def validate(manifest: object) -> list[Violation]:
    """Return all errors in one manifest, as a YAML or JSON parser returns it; an empty list if it is valid.

    Rules are evaluated only if the structure is valid, as an API server does. The status is not validated.
    """
    if not isinstance(manifest, dict):
        return [Violation((), "is not a manifest; write a mapping with apiVersion, kind, metadata and spec")]
    try:
        parsed = json.loads(json.dumps(manifest, default=_timestamp_text, allow_nan=False))
    except (TypeError, ValueError, RecursionError):
        return [Violation((), "contains a value that JSON cannot express, such as binary data or .nan; remove it")]
    if parsed.get("apiVersion") != API_VERSION:
        return [Violation(("apiVersion",), f"must be {API_VERSION}")]
    if parsed.get("kind") not in list(KINDS):
        return [Violation(("kind",), f"must be one of {', '.join(KINDS)}")]
    parsed.pop("status", None)
    return validate_part(KINDS[parsed["kind"]], parsed)


def validate_part(model: type[Model], part: dict[str, Any]) -> list[Violation]:
    """Return all errors in a manifest, or in a part of one that is used elsewhere, such as a JWKS in the platform's
    configuration. `part` has JSON types.
    """
    schema = _schema(model)
    complete = _with_defaults(schema, part)
    violations = [
        *_structure_violations(model, complete),
        *_metadata_violations(complete.get("metadata")),
        *_duplicate_items(schema, complete, ()),
    ]
    return violations or [*rule_violations(schema, complete, ())]


def validate_update(old: dict[str, Any], new: dict[str, Any]) -> list[Violation]:
    """Return the transition rules that an update from `old` to `new` breaks. Both are valid manifests of one kind."""
    schema = _schema(KINDS[new["kind"]])
    return [*_transition_violations(schema, _with_defaults(schema, old), _with_defaults(schema, new), ())]


@cache
def _schema(model: type[Model]) -> Schema:
    if not issubclass(model, Kind):
        return model.model_json_schema(schema_generator=StructuralSchema)
    schema = structural_schema(model)
    del schema["properties"]["status"]
    return schema


def _timestamp_text(value: object) -> str:
    """YAML parses an unquoted timestamp as a datetime; kubectl sends it as text."""
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    if isinstance(value, date):
        return value.isoformat()
    raise TypeError


def _with_defaults(schema: Schema, value: Any) -> Any:
    """Drop nulls, then fill in defaults, as the API server does before validation."""
    if isinstance(value, list):
        return [_with_defaults(schema.get("items", {}), item) for item in value]
    if not isinstance(value, dict):
        return value
    known = {name: child for name in value if (child := _property(schema, name)) is not None}
    complete = {
        name: _with_defaults(known.get(name, {}), child)
        for name, child in value.items()
        if child is not None or name not in known
    }
    for name, child in schema.get("properties", {}).items():
        if name not in complete and "default" in child:
            complete[name] = _with_defaults(child, child["default"])
    return complete


def _property(schema: Schema, name: str) -> Schema | None:
    child: Schema | None = schema.get("properties", {}).get(name, schema.get("additionalProperties"))
    return child


def _children(schema: Schema, value: Any, path: Path) -> Iterator[tuple[Schema, Any, Path]]:
    if isinstance(value, dict):
        for name, child in value.items():
            yield _property(schema, name) or {}, child, (*path, name)
    elif isinstance(value, list):
        for index, child in enumerate(value):
            yield schema.get("items", {}), child, (*path, index)


def _structure_violations(model: type[Model], manifest: dict[str, Any]) -> Iterator[Violation]:
    metadata = manifest.get("metadata")
    if isinstance(metadata, dict):
        validated = {name: value for name, value in metadata.items() if name not in _SERVER_METADATA}
        manifest = {**manifest, "metadata": validated}
    try:
        # As JSON: strict validation of Python input would require datetimes where a manifest has text.
        model.model_validate_json(json.dumps(manifest), strict=True, extra="forbid", by_name=False)
    except ValidationError as error:
        for detail in error.errors(include_url=False, include_input=False):
            yield Violation(detail["loc"], error_message(_schema(model), detail))


_MAPPING: Final = "must be a mapping; indent its fields below it"
_LIST: Final = "must be a list; put '- ' before each item"
_MESSAGES: Final = {
    "missing": "is required; add it",
    "string_type": "must be a string; in YAML, put numbers, true and false in quotes",
    "string_too_long": "must be at most {max_length} characters long",
    "string_pattern_mismatch": "must match {pattern}",
    "literal_error": "must be {expected}",
    "model_type": _MAPPING,
    "dict_type": _MAPPING,
    "list_type": _LIST,
    "tuple_type": _LIST,
    "too_short": "must have at least {min_length} item; add it",
    "too_long": "must have at most {max_length} items; remove some",
    "value_error": "{error}",
}
"""By the type of pydantic's error, with the members of its context."""


def error_message(schema: Schema, detail: ErrorDetails) -> str:
    """Return the error and its correction, for an error of the model with this schema. The text quotes the value only
    if a validator of the model does.
    """
    if detail["type"] == "extra_forbidden":
        name = detail["loc"][-1]
        similar = get_close_matches(str(name), _names_at(schema, detail["loc"][:-1]), 1)
        return f"unknown field; did you mean {similar[0]}?" if similar else "unknown field; remove it"
    if message := _MESSAGES.get(detail["type"]):
        return message.format_map(detail.get("ctx", {}))
    return detail["msg"].replace("Input should", "must")


def _names_at(schema: Schema, path: Path) -> list[str]:
    for step in path:
        schema = schema.get("items", {}) if isinstance(step, int) else _property(schema, step) or {}
    return list(schema.get("properties", {}))


def _metadata_violations(metadata: object) -> Iterator[Violation]:
    """Errors that an API server reports for the metadata of any kind. `metadata.name` has its own CEL rule."""
    if not isinstance(metadata, dict):
        return
    namespace = metadata.get("namespace")
    if isinstance(namespace, str) and not is_label(namespace):
        yield Violation(("metadata", "namespace"), "must be a DNS label: at most 63 lower-case letters, digits and '-'")
    labels, annotations = metadata.get("labels"), metadata.get("annotations")
    for field, entries in (("labels", labels), ("annotations", annotations)):
        for key in entries if isinstance(entries, dict) else ():
            if not re.fullmatch(LABEL_KEY, key):
                yield Violation(
                    ("metadata", field, key), "is not a valid key; write it as 'team' or 'example.com/team'"
                )
    for key, value in labels.items() if isinstance(labels, dict) else ():
        if isinstance(value, str) and (len(value) > 63 or not re.fullmatch(LABEL_VALUE, value)):
            yield Violation(("metadata", "labels", key), f"must be at most 63 characters and match {LABEL_VALUE}")


def _duplicate_items(schema: Schema, value: Any, path: Path) -> Iterator[Violation]:
    """Items that occur more than once in a list of type set or map (`x-kubernetes-list-type`)."""
    if isinstance(value, list) and schema.get("x-kubernetes-list-type") in ("set", "map"):
        keys = schema.get("x-kubernetes-list-map-keys")
        seen = set()
        for index, item in enumerate(value):
            named = {key: item.get(key) for key in keys} if keys and isinstance(item, dict) else {}
            identity = json.dumps(list(named.values()) if named else item)
            if identity in seen:
                same = " and ".join(named)
                what = f"has the {same} of an earlier item; change it" if named else "is a duplicate of an earlier item"
                yield Violation((*path, index), f"{what}{' or' if named else ';'} remove one of the two")
            seen.add(identity)
    for child, item, where in _children(schema, value, path):
        yield from _duplicate_items(child, item, where)


def rule_violations(schema: Schema, value: Any, path: Path = ()) -> Iterator[Violation]:
    """Yield the violations of the rules that need no earlier object. Defaults are not filled in."""
    rules = [rule for rule in schema.get("x-kubernetes-validations", ()) if "oldSelf" not in rule["rule"]]
    cel_value = _escape_names(schema, value) if rules else None
    for rule in rules:
        if not holds(rule["rule"], {"self": cel_value}):
            yield _violation(rule, path)
    for child, item, where in _children(schema, value, path):
        yield from rule_violations(child, item, where)


def _transition_violations(schema: Schema, old: Any, new: Any, path: Path) -> Iterator[Violation]:
    """Compare only values present in both objects. Items of lists are not correlated, as on the API server."""
    if not isinstance(old, dict) or not isinstance(new, dict):
        return
    for rule in schema.get("x-kubernetes-validations", ()):
        both = {"self": _escape_names(schema, new), "oldSelf": _escape_names(schema, old)}
        if "oldSelf" in rule["rule"] and not holds(rule["rule"], both):
            yield _violation(rule, path)
    for child, item, where in _children(schema, new, path):
        yield from _transition_violations(child, old.get(where[-1]), item, where)


def _violation(rule: Schema, path: Path) -> Violation:
    field = rule.get("fieldPath", "").removeprefix(".")
    return Violation((*path, field) if field else path, rule["message"])


def _escape_names(schema: Schema, value: Any) -> Any:
    """Rename properties to the names that CEL rules use (`__namespace__`). Keys of maps are not renamed."""
    if isinstance(value, list):
        return [_escape_names(schema.get("items", {}), item) for item in value]
    if not isinstance(value, dict):
        return value
    properties = schema.get("properties", {})
    return {
        f"__{name}__" if name in properties and name in _CEL_RESERVED else name: _escape_names(
            _property(schema, name) or {}, child
        )
        for name, child in value.items()
    }
