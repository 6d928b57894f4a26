"""Lists the public names of a package with their parameters, for the tests that keep them."""

import inspect
import re
from collections.abc import Iterator
from enum import Enum
from types import ModuleType
from typing import is_typeddict


def signatures(room: ModuleType) -> list[str]:
    """One line for each class, method and function of `__all__`: names, kinds and defaults of the parameters.

    Of an Enum, a TypedDict and a constant, the members.
    """
    return [line for name in room.__all__ for line in _lines(name, getattr(room, name))]


def _lines(name: str, public: object) -> Iterator[str]:
    if not isinstance(public, type):
        yield name + _signature(public) if callable(public) else f"{name}: {_members(public)}"
    elif is_typeddict(public):
        yield f"{name}: {_members(public.__annotations__)}"
    elif issubclass(public, Enum):
        yield f"{name}: {' '.join(member.value for member in public)}"
    else:
        if issubclass(public, Exception) and "__init__" not in vars(public):
            yield f"{name}: a {public.__bases__[0].__name__}"
        elif not getattr(public, "_is_protocol", False):
            yield name + _signature(public)
        for method in sorted(vars(public)):
            if not method.startswith("_") and callable(getattr(public, method)):
                yield f"{name}.{method}{_signature(getattr(public, method))}"


def _members(public: object) -> str:
    assert isinstance(public, frozenset | dict)
    return " ".join(sorted(public))


def _signature(function: object) -> str:
    assert callable(function)
    parameters = [
        each.replace(annotation=inspect.Parameter.empty, default=_default(each.default))
        for each in inspect.signature(function).parameters.values()
        if each.name != "self"
    ]
    return re.sub(r"<.*?(\w+)( (of|at) .*?)?>", r"\1", str(inspect.Signature(parameters)))


def _default(value: object) -> object:
    return sorted(value) if isinstance(value, frozenset) and value else value
