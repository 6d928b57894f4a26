"""Earlier names of public classes. Shared by `verifier` and `client`."""

import warnings
from collections.abc import Callable, Mapping


def earlier_names(module: str, names: Mapping[str, type]) -> Callable[[str], type]:
    """The `__getattr__` (PEP 562) of a module: each name of `names` is its class, with a DeprecationWarning."""

    def get(name: str) -> type:
        if name not in names:
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        warnings.warn(f"{name} is called {names[name].__name__} now", DeprecationWarning, stacklevel=2)
        return names[name]

    return get
