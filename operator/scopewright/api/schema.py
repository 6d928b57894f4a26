"""From a pydantic model to the structural schema that Kubernetes asks of a CustomResourceDefinition.

pydantic's own schema is not structural: it has `$ref`, `anyOf` with null, titles and `const`. What pydantic cannot say
(list types, CEL rules) comes from `json_schema_extra` and from `Model.RULES`.
"""

from datetime import timedelta
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaMode, JsonSchemaValue
from pydantic_core import CoreSchema, core_schema

from scopewright.api.meta import Kind, Model
from scopewright.api.rules import Rule
from scopewright.api.times import format_duration

Schema = dict[str, Any]


def structural_schema(kind: type[Kind]) -> Schema:
    """The `openAPIV3Schema` of one kind."""
    schema = kind.model_json_schema(schema_generator=StructuralSchema)
    for name in ("apiVersion", "kind"):
        # Kubernetes has them filled in before any schema is looked at.
        del schema["properties"][name]["default"]
    # The API server knows metadata by itself, and allows not even a description here.
    schema["properties"]["metadata"] = {"type": "object"}
    return schema


class StructuralSchema(GenerateJsonSchema):
    """pydantic's generator, kept to what a structural schema may say."""

    def generate(self, schema: CoreSchema, mode: JsonSchemaMode = "validation") -> JsonSchemaValue:
        generated = super().generate(schema, mode)
        structural: Schema = _inlined(generated, generated.pop("$defs", {}))
        return structural

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False

    def model_schema(self, schema: core_schema.ModelSchema) -> JsonSchemaValue:
        generated = super().model_schema(schema)
        generated.pop("title", None)
        model = schema["cls"]
        if issubclass(model, Model) and model.RULES:
            generated["x-kubernetes-validations"] = [_validation(rule) for rule in model.RULES]
        return generated

    def nullable_schema(self, schema: core_schema.NullableSchema) -> JsonSchemaValue:
        # Left out is the only way to say nothing: the API server drops nulls before it validates.
        return self.generate_inner(schema["schema"])

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> JsonSchemaValue:
        generated = self.generate_inner(schema["schema"])
        # Nothing empty is worth writing into every object, be it None, a text, or a list that a factory makes.
        default = schema.get("default")
        if default is None or default == "":
            return generated
        if isinstance(default, BaseModel):
            # The API server tries the rules on a default as it stands here; what lies deeper is filled in later.
            dumped = default.model_dump(mode="json", exclude_none=True)
            default = {name: value for name, value in dumped.items() if value and not isinstance(value, dict)}
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


def _validation(rule: Rule) -> Schema:
    written = {"rule": rule.rule, "message": rule.message}
    return {**written, "fieldPath": f".{rule.field}"} if rule.field else written


def _inlined(node: Any, definitions: dict[str, Any]) -> Any:
    """Replace every `$ref` by what it refers to; what stands beside the reference wins."""
    if isinstance(node, list):
        return [_inlined(item, definitions) for item in node]
    if not isinstance(node, dict):
        return node
    if "$ref" in node:
        name = node["$ref"].removeprefix("#/$defs/")
        node = {**definitions[name], **{key: value for key, value in node.items() if key != "$ref"}}
    if isinstance(node.get("description"), str):
        # The lines of a docstring are wrapped for its source, not for `kubectl explain`.
        node = {**node, "description": " ".join(node["description"].split())}
    return {key: _inlined(value, definitions) for key, value in node.items()}
