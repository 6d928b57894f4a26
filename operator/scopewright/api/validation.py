"""Check a manifest as an API server would, without one: defaults, structure, and the same CEL rules.

It is stricter in one thing: a field that no kind has is refused, where a server may drop it in silence, because a
mistyped field in Git should be told. Transition rules need the object as it was: `validate_update` has both.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime
from difflib import get_close_matches
from functools import cache
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from scopewright.api import API_VERSION, KINDS, Kind
from scopewright.api.meta import Model
from scopewright.api.names import DNS_LABEL, LABEL_KEY, LABEL_VALUE
from scopewright.api.schema import Schema, StructuralSchema, structural_schema

if TYPE_CHECKING:
    import cel

Path = tuple[str | int, ...]

# What an API server writes into metadata and `kubectl get -o yaml` shows: no mistake, and nothing to us.
_SERVERS_METADATA = frozenset(
    {"deletionGracePeriodSeconds", "finalizers", "generateName", "managedFields", "ownerReferences", "selfLink"}
)

# Names that CEL keeps for itself; Kubernetes has a rule write the property `namespace` as `__namespace__`.
_CEL_RESERVED = frozenset(
    {"true", "false", "null", "in", "as", "break", "const", "continue", "else", "for", "function", "if", "import"}
    | {"let", "loop", "package", "namespace", "return"}
)


@dataclass(frozen=True)
class Violation:
    """What is wrong, where, and how to mend it. It never quotes the value, which may be a secret."""

    path: Path
    message: str

    def __str__(self) -> str:
        where = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in self.path).removeprefix(".")
        return f"{where}: {self.message}" if where else self.message


def validate(manifest: object) -> list[Violation]:
    """Everything that is wrong with one manifest, as a YAML or JSON parser returns it; nothing, if it is sound.

    Rules are tried only on what has the right structure, as an API server does. The status is not looked at.
    """
    if not isinstance(manifest, dict):
        return [Violation((), "is not a manifest: expected a mapping with apiVersion, kind, metadata and spec")]
    try:
        given = json.loads(json.dumps(manifest, default=_as_json, allow_nan=False))
    except (TypeError, ValueError, RecursionError):
        return [Violation((), "holds something that JSON cannot express, and so no manifest may: binary data, .nan, …")]
    if given.get("apiVersion") != API_VERSION:
        return [Violation(("apiVersion",), f"must be {API_VERSION}")]
    if given.get("kind") not in list(KINDS):
        return [Violation(("kind",), f"must be one of {', '.join(KINDS)}")]
    given.pop("status", None)
    return _validate(KINDS[given["kind"]], given)


def validate_part(model: type[Model], given: dict[str, Any]) -> list[Violation]:
    """The same for what is a part of manifests and stands elsewhere: a JWKS in the platform's configuration."""
    return _validate(model, given)


def _validate(model: type[Model], given: dict[str, Any]) -> list[Violation]:
    schema = _schema(model)
    complete = _with_defaults(schema, given)
    violations = [
        *_wrong_structure(model, complete),
        *_wrong_metadata(complete.get("metadata")),
        *_repeated(schema, complete, ()),
    ]
    return violations or [*_broken_rules(schema, complete, ())]


def validate_update(old: dict[str, Any], new: dict[str, Any]) -> list[Violation]:
    """What the transition rules say to a change of a sound manifest of one kind into another; they need both."""
    schema = _schema(KINDS[new["kind"]])
    return [*_broken_transitions(schema, _with_defaults(schema, old), _with_defaults(schema, new), ())]


@cache
def _schema(model: type[Model]) -> Schema:
    if not issubclass(model, Kind):
        return model.model_json_schema(schema_generator=StructuralSchema)
    schema = structural_schema(model)
    del schema["properties"]["status"]
    return schema


def _as_json(value: object) -> str:
    """YAML reads an unquoted instant as a datetime; kubectl passes it on as the text it was."""
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    if isinstance(value, date):
        return value.isoformat()
    raise TypeError


def _with_defaults(schema: Schema, value: Any) -> Any:
    """Drop nulls, then fill in defaults, as the API server does before it validates."""
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
    found: Schema | None = schema.get("properties", {}).get(name, schema.get("additionalProperties"))
    return found


def _children(schema: Schema, value: Any, path: Path) -> Iterator[tuple[Schema, Any, Path]]:
    if isinstance(value, dict):
        for name, child in value.items():
            yield _property(schema, name) or {}, child, (*path, name)
    elif isinstance(value, list):
        for index, child in enumerate(value):
            yield schema.get("items", {}), child, (*path, index)


def _wrong_structure(model: type[Model], manifest: dict[str, Any]) -> Iterator[Violation]:
    metadata = manifest.get("metadata")
    if isinstance(metadata, dict):
        ours = {name: value for name, value in metadata.items() if name not in _SERVERS_METADATA}
        manifest = {**manifest, "metadata": ours}
    try:
        # JSON, because strict Python input would want datetimes where a manifest has text.
        model.model_validate_json(json.dumps(manifest), strict=True, extra="forbid", by_name=False)
    except ValidationError as error:
        for detail in error.errors(include_url=False, include_input=False):
            yield Violation(detail["loc"], _explained(model, detail))


def _explained(model: type[Model], detail: ErrorDetails) -> str:
    context = detail.get("ctx", {})
    match detail["type"]:
        case "missing":
            return "is required: add it"
        case "extra_forbidden":
            name = detail["loc"][-1]
            similar = get_close_matches(str(name), _names_at(_schema(model), detail["loc"][:-1]), 1)
            return f"unknown field: did you mean {similar[0]}?" if similar else "unknown field: remove it"
        case "string_type":
            return "must be a string: in YAML, put numbers, true and false in quotes"
        case "string_too_long":
            return f"must be at most {context['max_length']} characters long"
        case "string_pattern_mismatch":
            return f"must match {context['pattern']}"
        case "literal_error":
            return f"must be {context['expected']}"
        case "model_type" | "dict_type":
            return "must be a mapping: indent its fields below it"
        case "value_error":
            return str(context["error"])
        case _:
            return detail["msg"].replace("Input should", "must")


def _names_at(schema: Schema, path: Path) -> list[str]:
    for step in path:
        schema = schema.get("items", {}) if isinstance(step, int) else _property(schema, step) or {}
    return list(schema.get("properties", {}))


def _wrong_metadata(metadata: object) -> Iterator[Violation]:
    """What an API server asks of every object's metadata, whatever its kind; the name has a rule of its own."""
    if not isinstance(metadata, dict):
        return
    namespace = metadata.get("namespace")
    if isinstance(namespace, str) and (len(namespace) > 63 or not re.fullmatch(DNS_LABEL, namespace)):
        yield Violation(("metadata", "namespace"), "must be a DNS label: at most 63 of a to z, 0 to 9 and '-'")
    labels, annotations = metadata.get("labels"), metadata.get("annotations")
    for field, entries in (("labels", labels), ("annotations", annotations)):
        for key in entries if isinstance(entries, dict) else ():
            if not re.fullmatch(LABEL_KEY, key):
                yield Violation(("metadata", field, key), "has no valid key: write it as 'team' or 'example.com/team'")
    for key, value in labels.items() if isinstance(labels, dict) else ():
        if isinstance(value, str) and (len(value) > 63 or not re.fullmatch(LABEL_VALUE, value)):
            yield Violation(("metadata", "labels", key), f"must be at most 63 characters and match {LABEL_VALUE}")


def _repeated(schema: Schema, value: Any, path: Path) -> Iterator[Violation]:
    """Items that stand twice in a list that Kubernetes treats as a set or a map."""
    if isinstance(value, list) and schema.get("x-kubernetes-list-type") in ("set", "map"):
        keys = schema.get("x-kubernetes-list-map-keys")
        seen = set()
        for index, item in enumerate(value):
            identity = json.dumps([item.get(key) for key in keys] if keys and isinstance(item, dict) else item)
            if identity in seen:
                yield Violation((*path, index), "stands in this list twice: remove one of the two")
            seen.add(identity)
    for child, item, where in _children(schema, value, path):
        yield from _repeated(child, item, where)


def _broken_rules(schema: Schema, value: Any, path: Path) -> Iterator[Violation]:
    rules = [rule for rule in schema.get("x-kubernetes-validations", ()) if "oldSelf" not in rule["rule"]]
    seen_by_cel = _escaped(schema, value) if rules else None
    for rule in rules:
        if not _holds(rule["rule"], {"self": seen_by_cel}):
            yield _violation(rule, path)
    for child, item, where in _children(schema, value, path):
        yield from _broken_rules(child, item, where)


def _broken_transitions(schema: Schema, old: Any, new: Any, path: Path) -> Iterator[Violation]:
    """Of what is there before and after; items of lists are not correlated, as on the API server."""
    if not isinstance(old, dict) or not isinstance(new, dict):
        return
    for rule in schema.get("x-kubernetes-validations", ()):
        both = {"self": _escaped(schema, new), "oldSelf": _escaped(schema, old)}
        if "oldSelf" in rule["rule"] and not _holds(rule["rule"], both):
            yield _violation(rule, path)
    for child, item, where in _children(schema, new, path):
        yield from _broken_transitions(child, old.get(where[-1]), item, where)


def _violation(rule: Schema, path: Path) -> Violation:
    field = rule.get("fieldPath", "").removeprefix(".")
    return Violation((*path, field) if field else path, rule["message"])


def _escaped(schema: Schema, value: Any) -> Any:
    """Properties under the names by which CEL knows them; the keys of a map stay as they are."""
    if isinstance(value, list):
        return [_escaped(schema.get("items", {}), item) for item in value]
    if not isinstance(value, dict):
        return value
    properties = schema.get("properties", {})
    return {
        f"__{name}__" if name in properties and name in _CEL_RESERVED else name: _escaped(
            _property(schema, name) or {}, child
        )
        for name, child in value.items()
    }


def _holds(rule: str, variables: dict[str, Any]) -> bool:
    from cel import Context

    # Kubernetes adds `sum` to CEL's lists, the library does not.
    context = Context(variables=variables, functions={"sum": sum})
    try:
        return _program(rule).execute(context) is True
    except (KeyError, TypeError, ValueError, RuntimeError):
        # A rule that cannot be evaluated refuses, on the API server too.
        return False


@cache
def _program(rule: str) -> "cel.Program":
    # Imported late: the issuer reads these models too, and is installed without CEL.
    from cel import compile as compiled

    return compiled(rule)
