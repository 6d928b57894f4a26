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

    The package imports its command line, and with it prompt_toolkit. An empty module stands in for that.
    """
    sys.modules.setdefault("cel.cli", ModuleType("cel.cli"))
    import cel

    return cel
