"""What a structural schema asks, and what we ask of ours."""

from collections.abc import Iterator
from typing import Any

import pytest

from scopewright.api import KINDS, Kind, OAuthClient
from scopewright.api.schema import structural_schema
from scopewright.api.times import NO_DAYS, WRITTEN_PATTERN

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
    return structural_schema(KINDS[request.param])


def test_schema_is_structural(schema: Schema) -> None:
    for path, node in _nodes(schema):
        assert node.keys() <= _ALLOWED, path
        assert isinstance(node.get("type"), str), path
        assert not ({"properties", "additionalProperties"} <= node.keys()), path


def test_every_field_says_what_it_is(schema: Schema) -> None:
    undescribed = [
        path
        for path, node in _nodes(schema)
        for name, child in node.get("properties", {}).items()
        if not child.get("description") and (path, name) != ("", "metadata")
    ]
    assert undescribed == []


def test_every_optional_field_of_the_spec_says_what_its_omission_means(schema: Schema) -> None:
    for path, node in _nodes(schema["properties"]["spec"]):
        for name, child in node.get("properties", {}).items():
            if name not in node.get("required", ()) and not child["description"].endswith("refused."):
                assert "Left out" in child["description"] or "Empty:" in child["description"], f"{path}.{name}"


def test_everything_is_bounded(schema: Schema) -> None:
    """Without bounds, the API server's estimate of a rule's cost refuses the rule."""
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


def test_status_is_pending_until_somebody_looks(schema: Schema) -> None:
    [condition] = schema["properties"]["status"]["default"]["conditions"]
    assert (condition["type"], condition["status"], condition["reason"]) == ("Ready", "Unknown", "Pending")


def test_nothing_in_a_status_has_a_default_of_its_own(schema: Schema) -> None:
    """What the operator writes is what it reads back, or it would write for ever."""
    for _, node in _nodes(schema["properties"]["status"]):
        assert not [name for name, child in node.get("properties", {}).items() if "default" in child]


def test_rule_stands_where_its_field_is() -> None:
    spec = structural_schema(OAuthClient)["properties"]["spec"]
    overlap = spec["properties"]["rotation"]["x-kubernetes-validations"][1]
    assert overlap["fieldPath"] == ".overlap"
    assert overlap["rule"].endswith("duration(self.overlap) <= duration(self.every)")


@pytest.mark.parametrize("kind", KINDS.values(), ids=lambda kind: kind.KIND)
def test_every_duration_says_how_days_are_written(kind: type[Kind]) -> None:
    def durations(schema: Schema) -> Iterator[tuple[Schema, str]]:
        for name, child in schema.get("properties", {}).items():
            if child.get("pattern") == WRITTEN_PATTERN:
                yield schema, name
            yield from durations(child)
            yield from durations(child.get("items", {}))

    for schema, name in durations(structural_schema(kind)):
        rules = [r for r in schema["x-kubernetes-validations"] if r["fieldPath"] == f".{name}"]
        assert any(NO_DAYS in r["message"] for r in rules), name
        for rule in schema["x-kubernetes-validations"]:
            if f"duration(self.{name})" in rule["rule"]:
                assert f"self.{name}.matches('[dw]') || " in rule["rule"], "it would say so twice"


def test_default_of_an_object_keeps_the_rules_of_that_object() -> None:
    """The API server tries them on the default as it stands, before what lies deeper is filled in."""
    spec = structural_schema(OAuthClient)["properties"]["spec"]
    assert spec["properties"]["rotation"]["default"] == {"every": "720h", "overlap": "24h"}
    assert spec["properties"]["credentials"]["default"] == {"deletionPolicy": "Delete"}


def _nodes(schema: Schema, path: str = "") -> Iterator[tuple[str, Schema]]:
    yield path, schema
    for name, child in schema.get("properties", {}).items():
        yield from _nodes(child, f"{path}.{name}")
    for name in ("items", "additionalProperties"):
        if name in schema:
            yield from _nodes(schema[name], f"{path}[]")
