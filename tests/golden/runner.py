"""Golden cases: from the objects in a YAML file, the operator makes the plan in that file.

| part of the file | content |
| --- | --- |
| `now` | the instant of the plan |
| `config` | differences from the default configuration |
| `declared` | manifests; `metadata` has uid `uid-1` and generation 1 unless it says otherwise |
| `about` | the object to plan, as `SigningKey scopewright-system/default`; by default the first declared one |
| `existing` | Secrets and ConfigMaps, as `tests/golden/existing.py` reads them |
| `referenced` | Secrets and ConfigMaps that an IdentityProvider names: `kind`, `name`, `type`, `entries` |
| `checked` | the last check of the IdentityProvider: empty, or the `reason` and `message` of its failure |
| `namespaces` | labels, by name |
| `serviceAccounts` | UIDs, by `<namespace>/<name>` |
| `plan` | the expected plan |

Secrets and keys have names in a case (`secret: one`, `key: first`), which the plan shows in place of their values.
Generated ones have the names `generated #1`, `generated #2` and so on. `UPDATE_GOLDEN=1` writes the actual plan into
the file.
"""

import os
from collections.abc import Mapping
from datetime import datetime
from itertools import count
from pathlib import Path
from typing import Any, cast

from scopewright.api import API_VERSION
from scopewright.controller.cache import Cache
from scopewright.controller.reconcile import Reconciler
from scopewright.controller.views import Dependencies, ReconcileProgress
from scopewright.core.config import Config
from scopewright.core.declared import Declared, parse_declared
from scopewright.core.failures import Unavailable
from scopewright.core.objects import Existing, Ref
from scopewright.core.plan import Event
from scopewright.core.providers.view import CheckResult, CheckTarget
from scopewright.core.signing.view import GeneratedKey
from scopewright.stores import Store
from tests.golden.existing import SEAL_KEY, ExistingObjects
from tests.golden.names import Names
from tests.golden.printing import PlanPrinter
from tests.golden.yaml_text import Yaml, difference, dump, load
from tests.harness.operator import run_sync
from tests.harness.samples import ISSUER, named_key

HERE = Path(__file__).parent


def cases() -> list[Path]:
    return sorted(HERE.glob("*/*.yaml"))


class Case:
    """One file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._text = path.read_text()
        given = load(self._text)
        self._now = datetime.fromisoformat(given["now"])
        self._config = Config.model_validate({"issuer": ISSUER} | given.get("config", {}))
        self._declared = [_manifest(manifest) for manifest in given.get("declared", ())]
        self._existing: Yaml = given.get("existing") or {}
        self._referenced: list[Yaml] = given.get("referenced", [])
        self._checked: Yaml | None = given.get("checked")
        self._namespaces: Mapping[str, Mapping[str, str]] = given.get("namespaces") or {}
        self._service_accounts: Mapping[str, str] = given.get("serviceAccounts", {})
        self._expected: Any = given.get("plan")
        self._key = _key(given.get("about"), self._declared)
        self._names = Names()
        self._secret_numbers, self._key_numbers = count(1), count(1)

    def check(self) -> None:
        """Compare the plan with the expected one, or with UPDATE_GOLDEN write it into the file."""
        actual = self.actual()
        if os.environ.get("UPDATE_GOLDEN"):
            if os.environ.get("CI"):
                raise RuntimeError("UPDATE_GOLDEN rewrites the expected plans: never in CI")
            head = self._text.split("\nplan:")[0].rstrip()
            self._path.write_text(f"{head}\n{dump({'plan': actual})}")
            return
        assert actual == self._expected, difference(self._expected, actual)

    def actual(self) -> Yaml:
        """The plan, by the operator's own reconciler on a cache with the objects of the case."""
        cache = self._cache()
        dependencies = Dependencies(lambda: self._now, self._generate_secret, self._generate_key)
        store = cast("Store", _NothingDeclared(self._config.namespace, self._referenced))
        reconciler = Reconciler(
            store,
            cache,
            self._config,
            dependencies,
            _NoEvents(),
            enqueue=lambda key: None,
            checks=_Checked(self._checked),
        )
        reconciler.set_seal_key(SEAL_KEY)
        cache.deleted.add(self._key)
        try:
            plan = run_sync(reconciler.plan(self._key, ReconcileProgress()))
        except Unavailable as error:
            return {"unavailable": error.message}
        return PlanPrinter(self._key, self._config, self._names).printed(plan)

    def _cache(self) -> Cache:
        cache = Cache(self._config.name, self._config.namespace, in_cluster=True)
        for name, labels in self._namespaces.items():
            cache.put_namespace(name, labels)
        for name, uid in self._service_accounts.items():
            cache.put_service_account(Ref("ServiceAccount", *name.split("/")), uid)
        for existing, entries in ExistingObjects(self._config, self._names).read(self._existing):
            cache.put_managed(existing, entries)
        for manifest in self._declared:
            cache.put(parse_declared(manifest))
        return cache

    def _generate_secret(self) -> str:
        secret = f"generated #{next(self._secret_numbers)}"
        self._names.secret(secret)
        return secret

    def _generate_key(self, algorithm: str) -> GeneratedKey:
        name = f"generated #{next(self._key_numbers)}"
        self._names.private_jwk(name)
        key = named_key(name)
        return GeneratedKey({**key.jwk, "alg": algorithm}, key.pem)


class _NoEvents:
    """A plan has its events; the reconciler records none here."""

    def record(self, obj: Declared, event: Event) -> None:
        return None


class _NothingDeclared:
    """A store that confirms each deletion of a declared object, and has the referenced objects. It has no other
    method.
    """

    def __init__(self, namespace: str, referenced: list[Yaml]) -> None:
        self._objects = {Ref(o["kind"], o.get("namespace", namespace), o["name"]): o for o in referenced}

    async def read(self, ref: Ref) -> tuple[Existing, dict[str, bytes]] | None:
        if (found := self._objects.get(ref)) is None:
            return None
        entries = {name: text.encode() for name, text in found["entries"].items()}
        return Existing(ref, "uid-9", "9", found.get("type", "")), entries

    async def confirm_deleted(self, ref: Ref, uid: str, since: datetime) -> str:
        return "deleted"


class _Checked:
    """Checks of which the last one is in the case, for whatever is to be checked."""

    def __init__(self, result: Yaml | None) -> None:
        self._result = result
        self._target: CheckTarget | None = None

    def last(self, key: Ref) -> CheckResult | None:
        return CheckResult(self._target, **self._result) if self._target and self._result is not None else None

    def expect(self, key: Ref, target: CheckTarget | None) -> None:
        self._target = target


def _manifest(given: Yaml) -> Yaml:
    meta = {"uid": "uid-1", "resourceVersion": "1", "generation": 1, **given["metadata"]}
    return {"apiVersion": API_VERSION, **given, "metadata": meta}


def _key(about: str | None, declared: list[Yaml]) -> Ref:
    if about:
        kind, _, name = about.partition(" ")
        return Ref(kind, *name.split("/"))
    first = declared[0]
    return Ref(first["kind"], first["metadata"]["namespace"], first["metadata"]["name"])
