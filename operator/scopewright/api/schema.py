"""Convert a pydantic model to a structural schema, which Kubernetes requires in a CustomResourceDefinition.

pydantic's own schema is not structural: it contains `$ref`, `anyOf` with null, titles and `const`. List types and CEL
rules, which pydantic does not have, come from `json_schema_extra` and `Model.RULES`.
"""

from datetime import timedelta
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaMode, JsonSchemaValue
from pydantic_core import CoreSchema, core_schema

from scopewright.api.meta import Kind, Model
from scopewright.api.rules import CelRule
from scopewright.api.times import format_duration

Schema = dict[str, Any]


def structural_schema(kind: type[Kind], generator: type["StructuralSchema"] | None = None) -> Schema:
    """Return the `openAPIV3Schema` of one kind. `descriptions.DescribedSchema` as generator adds the descriptions."""
    schema = kind.model_json_schema(schema_generator=generator or StructuralSchema)
    for name in ("apiVersion", "kind"):
        # Both are set before Kubernetes applies the schema.
        del schema["properties"][name]["default"]
    # The API server has its own schema of metadata, and rejects even a description here.
    schema["properties"]["metadata"] = {"type": "object"}
    return schema


class StructuralSchema(GenerateJsonSchema):
    """pydantic's schema generator, restricted to the constructs of structural schemas."""

    def generate(self, schema: CoreSchema, mode: JsonSchemaMode = "validation") -> JsonSchemaValue:
        generated = super().generate(schema, mode)
        structural: Schema = _inline_refs(generated, generated.pop("$defs", {}))
        return structural

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False

    def model_schema(self, schema: core_schema.ModelSchema) -> JsonSchemaValue:
        generated = super().model_schema(schema)
        generated.pop("title", None)
        model = schema["cls"]
        if issubclass(model, Model) and model.RULES:
            generated["x-kubernetes-validations"] = [_cel_validation(rule) for rule in model.RULES]
        return generated

    def nullable_schema(self, schema: core_schema.NullableSchema) -> JsonSchemaValue:
        # Nulls need no schema: the API server drops them before validation.
        return self.generate_inner(schema["schema"])

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> JsonSchemaValue:
        generated = self.generate_inner(schema["schema"])
        # Empty defaults (None, "", lists from a factory) stay out of stored objects.
        default = schema.get("default")
        if default is None or default == "":
            return generated
        if isinstance(default, BaseModel):
            # The API server evaluates the rules on this default before it fills in nested defaults.
            members = default.model_dump(mode="json", exclude_none=True)
            default = {name: value for name, value in members.items() if value and not isinstance(value, dict)}
        elif isinstance(default, timedelta):
            default = format_duration(default)
        return {**generated, "default": default}

    def literal_schema(self, schema: core_schema.LiteralSchema) -> JsonSchemaValue:
        generated = super().literal_schema(schema)
        if "const" in generated:
            generated["enum"] = [generated.pop("const")]
        return generated

    def int_schema(self, schema: core_schema.IntSchema) -> JsonSchemaValue:
        return {**super().int_schema(schema), "format": "int64"}


def _cel_validation(rule: CelRule) -> Schema:
    validation = {"rule": rule.rule, "message": rule.message}
    return {**validation, "fieldPath": f".{rule.field}"} if rule.field else validation


def _inline_refs(node: Any, definitions: dict[str, Any]) -> Any:
    """Replace every `$ref` by its definition. Members beside a `$ref` take precedence over the definition."""
    if isinstance(node, list):
        return [_inline_refs(item, definitions) for item in node]
    if not isinstance(node, dict):
        return node
    if "$ref" in node:
        name = node["$ref"].removeprefix("#/$defs/")
        node = {**definitions[name], **{key: value for key, value in node.items() if key != "$ref"}}
    if isinstance(node.get("description"), str):
        # Docstrings are wrapped for the source file, not for `kubectl explain`.
        node = {**node, "description": " ".join(node["description"].split())}
    return {key: _inline_refs(value, definitions) for key, value in node.items()}
