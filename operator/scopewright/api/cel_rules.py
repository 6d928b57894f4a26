"""Evaluates the CEL rules of the CRDs as an API server does."""

import sys
from functools import cache
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import cel


def holds(rule: str, variables: dict[str, Any]) -> bool:
    """Whether the rule is true. One that cannot be evaluated is not, and rejects the object as on the API server."""
    library = _library()
    # Kubernetes adds `sum` to CEL lists; the library does not.
    context = library.Context(variables=variables, functions={"sum": sum})
    try:
        return _compile(rule).execute(context) is True
    except (KeyError, TypeError, ValueError, RuntimeError):
        return False


@cache
def _compile(rule: str) -> "cel.Program":
    program: cel.Program = _library().compile(rule)
    return program


@cache
def _library() -> Any:
    """Imported with the first rule: the issuer imports these models and is installed without CEL.

    The package imports its command line, and with it prompt_toolkit. Meanwhile an empty module stands in for that.
    """
    stand_in = ModuleType("cel.cli")
    is_used = sys.modules.setdefault("cel.cli", stand_in) is stand_in
    import cel

    if is_used:
        del sys.modules["cel.cli"]
    return cel
