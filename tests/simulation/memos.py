"""Pure functions of the real code that are asked the same thing by every process: here, each is worked out once.

What they return is frozen. A version names one content within a seed, so `forget` is called between two of them.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import Any

from scopewright.controller import caches, owned, reconcile, resync
from scopewright.core import records
from scopewright.stores import kube_follow, kube_objects, kubernetes
from scopewright.verifier.keyset import Key

_FORGETTABLE: list[dict[Any, Any]] = []


def forget() -> None:
    for known in _FORGETTABLE:
        known.clear()


def install() -> None:
    declared = _by_version(reconcile.parse_declared, lambda raw: (raw["kind"], *_version(raw)))
    for module in (caches, reconcile, resync):
        module.parse_declared = declared  # type: ignore[attr-defined]
    parse = _by_version(kube_objects.parse, lambda kind, raw: (kind, *_version(raw)))
    for store in (kube_follow, kubernetes):
        store.parse = parse  # type: ignore[attr-defined]
    for kind, adapter in records._ADAPTERS.items():
        records._ADAPTERS[kind] = _Adapter(adapter)  # type: ignore[assignment]
    _matches(owned)
    Key.verifies = _verifies(Key.verifies)  # type: ignore[method-assign, assignment]


def _version(raw: Any) -> tuple[Any, ...]:
    meta = raw["metadata"]
    return meta["uid"], meta["resourceVersion"]


def _by_version(real: Callable[..., Any], version: Callable[..., Any]) -> Callable[..., Any]:
    known: dict[Any, Any] = {}
    _FORGETTABLE.append(known)

    def remembered(*given: Any) -> Any:
        key = version(*given)
        found = known.get(key)
        if found is None:
            found = known[key] = real(*given)
        return found

    return remembered


class _Adapter:
    """A pydantic TypeAdapter that has read each record once."""

    def __init__(self, real: Any) -> None:
        self.dump_json = real.dump_json
        self.validate_json = lru_cache(maxsize=4096)(real.validate_json)


def _matches(module: Any) -> None:
    real = module.matches

    @lru_cache(maxsize=4096)
    def known(pem: bytes, jwk: tuple[tuple[str, str], ...]) -> bool:
        return bool(real(pem, dict(jwk)))

    module.matches = lambda pem, jwk: known(pem, tuple(sorted(jwk.items())))


def _verifies(real: Callable[[Key, bytes, bytes], bool]) -> Callable[[Key, bytes, bytes], bool]:
    known: dict[Any, bool] = {}
    _FORGETTABLE.append(known)

    def verifies(self: Key, signing_input: bytes, signature: bytes) -> bool:
        key = self.jwk["x"], self.jwk["y"], signing_input, signature
        if key not in known:
            known[key] = real(self, signing_input, signature)
        return known[key]

    return verifies
