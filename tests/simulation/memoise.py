"""Memoises pure functions of the product that every process calls with the same arguments.

Their results are immutable. A resourceVersion identifies a content within one seed only, so `clear` is called between
two seeds.
"""

from collections.abc import Callable, Iterable, Mapping
from contextlib import nullcontext
from datetime import datetime
from functools import cache, lru_cache
from importlib.metadata import version
from typing import Any

from scopewright.client import authentication, key
from scopewright.controller import managed_objects, metrics
from scopewright.core import declared
from scopewright.core.client import credentials, seal
from scopewright.core.client import secret as client_secret
from scopewright.core.records import codec
from scopewright.core.signing import jwks
from scopewright.stores.kubernetes import follow as kube_follow
from scopewright.stores.kubernetes import objects as kube_objects
from scopewright.stores.kubernetes import store as kubernetes
from scopewright.verifier.keyset import Key

_CACHES: list[dict[Any, Any]] = []


def clear() -> None:
    for cached in _CACHES:
        cached.clear()


def install() -> None:
    parse_once = _by_version(declared.parse_declared, lambda raw: (raw["kind"], *_version(raw)))
    vars(declared)["parse_declared"] = parse_once
    parse = _by_version(kube_objects.parse, lambda kind, raw: (kind, *_version(raw)))
    for store in (kube_follow, kubernetes):
        store.parse = parse  # type: ignore[attr-defined]
    for kind, adapter in codec._ADAPTERS.items():
        codec._ADAPTERS[kind] = _Adapter(adapter)  # type: ignore[assignment]
    _matches(managed_objects)
    for module in (client_secret, credentials):
        module.seal = _sealed(seal.seal)  # type: ignore[attr-defined]
    jwks.jwks = _published(jwks.jwks)
    vars(metrics)["version"] = cache(version)  # otherwise each operator that starts searches the disk for it
    metrics.OperatorMetrics.reconciling = lambda self, kind: nullcontext()  # type: ignore[method-assign, assignment, return-value]
    parse_key = lru_cache(maxsize=4096)(key.parse_private_key)
    vars(authentication)["parse_private_key"] = parse_key
    Key.verifies = _verifies(Key.verifies)  # type: ignore[method-assign, assignment]


def _version(raw: Any) -> tuple[Any, ...]:
    meta = raw["metadata"]
    return meta["uid"], meta["resourceVersion"]


def _by_version(real: Callable[..., Any], version: Callable[..., Any]) -> Callable[..., Any]:
    known: dict[Any, Any] = {}
    _CACHES.append(known)

    def memoised(*arguments: Any) -> Any:
        key = version(*arguments)
        found = known.get(key)
        if found is None:
            found = known[key] = real(*arguments)
        return found

    return memoised


class _Adapter:
    """A pydantic TypeAdapter that parses each record once."""

    def __init__(self, real: Any) -> None:
        self.dump_json = real.dump_json
        self.validate_json = lru_cache(maxsize=4096)(real.validate_json)


def _matches(module: Any) -> None:
    real = module.matches

    @lru_cache(maxsize=4096)
    def known(pem: bytes, jwk: tuple[tuple[str, str], ...]) -> bool:
        return bool(real(pem, dict(jwk)))

    module.matches = lambda pem, jwk: known(pem, tuple(sorted(jwk.items())))


def _sealed(real: Callable[..., str]) -> Callable[..., str]:
    @lru_cache(maxsize=4096)
    def known(
        key: bytes,
        identity: tuple[str, ...],
        entries: tuple[tuple[str, str], ...],
        more: tuple[str, ...],
        named: tuple[tuple[str, Any], ...],
    ) -> str:
        return real(key, *identity, dict(entries), *more, **dict(named))

    def sealed(
        key: bytes, issuer: str, client_id: str, issue_time: str, entries: Mapping[str, str], *more: str, **named: Any
    ) -> str:
        identity = issuer, client_id, issue_time
        return known(key, identity, tuple(entries.items()), more, tuple(sorted(named.items())))

    return sealed


def _published(real: Callable[..., bytes]) -> Callable[..., bytes]:
    """A key id is the thumbprint of its key, so the same ids in the same order are the same JWKS."""
    known: dict[Any, bytes] = {}

    def published(keys: Iterable[Any], config_map: str, now: datetime) -> bytes:
        held = [k for k in keys if k.record.config_map == config_map and k.record.published_at(now)]
        ids = tuple((k.record.creation_time, k.record.kid) for k in held)
        if ids not in known:
            known[ids] = real(held, config_map, now)
        return known[ids]

    _CACHES.append(known)
    return published


def _verifies(real: Callable[[Key, bytes, bytes], bool]) -> Callable[[Key, bytes, bytes], bool]:
    known: dict[Any, bool] = {}
    _CACHES.append(known)

    def verifies(self: Key, signing_input: bytes, signature: bytes) -> bool:
        key = self.jwk["x"], self.jwk["y"], signing_input, signature
        if key not in known:
            known[key] = real(self, signing_input, signature)
        return known[key]

    return verifies
