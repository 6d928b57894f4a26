"""Objects, and a cache and its handlers, for the tests of the cache."""

from typing import Any, TypeVar, cast

from scopewright.controller.cache import Cache
from scopewright.controller.resync import WatchMonitor
from scopewright.controller.watch_handlers import WatchHandlers
from scopewright.core.config import Config
from scopewright.core.declared import Declared
from scopewright.core.objects import Existing, Ref
from scopewright.core.records.codec import encode
from scopewright.core.records.names import (
    ENTRY,
    PRIVATE_KEY_ENTRY,
    SIGNING_KEY_TYPE,
    key_record_name,
)
from scopewright.core.records.signing_key import KeyRecord
from tests.harness.samples import ISSUER, JWKS, NAMESPACE, generated_key
from tests.unit.core.builders import NOW

ASKS: dict[str, Any] = {"access": [{"resourceServer": "payroll-api", "namespace": "payroll", "scopes": ["read"]}]}
D = TypeVar("D", bound=Declared)
WORKER = Ref("OAuthClient", "leave", "worker")
API = Ref("ResourceServer", "payroll", "payroll-api")
GRANT = Ref("ScopeGrant", "payroll", "grant")
TO_LEAVE: dict[str, Any] = {"resourceServer": "payroll-api", "scopes": ["read"], "to": [{"namespace": "leave"}]}
BY_LABEL = {**TO_LEAVE, "to": [{"namespaceSelector": {"matchLabels": {"team": "hr"}}}]}
SECRET = Ref("Secret", "leave", "worker-oauth")


def versioned(obj: D, version: str, **meta: Any) -> D:
    changed = obj.metadata.model_copy(update={"resource_version": version, **meta})
    return cast("D", obj.model_copy(update={"metadata": changed}))


def cache_of(*declared: Declared) -> Cache:
    cache = Cache("default", NAMESPACE)
    for obj in declared:
        cache.put(obj)
    return cache


def secret(version: str = "5", *, ref: Ref = SECRET, **more: Any) -> Existing:
    return Existing(ref, "uid", version, owner_uids=("uid-1",), **more)


def key_record_object(number: int, **more: Any) -> tuple[Existing, dict[str, bytes]]:
    key = generated_key(number)
    record = KeyRecord(key.jwk["kid"], "default", "ES256", JWKS, key.jwk, NOW)
    at = Ref("Secret", NAMESPACE, key_record_name(record.kid))
    return Existing(at, "u", "5", type=SIGNING_KEY_TYPE), {ENTRY: encode(record), PRIVATE_KEY_ENTRY: key.pem, **more}


def watch_handlers(cache: Cache) -> tuple[WatchHandlers, list[tuple[Ref, float]]]:
    enqueued: list[tuple[Ref, float]] = []
    enqueue = lambda key, delay: enqueued.append((key, delay))  # noqa: E731
    return WatchHandlers(cache, Config(issuer=ISSUER), WatchMonitor(), enqueue, lambda ref, existing: None), enqueued


def raw(version: str, **meta: Any) -> dict[str, Any]:
    given = {"name": "worker", "namespace": "leave", "uid": "uid-1", "resourceVersion": version, **meta}
    return {"apiVersion": "scopewright.dev/v1alpha1", "kind": "OAuthClient", "metadata": given, "spec": {}}
