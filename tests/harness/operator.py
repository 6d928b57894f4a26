"""`OperatorHarness`: the operator's reconciliation without a cluster."""

import itertools
import json
from collections.abc import Coroutine, Mapping
from datetime import datetime
from typing import Any, TypeVar, cast

from scopewright.controller.cache import Cache
from scopewright.controller.reconcile import Reconciler
from scopewright.controller.relations import precedence
from scopewright.controller.views import Dependencies
from scopewright.controller.write_retries import WriteRetries
from scopewright.core.config import Config
from scopewright.core.declared import Declared, parse_declared
from scopewright.core.failures import Rejected, Unavailable
from scopewright.core.objects import MANAGED_BY, MANAGER, Existing, ManagedKind, Ref
from scopewright.core.plan import Event
from scopewright.core.providers.view import CheckResult, CheckTarget
from scopewright.core.records.client import ClientRecord
from scopewright.core.records.codec import decode
from scopewright.core.records.identity_provider import IdentityProviderRecord
from scopewright.core.records.names import (
    ENTRY,
    SIGNING_KEY_TYPE,
    client_record_name,
    identity_provider_record_name,
    resource_server_record_name,
)
from scopewright.core.records.resource_server import ResourceServerRecord
from scopewright.core.records.signing_key import KeyRecord
from scopewright.core.signing.jwks import JWKS_ENTRY
from scopewright.core.signing.view import GeneratedKey
from scopewright.stores import Selection
from tests.harness.clock import Clock
from tests.harness.invariants import AFTER_EACH_WRITE, credentials_last
from tests.harness.memory_store import MemoryStore
from tests.harness.samples import ISSUER, generated_key

T = TypeVar("T")
SEAL_KEY = b"the seal key of the simulations!"
MAX_ROUNDS = 12
"""Rounds of reconciliation that `settle` allows: more than any scenario of these tests needs."""


def run_sync(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine without an event loop, and return its result. The memory store answers without waiting.

    AssertionError if the coroutine waits for something.
    """
    try:
        coroutine.send(None)
    except StopIteration as end:
        return cast("T", end.value)
    raise AssertionError("the coroutine waits")


class ScriptedChecks:
    """See `controller.provider_checks.LastChecks`. Every provider can be used, except those of `failures`."""

    def __init__(self) -> None:
        self.failures: dict[Ref, tuple[str, str]] = {}
        """Reason and message, by IdentityProvider."""
        self.pending = False
        """While true, no check has a result."""
        self.targets: dict[Ref, CheckTarget] = {}
        """What is to be checked."""

    def last(self, key: Ref) -> CheckResult | None:
        target = self.targets.get(key)
        return CheckResult(target, *self.failures.get(key, ())) if target and not self.pending else None

    def expect(self, key: Ref, target: CheckTarget | None) -> None:
        if target is None:
            self.targets.pop(key, None)
        else:
            self.targets[key] = target


class OperatorHarness:
    """One installation: the product's `Reconciler` and `Cache` on a `MemoryStore`, with a clock that the test moves.

    There is no watch and no queue. `settle` takes their place: it resyncs and reconciles every object, until nothing is
    left to write. The invariants of `tests.harness.invariants` are checked after each write, in every test.

    >>> harness = OperatorHarness()
    >>> worker = harness.apply("OAuthClient", "leave", "worker", {"rotation": {"every": "720h"}})
    >>> harness.settle()
    >>> harness.condition(worker)
    'True Provisioned'
    >>> harness.client_secret()
    'secret1'
    >>> harness.clock.advance(days=31)
    >>> harness.settle()
    >>> harness.client_secret()
    'secret2'
    >>> [event.reason for event in harness.events]
    ['CredentialIssued', 'CredentialRotated']

    Writes fail on demand: `harness.store.fail(Unavailable("no answer"))` for the next one, and `harness.store.refuse`
    for all writes of some objects (`tests.harness.memory_store`). While a write is refused, `settle` cannot succeed:
    `reconcile_all` makes one round.

    Client secrets are `secret1`, `secret2`, ..., signing keys and key pairs `generated_key(1)`, and so on.
    """

    def __init__(self, config: Config | None = None) -> None:
        self.config = config or Config(issuer=ISSUER)
        self.clock = Clock()
        """The operator's clock. It advances 1 ms each time it is read, and moves to the retry after a failed write."""
        self.store = MemoryStore(lambda: self.clock.now)
        self.store.after_write = self._check_invariants
        self.namespaces: dict[str, Mapping[str, str]] = {}
        """The cluster's namespaces, with their labels."""
        self.service_accounts: dict[str, str] = {}
        """UIDs of the cluster's ServiceAccounts, by `<namespace>/<name>`."""
        self.seal_key = SEAL_KEY
        self.events: list[Event] = []
        """Kubernetes events of all objects, the oldest first."""
        self.ready_latencies: list[tuple[str, float]] = []
        """Kind and seconds of each object that became Ready, from its last change on."""
        self.next_due: dict[Ref, datetime] = {}
        """When the operator has asked to reconcile an object again."""
        self.checks = ScriptedChecks()
        """The checks of OpenID providers."""
        self.deleted: set[Ref] = set()
        """Declared objects that a resync has found deleted."""
        self._secret_numbers = itertools.count(1)
        self._key_numbers = itertools.count(1)
        self.restart()

    # What users do

    def apply(
        self, kind: str, namespace: str, name: str, spec: Mapping[str, Any] | None = None, **annotations: str
    ) -> Ref:
        """Create or replace a declared object. `rotate="1"` is the annotation `scopewright.dev/rotate: "1"`."""
        prefixed = {"scopewright.dev/" + key: value for key, value in annotations.items()}
        metadata = {"namespace": namespace, "name": name, "annotations": prefixed}
        self.store.apply({"kind": kind, "metadata": metadata, "spec": spec or {}})
        return Ref(kind, namespace, name)

    def apply_provider(
        self, name: str = "company", oidc: Mapping[str, Any] | None = None, *, namespace: str = "", **spec: Any
    ) -> Ref:
        """Create or replace an IdentityProvider: by default a public client at `https://<name>.example`."""
        default = {"issuerURL": f"https://{name}.example", "clientID": "scopewright"}
        upstream = {**default, "clientAuthentication": {"method": "None"}, **(oidc or {})}
        return self.apply("IdentityProvider", namespace or self.config.namespace, name, {"oidc": upstream, **spec})

    def put_secret(self, name: str, type: str, kind: ManagedKind = "Secret", **entries: str) -> Ref:  # noqa: A002
        """Create or replace a Secret or ConfigMap of the platform team in the issuer's namespace. In the names of
        entries, `_` stands for `.`, but for client_secret.
        """
        ref = Ref(kind, self.config.namespace, name)
        named = {n if n == "client_secret" else n.replace("_", "."): v.encode() for n, v in entries.items()}
        self.store.put(Existing(ref, "", "", type), named)
        return ref

    def delete(self, ref: Ref, *, collect: bool = True) -> None:
        """Delete a declared object and, with `collect`, what it owns, as the garbage collector does."""
        self.store.remove(ref, collect=collect)

    # What the operator does

    def restart(self) -> None:
        """Replace the operator by a new process, which knows only what the store holds. Planned failures end."""
        self.store.failures.clear()
        self.cache = Cache(self.config.name, self.config.namespace, in_cluster=True, limits=self.config.limits)
        self.retries = WriteRetries()
        dependencies = Dependencies(self._read_clock, self.generate_secret, self.generate_key)
        self.reconciler = Reconciler(
            self.store, self.cache, self.config, dependencies, self,
            enqueue=lambda key: None, retries=self.retries, checks=self.checks,
            became_ready=lambda kind, seconds: self.ready_latencies.append((kind, seconds)),
        )  # fmt: skip
        self.reconciler.set_seal_key(self.seal_key)
        self.resync()

    def resync(self) -> None:
        """Bring the cache up to date with the store, as watches and lists do. Nothing is written."""
        for name, labels in self.namespaces.items():
            self.cache.put_namespace(name, labels)
        accounts = {Ref("ServiceAccount", *key.split("/")): uid for key, uid in self.service_accounts.items()}
        for ref in accounts.keys() | set(self.cache.service_accounts or ()):
            self.cache.put_service_account(ref, accounts.get(ref))
        for raw in self.store.declared.values():
            self.cache.put(parse_declared(raw))
        for objects in self.cache.declared.values():
            for ref in set(objects) - set(self.store.declared):
                self.cache.drop(ref, self.store.resource_version)
                self.deleted.add(ref)
        managed = [stored for selection in self._selections() for stored in self.store.selected(selection)]
        for stored in managed:
            self.cache.put_managed(stored.existing, stored.entries)
        for ref in set(self.cache.managed.objects) - {stored.existing.ref for stored in managed}:
            self.cache.drop_managed(ref)
        self.cache.deleted |= self.deleted - set(self.store.declared)

    def _selections(self) -> tuple[Selection, ...]:
        labels = {MANAGED_BY: MANAGER}
        return Selection("Secret", None, labels), Selection("ConfigMap", self.config.namespace, labels)

    def settle(self, rounds: int = MAX_ROUNDS) -> None:
        """Reconcile all objects until a round fails nowhere and writes nothing. AssertionError after `rounds`, as while
        the store refuses a write.
        """
        for _ in range(rounds):
            before = len(self.store.writes)
            if self.reconcile_all() and len(self.store.writes) == before:
                credentials_last(self)
                return
        raise AssertionError(f"the operator does not settle: {self.store.writes[-8:]}")

    def reconcile_all(self) -> bool:
        """Resync, and reconcile every object once, also each deleted one. False if any of them has to be retried: a
        failed write has then moved the clock to its retry.
        """
        self.resync()
        keys = {ref for objects in self.cache.declared.values() for ref in objects} | self.deleted
        results = [self.reconcile(key) for key in sorted(keys, key=precedence)]
        return all(results)

    def reconcile(self, key: Ref) -> bool:
        """Reconcile one object, with the cache as it is. False if it has to be retried.

        An error of the reconciler means a retry. A test of the errors runs `run_sync(reconciler.reconcile(key))`.
        """
        try:
            due = run_sync(self.reconciler.reconcile(key))
        except (Unavailable, Rejected):
            return False
        assert due is None or due > self.clock.now, f"{key} is due in the past, and would be reconciled without a pause"
        self.next_due.pop(key, None)
        if due:
            self.next_due[key] = due
        if self.retries.retry_time(key):
            assert due, f"a write for {key} failed, and is never retried"
            self.clock.now = max(self.clock.now, due)
            return False
        return True

    # Dependencies of the reconciler

    def record(self, obj: Declared, event: Event) -> None:
        """See `scopewright.controller.reconcile.Recorder`."""
        self.events.append(event)

    def generate_secret(self) -> str:
        """`secret1`, `secret2`, ..."""
        return f"secret{next(self._secret_numbers)}"

    def generate_key(self, algorithm: str) -> GeneratedKey:
        """`generated_key(1)`, `generated_key(2)`, ...: ES256, whatever the algorithm."""
        return generated_key(next(self._key_numbers))

    def _read_clock(self) -> datetime:
        self.clock.advance(milliseconds=1)
        return self.clock.now

    # What the store holds

    def client_record(self, namespace: str, name: str) -> ClientRecord | None:
        """The record of this OAuthClient; None where there is none."""
        stored = self.store.objects.get(Ref("Secret", self.config.namespace, client_record_name(namespace, name)))
        return decode(ClientRecord, stored.entries[ENTRY]) if stored else None

    def server_record(self, namespace: str, name: str) -> ResourceServerRecord | None:
        """The record of this ResourceServer; None where there is none."""
        ref = Ref("ConfigMap", self.config.namespace, resource_server_record_name(namespace, name))
        stored = self.store.objects.get(ref)
        return decode(ResourceServerRecord, stored.entries[ENTRY]) if stored else None

    def provider_record(self, name: str = "company") -> IdentityProviderRecord | None:
        """The record of this IdentityProvider; None where there is none."""
        stored = self.store.objects.get(self.provider_secret(name))
        return decode(IdentityProviderRecord, stored.entries[ENTRY]) if stored else None

    def provider_secret(self, name: str = "company") -> Ref:
        """The `Ref` of the Secret with the record of this IdentityProvider."""
        return Ref("Secret", self.config.namespace, identity_provider_record_name(name))

    def key_records(self) -> list[KeyRecord]:
        """All key records, the oldest first."""
        stored = [each for each in self.store.objects.values() if each.existing.type == SIGNING_KEY_TYPE]
        return sorted((decode(KeyRecord, each.entries[ENTRY]) for each in stored), key=lambda r: r.creation_time)

    def jwks(self, name: str = "scopewright-jwks") -> set[str]:
        """The kids of the keys in this JWKS; empty where there is none."""
        stored = self.store.objects.get(Ref("ConfigMap", self.config.namespace, name))
        return {key["kid"] for key in json.loads(stored.entries[JWKS_ENTRY])["keys"]} if stored else set()

    def secret_ref(self, namespace: str = "leave", name: str = "worker-oauth") -> Ref:
        """The `Ref` of a credential Secret, by default of OAuthClient leave/worker."""
        return Ref("Secret", namespace, name)

    def client_secret(self, ref: Ref | None = None) -> str:
        """The client secret in this credential Secret, by default of OAuthClient leave/worker."""
        return self.store.entry(ref or self.secret_ref(), "client_secret").decode()

    def status(self, ref: Ref) -> dict[str, Any]:
        """The status of a declared object; empty where it was never written."""
        return dict(self.store.declared[ref].get("status", {}))

    def condition(self, ref: Ref, type: str = "Ready") -> str:  # noqa: A002 (the field's own name)
        """Status and reason of a condition, as in `True Provisioned`; empty where the object lacks it."""
        found = [c for c in self.status(ref).get("conditions", []) if c["type"] == type]
        return f"{found[0]['status']} {found[0]['reason']}" if found else ""

    def _check_invariants(self) -> None:
        for check in AFTER_EACH_WRITE:
            check(self)
