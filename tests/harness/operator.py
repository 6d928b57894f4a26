"""`OperatorHarness`: an operator without a cluster, on a store in memory, with a clock that the test sets.

`settle` reconciles every object until nothing is written any more; `restart` is a new process, which knows only what
the store holds. The invariants are checked after each write.
"""

import hashlib
import itertools
import json
from collections.abc import Coroutine, Mapping
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any, TypeVar, cast

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from scopewright.controller.cache import Cache, precedence
from scopewright.controller.key_generation import public_members
from scopewright.controller.reconcile import Reconciler
from scopewright.controller.views import Dependencies
from scopewright.core.config import Config
from scopewright.core.declared import Declared, parse_declared
from scopewright.core.failures import Rejected, Unavailable
from scopewright.core.objects import MANAGED_BY, MANAGER, Ref, digest
from scopewright.core.plan import Event
from scopewright.core.records.client import ClientRecord
from scopewright.core.records.codec import decode
from scopewright.core.records.names import (
    CLIENT_TYPE,
    ENTRY,
    PRIVATE_KEY_ENTRY,
    SIGNING_KEY_TYPE,
    client_record_name,
    resource_server_record_name,
)
from scopewright.core.records.resource_server import ResourceServerRecord
from scopewright.core.records.signing_key import KeyRecord
from scopewright.core.signing.view import GeneratedKey
from scopewright.stores import Selection
from scopewright.verifier.thumbprint import thumbprint
from tests.harness.memory_store import MemoryStore

T = TypeVar("T")
START = datetime(2026, 11, 22, 12, tzinfo=UTC)
NAMESPACE = "scopewright-system"
ISSUER = "https://issuer.example.org"
SEAL_KEY = b"the seal key of the simulations!"
SECRET_TYPE = "servicebinding.io/oauth2"
SELECTIONS = (
    Selection("Secret", None, {MANAGED_BY: MANAGER}),
    Selection("ConfigMap", NAMESPACE, {MANAGED_BY: MANAGER}),
)


@cache
def private_key(serial: int) -> ec.EllipticCurvePrivateKey:
    seed = hashlib.sha256(f"key {serial}".encode()).digest()
    return ec.derive_private_key(int.from_bytes(seed), ec.SECP256R1())


@cache
def made(serial: int) -> GeneratedKey:
    members = public_members(private_key(serial))
    pem = private_key(serial).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return GeneratedKey({**members, "kid": thumbprint(members), "alg": "ES256", "use": "sig"}, pem)


def run_sync(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run what waits for nothing: the store in memory answers at once."""
    try:
        coroutine.send(None)
    except StopIteration as end:
        return cast("T", end.value)
    raise AssertionError("it waits for something")


class OperatorHarness:
    """One installation. Time stands still unless `pass_time` moves it, but for a millisecond at every look."""

    def __init__(self, config: Config | None = None) -> None:
        self.config = config or Config(issuer=ISSUER)
        self.now = START
        self.store = MemoryStore(lambda: self.now)
        self.namespaces: dict[str, Mapping[str, str]] = {}
        self.service_accounts: dict[str, str] = {}
        """The cluster's, by `<namespace>/<name>`, with their UIDs."""
        self.happened: list[Event] = []
        self.due: dict[Ref, datetime] = {}
        self.minted = itertools.count(1)
        self.keys_made = itertools.count(1)
        self.seal_key = SEAL_KEY
        self.store.after_write = self.check
        self.deleted: set[Ref] = set()
        self.checks = 0
        self.settled_secrets: dict[Ref, str] = {}
        self.restart()

    # What happens to it

    def restart(self) -> None:
        """A new process: the world is what the store holds."""
        self.store.trouble.clear()
        self.cache = Cache(self.config.name, self.config.namespace, in_cluster=True, limits=self.config.limits)
        self._enqueued: set[Ref] = set()
        self.reconciler = Reconciler(
            self.store, self.cache, self.config, Dependencies(self._tick, self._mint, self._make_key), self,
            enqueue=self._enqueued.add,
        )  # fmt: skip
        self.reconciler.set_seal_key(self.seal_key)
        self.look()

    def look(self) -> None:
        """Everything is listed again, as a resync and a new list do."""
        for name, labels in self.namespaces.items():
            self.cache.put_namespace(name, labels)
        accounts = {Ref("ServiceAccount", *at.split("/")): uid for at, uid in self.service_accounts.items()}
        for ref in accounts.keys() | set(self.cache.service_accounts or ()):
            self.cache.put_service_account(ref, accounts.get(ref))
        for raw in self.store.declared.values():
            self.cache.put(parse_declared(raw))
        for objects in self.cache.declared.values():
            for ref in set(objects) - set(self.store.declared):
                self.cache.drop(ref, str(self.store._version))
                self.deleted.add(ref)
        found = [held for selection in SELECTIONS for held in self.store.selected(selection)]
        for held in found:
            self.cache.put_managed(held.existing, held.entries)
        for ref in set(self.cache.managed.objects) - {held.existing.ref for held in found}:
            self.cache.drop_managed(ref)
        self.cache.deleted |= self.deleted - set(self.store.declared)

    def apply(
        self, kind: str, namespace: str, name: str, spec: Mapping[str, Any] | None = None, **annotations: str
    ) -> Ref:
        given = {"scopewright.dev/" + k: v for k, v in annotations.items()}
        self.store.apply(
            {"kind": kind, "metadata": {"namespace": namespace, "name": name, "annotations": given}, "spec": spec or {}}
        )
        return Ref(kind, namespace, name)

    def pass_time(self, time: timedelta) -> None:
        self.now += time

    def settle(self, steps: int = 12) -> None:
        """Reconcile everything, round after round, until a round writes nothing; more than `steps` is a failure."""
        for _ in range(steps):
            before = len(self.store.writes)
            if self.round() and len(self.store.writes) == before:
                self.settled()
                return
        raise AssertionError(f"it does not settle: {self.store.writes[-8:]}")

    def round(self) -> bool:
        """Look, and reconcile every key once. Whether all went well; what did not is tried again in the next round."""
        self.look()
        gone = {*self.deleted}
        keys = {ref for objects in self.cache.declared.values() for ref in objects} | gone
        well = True
        for key in sorted(keys, key=precedence):
            well = run_sync(self._reconcile(key)) and well
        return well

    async def _reconcile(self, key: Ref) -> bool:
        try:
            due = await self.reconciler.reconcile(key)
        except (Unavailable, Rejected):
            return False
        assert due is None or due > self.now, f"{key} is due in the past, and would be looked at again and again"
        self.due.pop(key, None)
        if due:
            self.due[key] = due
        if self.reconciler._retries.retry_time(key):
            assert due, f"a write for {key} failed, and it is never looked at again"
            self.now = max(self.now, due)
            return False
        return True

    # Reconciler's sources

    def record(self, obj: Declared, happening: Event) -> None:
        self.happened.append(happening)

    def _tick(self) -> datetime:
        self.now += timedelta(milliseconds=1)
        return self.now

    def _mint(self) -> str:
        return f"secret{next(self.minted)}"

    def _make_key(self, algorithm: str) -> GeneratedKey:
        return made(next(self.keys_made))

    # What it holds

    def client_record(self, namespace: str, name: str) -> ClientRecord | None:
        held = self.store.objects.get(Ref("Secret", NAMESPACE, client_record_name(namespace, name)))
        return decode(ClientRecord, held.entries[ENTRY]) if held else None

    def server_record(self, namespace: str, name: str) -> ResourceServerRecord | None:
        held = self.store.objects.get(Ref("ConfigMap", NAMESPACE, resource_server_record_name(namespace, name)))
        return decode(ResourceServerRecord, held.entries[ENTRY]) if held else None

    def key_records(self) -> list[KeyRecord]:
        of_keys = [h for h in self.store.objects.values() if h.existing.type == SIGNING_KEY_TYPE]
        return sorted((decode(KeyRecord, h.entries[ENTRY]) for h in of_keys), key=lambda r: r.creation_time)

    def jwks(self, name: str = "scopewright-jwks") -> set[str]:
        held = self.store.objects.get(Ref("ConfigMap", NAMESPACE, name))
        return {k["kid"] for k in json.loads(held.entries["jwks.json"])["keys"]} if held else set()

    def secret(self, namespace: str = "leave", name: str = "worker-oauth") -> Ref:
        return Ref("Secret", namespace, name)

    def value(self, ref: Ref | None = None) -> str:
        return self.store.entry(ref or self.secret(), "client_secret").decode()

    def status(self, ref: Ref) -> dict[str, Any]:
        return dict(self.store.declared[ref].get("status", {}))

    def condition(self, ref: Ref, type: str = "Ready") -> str:  # noqa: A002 (the field's own name)
        """`True Provisioned`, for instance."""
        found = [c for c in self.status(ref).get("conditions", []) if c["type"] == type]
        return f"{found[0]['status']} {found[0]['reason']}" if found else ""

    # What must hold after every single write

    def check(self) -> None:
        self.checks += 1
        self.check_secrets()
        self.check_keys()
        self.check_silence()

    def check_secrets(self) -> None:
        """Invariant 1: what a Secret of ours holds, the issuer accepts, unless it was revoked or is not ours."""
        for held in self.store.objects.values():
            at = held.existing.ref
            if held.existing.type != SECRET_TYPE or not (value := credential_in(held.entries)):
                continue
            raw = next((r for r in self.store.declared.values() if held.existing.owner_uids == (_uid(r),)), None)
            if raw is None or not self._current(raw, at):
                continue
            namespace, name = raw["metadata"]["namespace"], raw["metadata"]["name"]
            if Ref("Secret", NAMESPACE, client_record_name(namespace, name)) in self.store.taken:
                continue
            record = self.client_record(namespace, name)
            accepted = {c.sha256 for c in record.credentials if c.accepted_at(self.now)} if record else set()
            if digest(value) in accepted:
                continue
            revoked = raw["spec"].get("rotation", {}).get("revokedBefore", "")
            issued = held.existing.annotations["scopewright.dev/issue-time"]
            allowed = revoked and datetime.fromisoformat(issued) < datetime.fromisoformat(revoked)
            assert allowed, f"{at} holds what no record accepts"

    def _current(self, raw: Mapping[str, Any], at: Ref) -> bool:
        meta, wanted = raw["metadata"], raw["spec"].get("credentials", {}).get("secretName")
        return at.name == (wanted or f"{meta['name']}-oauth")

    def check_keys(self) -> None:
        """Invariant 2, as far as an instant shows it: what may sign is published; what is revoked cannot sign."""
        published = {
            kid for held in self.store.objects.values() if "jwks.json" in held.entries for kid in _kids(held.entries)
        }
        for record in self.key_records():
            if record.signs_at(self.now):
                assert record.kid in published, "a key signs that the JWKS does not hold"
        for held in self.store.objects.values():
            if held.existing.type == SIGNING_KEY_TYPE and decode(KeyRecord, held.entries[ENTRY]).revoked_time:
                assert PRIVATE_KEY_ENTRY not in held.entries, "a revoked key kept its private part"

    def check_silence(self) -> None:
        """Invariant 9: no secret and no private key in a ConfigMap, a status, an event or a record."""
        texts = [json.dumps(raw.get("status", {})) for raw in self.store.declared.values()]
        texts += [f"{h.reason} {h.message}" for h in self.happened]
        for held in self.store.objects.values():
            if held.existing.ref.kind == "ConfigMap" or held.existing.type == CLIENT_TYPE:
                texts += [value.decode() for value in held.entries.values()]
        text = "\n".join(texts)
        assert "PRIVATE KEY" not in text
        assert '"d":' not in text
        assert not any(f"secret{n}" in text for n in range(1, 40))

    def settled(self) -> None:
        """What must hold once nothing is written any more: every Ready client's Secret holds what works for good."""
        for ref, raw in self.store.declared.items():
            if ref.kind != "OAuthClient" or not self.condition(ref).startswith("True"):
                continue
            name = raw["spec"].get("credentials", {}).get("secretName") or f"{ref.name}-oauth"
            record = self.client_record(ref.namespace, ref.name)
            assert record is not None
            lasting = {c.sha256 for c in record.credentials if c.expiration_time is None}
            held = self.store.objects[Ref("Secret", ref.namespace, name)].entries
            if record.service_account or record.public_keys:
                assert not lasting, "a credential goes on that nobody needs"
                assert "client_secret" not in held
                assert "private_key.jwk" not in held
            else:
                assert digest(credential_in(held)) in lasting
            assert len(record.credentials) <= 4


def credential_in(entries: Mapping[str, bytes]) -> bytes:
    """What a Secret holds that the operator has made; nothing, if it holds what somebody chose."""
    secret, pair = entries.get("client_secret", b""), entries.get("private_key.jwk", b"")
    return secret if secret.startswith(b"secret") else pair if b'"d":' in pair else b""


def _uid(raw: Mapping[str, Any]) -> str:
    return str(raw["metadata"]["uid"])


def _kids(entries: Mapping[str, bytes]) -> set[str]:
    return {k["kid"] for k in json.loads(entries["jwks.json"])["keys"]}
