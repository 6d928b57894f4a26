"""The schema of a kind with the docstrings of its fields as descriptions, for CustomResourceDefinitions.

pydantic can read the docstrings when it makes a model (`use_attribute_docstrings`). Every process would then parse the
source of every model at its start.
"""

import ast
import inspect
import textwrap
from functools import cache
from itertools import pairwise

from pydantic import BaseModel
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import core_schema

from scopewright.api.schema import StructuralSchema


class DescribedSchema(StructuralSchema):
    """Structural schema in which every documented field has a description."""

    def model_schema(self, schema: core_schema.ModelSchema) -> JsonSchemaValue:
        generated = super().model_schema(schema)
        model = schema["cls"]
        for name, field in model.model_fields.items():
            described = generated.get("properties", {}).get(field.alias or name)
            text = _description(model, name)
            if described is not None and text is not None:
                described["description"] = text
        return generated


def _description(model: type[BaseModel], field: str) -> str | None:
    """Return the docstring of a field in the class that declares it."""
    owner = next(base for base in model.__mro__ if field in inspect.get_annotations(base))
    return _docstrings(owner).get(field)


@cache
def _docstrings(owner: type) -> dict[str, str]:
    """Return the docstrings of the fields that a class declares, by field."""
    (definition,) = ast.parse(textwrap.dedent(inspect.getsource(owner))).body
    described: dict[str, str] = {}
    for field, text in pairwise(definition.body if isinstance(definition, ast.ClassDef) else ()):
        match field, text:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(content))):
                described[name] = inspect.cleandoc(content)
    return described
