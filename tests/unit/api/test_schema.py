"""Requirements on the generated schemas: those of structural schemas, and those of this project."""

from collections.abc import Iterator
from typing import Any

import pytest

from scopewright.api import KINDS, Kind, OAuthClient
from scopewright.api.descriptions import DescribedSchema
from scopewright.api.schema import structural_schema
from scopewright.api.times import DURATION_SCHEMA_PATTERN, NO_DAYS
from scopewright.api.validation import rule_violations

Schema = dict[str, Any]

_ALLOWED = {
    "additionalProperties",
    "default",
    "description",
    "enum",
    "format",
    "items",
    "maxItems",
    "maxLength",
    "maxProperties",
    "minItems",
    "minLength",
    "pattern",
    "properties",
    "required",
    "type",
    "x-kubernetes-list-map-keys",
    "x-kubernetes-list-type",
    "x-kubernetes-preserve-unknown-fields",
    "x-kubernetes-validations",
}


@pytest.fixture(params=KINDS)
def schema(request: pytest.FixtureRequest) -> Schema:
    return structural_schema(KINDS[request.param], DescribedSchema)


def test_schema_is_structural(schema: Schema) -> None:
    for path, node in _nodes(schema):
        assert node.keys() <= _ALLOWED, path
        assert isinstance(node.get("type"), str), path
        assert not ({"properties", "additionalProperties"} <= node.keys()), path


def test_every_field_has_a_description(schema: Schema) -> None:
    undescribed = [
        path
        for path, node in _nodes(schema)
        for name, child in node.get("properties", {}).items()
        if not child.get("description") and (path, name) != ("", "metadata")
    ]
    assert undescribed == []


def test_every_optional_field_of_the_spec_states_its_default(schema: Schema) -> None:
    for path, node in _nodes(schema["properties"]["spec"]):
        for name, child in node.get("properties", {}).items():
            if name not in node.get("required", ()) and not child["description"].endswith("refused."):
                assert "Defaults to " in child["description"], f"{path}.{name}"


def test_everything_is_bounded(schema: Schema) -> None:
    """Without bounds, the API server rejects a rule by its estimated cost."""
    for path, node in _nodes(schema["properties"]["spec"]):
        match node["type"]:
            case "string":
                assert "maxLength" in node or "enum" in node, path
            case "array":
                assert node["maxItems"] <= 64, path
            case "object" if "additionalProperties" in node:
                assert node["maxProperties"] <= 64, path


def test_descriptions_are_not_wrapped(schema: Schema) -> None:
    assert all("\n" not in node.get("description", "") for _, node in _nodes(schema))


def test_default_status_is_pending(schema: Schema) -> None:
    [condition] = schema["properties"]["status"]["default"]["conditions"]
    assert (condition["type"], condition["status"], condition["reason"]) == ("Ready", "Unknown", "Pending")


def test_no_field_of_a_status_has_a_default(schema: Schema) -> None:
    """With a default, the operator would read back something else than it wrote, and write again forever."""
    for _, node in _nodes(schema["properties"]["status"]):
        assert not [name for name, child in node.get("properties", {}).items() if "default" in child]


def test_rule_is_in_the_schema_of_its_model() -> None:
    spec = structural_schema(OAuthClient)["properties"]["spec"]
    overlap = spec["properties"]["rotation"]["x-kubernetes-validations"][1]
    assert overlap["fieldPath"] == ".overlap"
    assert overlap["rule"].endswith("duration(self.overlap) <= duration(self.every)")


@pytest.mark.parametrize("kind", KINDS.values(), ids=lambda kind: kind.KIND)
def test_every_duration_has_a_rule_on_days(kind: type[Kind]) -> None:
    def durations(schema: Schema) -> Iterator[tuple[Schema, str]]:
        for name, child in schema.get("properties", {}).items():
            if child.get("pattern") == DURATION_SCHEMA_PATTERN:
                yield schema, name
            yield from durations(child)
            yield from durations(child.get("items", {}))

    for schema, name in durations(structural_schema(kind)):
        rules = [r for r in schema["x-kubernetes-validations"] if r["fieldPath"] == f".{name}"]
        assert any(NO_DAYS in r["message"] for r in rules), name
        for rule in schema["x-kubernetes-validations"]:
            if f"duration(self.{name})" in rule["rule"]:
                assert f"self.{name}.matches('[dw]') || " in rule["rule"], "two rules would report the same error"


def test_default_of_an_object_satisfies_the_rules_of_the_object(schema: Schema) -> None:
    """The API server refuses a CRD otherwise. It evaluates them before it fills in nested defaults."""
    for path, node in _nodes(schema):
        if isinstance(node.get("default"), dict):
            assert list(rule_violations(node, node["default"])) == [], path


def _nodes(schema: Schema, path: str = "") -> Iterator[tuple[str, Schema]]:
    yield path, schema
    for name, child in schema.get("properties", {}).items():
        yield from _nodes(child, f"{path}.{name}")
    for name in ("items", "additionalProperties"):
        if name in schema:
            yield from _nodes(schema[name], f"{path}[]")
