"""Inputs of a plan: the objects that exist (`PlanBase`) and what manifests change (`PlannedChanges`)."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from scopewright.api import KINDS, OAuthClient, SigningKey
from scopewright.api.validation import validate_update
from scopewright.controller.index import secret_of, service_account_of
from scopewright.core.claims import issuer_of
from scopewright.core.config import Config
from scopewright.core.declared import parse_declared
from scopewright.core.failures import Rejected
from scopewright.core.grants import Labels
from scopewright.core.installation import default_signing_key, id_token_signing_key, seal_key, seal_key_ref
from scopewright.core.objects import MANAGED_BY, MANAGER, Ref
from scopewright.manifests.validate import NAMESPACE, Manifests, manifest_ref, namespaces_of
from scopewright.plan.changes import Finding
from scopewright.plan.cluster_reader import ClusterSnapshot, ManagedObject
from scopewright.plan.diff import changed_fields
from scopewright.plan.dry_run import INSTANT, NO_SEAL_KEY, PlanBase, PlannedChanges, Raw

NOTHING: Final = Manifests({})

ESTABLISHED: Final = timedelta(days=7)
"""Age of the SigningKey of ID tokens where it is not declared: its key signs, and is not due for rotation."""

NOT_YET: Final = "not there yet"
"""UID of a ServiceAccount that does not exist yet: manifests of ServiceAccounts are not read."""


@dataclass(frozen=True, slots=True)
class PlanInput:
    """Arguments of `dry_run`, refusals that the API server would return at admission, and warnings."""

    base: PlanBase
    changes: PlannedChanges
    refusals: tuple[Finding, ...] = ()
    warnings: tuple[Finding, ...] = ()


def diff_directories(against: Manifests | None, wanted: Manifests, config: Config, now: datetime) -> PlanInput:
    """From one directory (None: no objects) to another. A broken manifest leaves its object unchanged."""
    before = against or NOTHING
    present = {**of_this_installation(before.objects, config), **_first_keys(against, before, wanted, config)}
    stays = {ref: raw for ref, raw in present.items() if ref not in wanted.objects and _stays(ref, before, wanted)}
    names_before = namespaces_of(before.objects)
    names_after = namespaces_of({**stays, **wanted.objects})
    applied, refusals = _applied(present, wanted, config)
    named = _accounts_named({**present, **of_this_installation(wanted.objects, config)})
    accounts = dict.fromkeys((account for account, _ in named), NOT_YET)
    as_of = {_id_tokens_ref(config): now - ESTABLISHED} | _as_of(present, applied, now)
    base = PlanBase(present, names_before, service_accounts=accounts, as_of=as_of)
    deleted = present.keys() - wanted.objects.keys() - stays.keys()
    return PlanInput(base, PlannedChanges(applied, frozenset(deleted), names_after), tuple(refusals))


def diff_cluster(
    cluster: ClusterSnapshot, named: Iterable[ManagedObject], wanted: Manifests, config: Config, *, prune: bool
) -> PlanInput:
    """From a cluster to a directory applied to it. With `prune`, objects of the namespaces that the directory names are
    deleted where it lacks them. `named` are Secrets and ConfigMaps that the manifests name, of any owner.
    """
    present, unreadable = _readable(of_this_installation(cluster.objects, config))
    if not any(ref.kind == "SigningKey" for ref in (*present, *wanted.objects)):
        present |= _default_key(config)
    applied, refusals = _applied(present, wanted, config)
    namespaces = _labelled(cluster.namespaces, wanted)
    for ref in [r for r in applied if r.namespace not in namespaces]:
        del applied[ref]
        message = f"namespace {ref.namespace} does not exist: create it, or add its manifest to the directory"
        refusals.append(Finding(ref, "NamespaceNotFound", message, ("metadata", "namespace")))
    deleted = frozenset(_pruned(present, wanted) if prune and not wanted.incomplete else ())
    managed = {existing.ref: (existing, entries) for existing, entries in (*cluster.managed, *named)}
    sealed = managed.get(seal_key_ref(config))
    accounts = _accounts_named(of_this_installation(wanted.objects, config))
    missing = {ref: by for ref, by in accounts if ref not in cluster.service_accounts}
    base = PlanBase(
        present, cluster.namespaces, tuple(managed.values()), seal_key(*sealed) if sealed else NO_SEAL_KEY,
        {**cluster.service_accounts, **dict.fromkeys(missing, NOT_YET)},
        is_whole=True,
    )  # fmt: skip
    findings = (*unreadable, *(_no_account(by, ref) for ref, by in missing.items()))
    return PlanInput(base, PlannedChanges(applied, deleted, namespaces), tuple(refusals), findings)


def named_objects(objects: Mapping[Ref, Raw], config: Config) -> set[Ref]:
    """Secrets and ConfigMaps that the objects name. They may belong to another owner."""
    refs = set()
    for raw in _readable(of_this_installation(objects, config))[0].values():
        obj = parse_declared(raw)
        if isinstance(obj, OAuthClient):
            refs.add(secret_of(obj))
        if isinstance(obj, SigningKey):
            refs.add(Ref("ConfigMap", config.namespace, obj.spec.jwks.config_map_name))
    return refs


def count_other_installations(wanted: Manifests, config: Config) -> int:
    """Number of manifests whose `spec.issuer` names another installation."""
    return sum(1 for ref in wanted.objects if ref.kind in KINDS) - len(of_this_installation(wanted.objects, config))


def of_this_installation(objects: Mapping[Ref, Raw], config: Config) -> dict[Ref, Raw]:
    """Objects of the five kinds whose `spec.issuer` names this installation."""
    return {ref: raw for ref, raw in objects.items() if ref.kind in KINDS and issuer_of(raw) == config.name}


def _accounts_named(objects: Mapping[Ref, Raw]) -> Iterator[tuple[Ref, Ref]]:
    """Pairs of a ServiceAccount of this cluster and an OAuthClient that names it."""
    for ref, raw in sorted(objects.items()):
        obj = parse_declared(raw)
        if isinstance(obj, OAuthClient) and (account := service_account_of(obj)):
            yield account, ref


def _no_account(client: Ref, account: Ref) -> Finding:
    message = f"ServiceAccount {account.name} does not exist in namespace {account.namespace}: apply it too"
    return Finding(client, "ServiceAccountNotFound", message, ("spec", "authentication", "serviceAccount"))


def _readable(objects: Mapping[Ref, Raw]) -> tuple[dict[Ref, Raw], list[Finding]]:
    present, findings = {}, []
    for ref, raw in objects.items():
        try:
            parse_declared(raw)
            present[ref] = raw
        except Rejected as error:
            findings.append(Finding(ref, "Unreadable", f"the object is ignored: {error.message}"))
    return present, findings


def _applied(present: Mapping[Ref, Raw], wanted: Manifests, config: Config) -> tuple[dict[Ref, Raw], list[Finding]]:
    """Manifests that change an object, as the object would be then, and refusals of transition rules."""
    applied: dict[Ref, Raw] = {}
    refusals: list[Finding] = []
    own = of_this_installation(wanted.objects, config)
    for ref, manifest in wanted.objects.items():
        was = present.get(ref)
        if was is None:
            applied |= {ref: manifest} if ref in own else {}
            continue
        if violations := validate_update(dict(was), dict(manifest)):
            refusals += [Finding(ref, "Immutable", v.message, v.path) for v in violations]
            continue
        merged = _merged(was, manifest)
        if changed_fields(parse_declared(was), parse_declared(merged)):
            applied[ref] = merged
    return applied, refusals


def _merged(was: Raw, manifest: Raw) -> Raw:
    """The object after an apply: labels and annotations of other field managers stay."""
    old, new = was["metadata"], manifest["metadata"]
    texts = {k: {**(old.get(k) or {}), **(new.get(k) or {})} for k in ("labels", "annotations")}
    if "resourceVersion" not in old:
        texts = {k: new.get(k) or {} for k in texts}
    return {**manifest, "metadata": {**old, **new, **texts}}


def _stays(ref: Ref, before: Manifests, wanted: Manifests) -> bool:
    source = before.sources.get(ref)
    return source is None or ref in wanted.broken or wanted.is_incomplete(source.file)


def _first_keys(against: Manifests | None, before: Manifests, wanted: Manifests, config: Config) -> dict[Ref, Raw]:
    """The SigningKeys that every installation has where they are not declared; they exist before and after: that of
    access tokens if none is declared, and that of ID tokens.
    """
    declared = {ref for ref in before.objects if ref.kind == "SigningKey"}
    if against is None:
        declared |= {ref for ref in wanted.objects if ref.kind == "SigningKey"}
    of_id_tokens = _id_tokens_ref(config)
    named = of_id_tokens in before.objects or of_id_tokens in wanted.objects
    return ({} if declared else _default_key(config)) | ({} if named else {of_id_tokens: id_token_signing_key(config)})


def _id_tokens_ref(config: Config) -> Ref:
    return manifest_ref(id_token_signing_key(config))


def _default_key(config: Config) -> dict[Ref, Raw]:
    raw = default_signing_key(config)
    return {manifest_ref(raw): raw}


def _pruned(present: Mapping[Ref, Raw], wanted: Manifests) -> Iterable[Ref]:
    """Objects that the manifests lack, in namespaces that they name; not those that the operator created."""
    named = {ref.name if ref.kind == NAMESPACE else ref.namespace for ref in (*wanted.objects, *wanted.broken)}
    for ref, raw in present.items():
        by_operator = (raw["metadata"].get("labels") or {}).get(MANAGED_BY) == MANAGER
        if ref.namespace in named and ref not in wanted.objects and ref not in wanted.broken and not by_operator:
            yield ref


def _labelled(namespaces: Mapping[str, Labels], wanted: Manifests) -> dict[str, Labels]:
    declared = namespaces_of({ref: raw for ref, raw in wanted.objects.items() if ref.kind == NAMESPACE})
    return {**namespaces, **{name: {**namespaces.get(name, {}), **labels} for name, labels in declared.items()}}


def _as_of(present: Mapping[Ref, Raw], applied: Mapping[Ref, Raw], now: datetime) -> dict[Ref, datetime]:
    """Manifests do not contain the age of credentials and keys: assume that a new `revokedBefore` revokes them all."""
    as_of = {}
    for ref, raw in applied.items():
        before = _revoked_before(raw)
        if before and before <= now and ref in present and before != _revoked_before(present[ref]):
            as_of[ref] = before - INSTANT
    return as_of


def _revoked_before(raw: Raw) -> datetime | None:
    obj = parse_declared(raw)
    if isinstance(obj, OAuthClient):
        return obj.spec.rotation.revoked_before
    return obj.spec.revoked_before if isinstance(obj, SigningKey) else None
