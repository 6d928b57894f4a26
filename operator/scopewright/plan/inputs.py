"""Manifests held against what there is: the ground that a plan stands on, and what it is to change."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from scopewright.api import KINDS, OAuthClient, SigningKey
from scopewright.api.validation import validate_update
from scopewright.controller.index import secret_of, service_account_of
from scopewright.controller.reconcile import parse_declared
from scopewright.core.claims import stated_issuer
from scopewright.core.config import Config
from scopewright.core.failures import Rejected
from scopewright.core.grants import Labels
from scopewright.core.installation import default_signing_key, seal_key, seal_key_ref
from scopewright.core.objects import MANAGED_BY, MANAGER, Ref
from scopewright.manifests.load import Manifests
from scopewright.manifests.validate import NAMESPACE, namespaces_of, ref_of
from scopewright.plan.changes import Finding
from scopewright.plan.cluster_reader import Owned, Seen
from scopewright.plan.diff import changed_fields
from scopewright.plan.dry_run import INSTANT, NO_SEAL_KEY, Ground, Intent, Raw

NOTHING: Final = Manifests({})

NOT_YET: Final = "not there yet"
"""The UID of a ServiceAccount that is to come: its manifest is none that is read here."""


@dataclass(frozen=True, slots=True)
class Proposal:
    """What `planning.changes` needs; what the API server would refuse before anything is reconciled, and warnings."""

    ground: Ground
    intent: Intent
    refusals: tuple[Finding, ...] = ()
    warnings: tuple[Finding, ...] = ()


def between(base: Manifests | None, wanted: Manifests, config: Config, now: datetime) -> Proposal:
    """From what one directory declares (None: nothing at all) to what another does. What is broken stays as it was."""
    before = base or NOTHING
    present = {**ours(before.objects, config), **_first_key(base, before, wanted, config)}
    stays = {ref: raw for ref, raw in present.items() if ref not in wanted.objects and _stays(ref, before, wanted)}
    names_before = namespaces_of(before.objects)
    names_after = namespaces_of({**stays, **wanted.objects})
    applied, refusals = _applied(present, wanted, config)
    accounts = dict.fromkeys(
        (account for account, _ in _accounts_named({**present, **ours(wanted.objects, config)})), NOT_YET
    )
    ground = Ground(present, names_before, service_accounts=accounts, as_of=_as_of(present, applied, now))
    deleted = present.keys() - wanted.objects.keys() - stays.keys()
    return Proposal(ground, Intent(applied, frozenset(deleted), names_after), tuple(refusals))


def onto(seen: Seen, named: Iterable[Owned], wanted: Manifests, config: Config, *, prune: bool) -> Proposal:
    """From what a cluster declares to what a directory adds and, with `prune`, leaves out in the namespaces it names.

    `named` are Secrets and ConfigMaps that the manifests name, whosever they are.
    """
    present, unreadable = _readable(ours(seen.objects, config))
    if not any(ref.kind == "SigningKey" for ref in (*present, *wanted.objects)):
        present |= _default_key(config)
    applied, refusals = _applied(present, wanted, config)
    namespaces = _labelled(seen.namespaces, wanted)
    for ref in [r for r in applied if r.namespace not in namespaces]:
        del applied[ref]
        message = f"namespace {ref.namespace} is not there: create it, or put its manifest beside this one"
        refusals.append(Finding(ref, "NamespaceNotFound", message, ("metadata", "namespace")))
    deleted = frozenset(_left_out(present, wanted) if prune and not wanted.obscured else ())
    owned = {existing.ref: (existing, entries) for existing, entries in (*seen.owned, *named)}
    sealed = owned.get(seal_key_ref(config))
    missing = {ref: by for ref, by in _accounts_named(ours(wanted.objects, config)) if ref not in seen.service_accounts}
    ground = Ground(
        present, seen.namespaces, tuple(owned.values()), seal_key(*sealed) if sealed else NO_SEAL_KEY,
        {**seen.service_accounts, **dict.fromkeys(missing, NOT_YET)},
    )  # fmt: skip
    told = (*unreadable, *(_no_account(by, ref) for ref, by in missing.items()))
    return Proposal(ground, Intent(applied, deleted, namespaces), tuple(refusals), told)


def names(objects: Mapping[Ref, Raw], config: Config) -> set[Ref]:
    """The Secrets and ConfigMaps that the objects name, and which may be somebody else's."""
    found = set()
    for raw in _readable(ours(objects, config))[0].values():
        obj = parse_declared(raw)
        if isinstance(obj, OAuthClient):
            found.add(secret_of(obj))
        if isinstance(obj, SigningKey):
            found.add(Ref("ConfigMap", config.namespace, obj.spec.jwks.config_map_name))
    return found


def ignored(wanted: Manifests, config: Config) -> int:
    """How many of the manifests are for other installations."""
    return sum(1 for ref in wanted.objects if ref.kind in KINDS) - len(ours(wanted.objects, config))


def ours(objects: Mapping[Ref, Raw], config: Config) -> dict[Ref, Raw]:
    """Of the four kinds, and for this installation."""
    return {ref: raw for ref, raw in objects.items() if ref.kind in KINDS and stated_issuer(raw) == config.name}


def _accounts_named(objects: Mapping[Ref, Raw]) -> Iterator[tuple[Ref, Ref]]:
    """ServiceAccounts of this cluster, and the OAuthClients that name them."""
    for ref, raw in sorted(objects.items()):
        obj = parse_declared(raw)
        if isinstance(obj, OAuthClient) and (account := service_account_of(obj)):
            yield account, ref


def _no_account(client: Ref, account: Ref) -> Finding:
    message = f"there is no ServiceAccount {account.name} in namespace {account.namespace} yet: apply it as well"
    return Finding(client, "ServiceAccountNotFound", message, ("spec", "authentication", "serviceAccount"))


def _readable(objects: Mapping[Ref, Raw]) -> tuple[dict[Ref, Raw], list[Finding]]:
    present, findings = {}, []
    for ref, raw in objects.items():
        try:
            parse_declared(raw)
            present[ref] = raw
        except Rejected as error:
            findings.append(Finding(ref, "Unreadable", f"it counts as not there: {error.message}"))
    return present, findings


def _applied(present: Mapping[Ref, Raw], wanted: Manifests, config: Config) -> tuple[dict[Ref, Raw], list[Finding]]:
    """The manifests that change something, as they would then be, and what transition rules refuse."""
    applied: dict[Ref, Raw] = {}
    refusals: list[Finding] = []
    own = ours(wanted.objects, config)
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
    """As an apply leaves it where somebody else may have added labels and annotations."""
    old, new = was["metadata"], manifest["metadata"]
    texts = {k: {**(old.get(k) or {}), **(new.get(k) or {})} for k in ("labels", "annotations")}
    if "resourceVersion" not in old:
        texts = {k: new.get(k) or {} for k in texts}
    return {**manifest, "metadata": {**old, **new, **texts}}


def _stays(ref: Ref, before: Manifests, wanted: Manifests) -> bool:
    source = before.sources.get(ref)
    return source is None or ref in wanted.broken or wanted.obscures(source.file)


def _first_key(base: Manifests | None, before: Manifests, wanted: Manifests, config: Config) -> dict[Ref, Raw]:
    """The SigningKey that the operator makes where nobody declares one; it is there before and after."""
    declared = [ref for ref in before.objects if ref.kind == "SigningKey"]
    if base is None:
        declared += [ref for ref in wanted.objects if ref.kind == "SigningKey"]
    return {} if declared else _default_key(config)


def _default_key(config: Config) -> dict[Ref, Raw]:
    raw = default_signing_key(config)
    return {ref_of(raw): raw}


def _left_out(present: Mapping[Ref, Raw], wanted: Manifests) -> Iterable[Ref]:
    """What the namespaces hold that the manifests name, but for what the operator has made by itself."""
    named = {ref.name if ref.kind == NAMESPACE else ref.namespace for ref in (*wanted.objects, *wanted.broken)}
    for ref, raw in present.items():
        by_itself = (raw["metadata"].get("labels") or {}).get(MANAGED_BY) == MANAGER
        if ref.namespace in named and ref not in wanted.objects and ref not in wanted.broken and not by_itself:
            yield ref


def _labelled(namespaces: Mapping[str, Labels], wanted: Manifests) -> dict[str, Labels]:
    declared = namespaces_of({ref: raw for ref, raw in wanted.objects.items() if ref.kind == NAMESPACE})
    return {**namespaces, **{name: {**namespaces.get(name, {}), **labels} for name, labels in declared.items()}}


def _as_of(present: Mapping[Ref, Raw], applied: Mapping[Ref, Raw], now: datetime) -> dict[Ref, datetime]:
    """No directory says how old a credential or a key is: with a new `revokedBefore`, just too old."""
    found = {}
    for ref, raw in applied.items():
        before = _revoked_before(raw)
        if before and before <= now and ref in present and before != _revoked_before(present[ref]):
            found[ref] = before - INSTANT
    return found


def _revoked_before(raw: Raw) -> datetime | None:
    obj = parse_declared(raw)
    if isinstance(obj, OAuthClient):
        return obj.spec.rotation.revoked_before
    return obj.spec.revoked_before if isinstance(obj, SigningKey) else None
