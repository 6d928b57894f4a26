"""Compares manifests with a directory or a cluster, for `scopewright plan`. Nothing is written."""

import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from scopewright.config_file import load_config
from scopewright.core.config import Config
from scopewright.core.failures import Rejected
from scopewright.core.installation import issuer_ref
from scopewright.core.objects import Ref
from scopewright.core.records.codec import decode
from scopewright.core.records.issuer import IssuerRecord
from scopewright.core.records.names import ENTRY
from scopewright.manifests.load import load, load_text, printable
from scopewright.manifests.validate import Manifests, SourceLocation
from scopewright.plan.changes import NOT_READ, Finding, Location, PlanResult, RequestChange
from scopewright.plan.cluster_reader import ClusterSnapshot, read_cluster, read_objects
from scopewright.plan.dry_run import Raw, dry_run
from scopewright.plan.findings import marked_new
from scopewright.plan.inputs import (
    NOTHING,
    PlanInput,
    count_other_installations,
    diff_cluster,
    diff_directories,
    named_objects,
    of_this_installation,
)
from scopewright.plan.permissive_config import UNKNOWN_ISSUER, permissive_config, unchecked_rules
from scopewright.stores.kubernetes.api import Api

STANDARD_INPUT: Final = "-"
INVALID: Final = "Invalid"
TEMPLATE: Final = "templates are not rendered: render this, and pass the output to `scopewright plan -`"


@dataclass(frozen=True, slots=True)
class ManifestSource:
    """Manifests, and the directory that their file names are relative to."""

    manifests: Manifests
    root: Path

    @classmethod
    def read(cls, directory: str, without: str | None = None) -> "ManifestSource":
        """`Rejected` where the directory cannot be read. A subdirectory `without` is not read."""
        if directory == STANDARD_INPUT:
            return cls(load_text(sys.stdin.buffer.read(), "stdin"), Path())
        manifests = load(Path(directory), Path(without) if without else None)
        if not manifests.readable:
            why = manifests.problems[0]
            raise Rejected("NoDirectory", f"{directory}: {why.message}: {why.fix}")
        return cls(manifests, Path(directory))

    def find(self, ref: Ref, field: tuple[str | int, ...] = ()) -> Location | None:
        source: SourceLocation | None = self.manifests.sources.get(ref)
        return Location(printable(self.root / source.file), source.line_of(field)) if source else None


@dataclass(frozen=True, slots=True)
class PlanSettings:
    """The configuration. `rules` is whether the platform's own file was given."""

    config: Config
    rules: bool

    @classmethod
    def read(cls, file: Path | None, issuer: str | None, namespace: str | None) -> "PlanSettings":
        source = {"issuer": issuer, "namespace": namespace}
        return cls(load_config(file, source, {"issuer": UNKNOWN_ISSUER}), file is not None)

    def with_record_of(self, cluster: ClusterSnapshot) -> "PlanSettings":
        """With the values of the installation's issuer record, where neither flags nor a file gave them."""
        if self.config.issuer != UNKNOWN_ISSUER:
            return self
        at = issuer_ref(self.config)
        entries = next((entries for existing, entries in cluster.managed if existing.ref == at), None)
        if entries is None:
            message = f"{at} does not exist: pass the installation's --namespace, or --issuer-url for a new one"
            raise Rejected("NoInstallation", message)
        record = decode(IssuerRecord, entries.get(ENTRY, b""))
        values: dict[str, object] = {"issuer": record.issuer}
        if not self.rules:
            values["max_token_lifetime"] = timedelta(seconds=record.max_token_lifetime)
            values["clock_skew"] = timedelta(seconds=record.clock_skew)
            values["jwks_max_age"] = timedelta(seconds=record.jwks_max_age)
        return replace(self, config=self.config.model_copy(update=values))

    def allowing(self, objects: Mapping[Ref, Raw]) -> Config:
        """The configuration; where its rules are not known, one that allows what these objects need."""
        return self.config if self.rules else permissive_config(self.config, of_this_installation(objects, self.config))


async def plan_directories(directory: str, against: str | None, settings: PlanSettings, now: datetime) -> PlanResult:
    """From the manifests of `against` (None: no objects) to those of `directory`."""
    source = ManifestSource.read(directory, against)
    declared_before = ManifestSource.read(against).manifests if against else None
    before = declared_before or NOTHING
    config = settings.allowing({**before.objects, **source.manifests.objects})
    plan_input = diff_directories(declared_before, source.manifests, config, now)
    warnings = [_at(p.file, p.line, f"in --against: {p.message}: the object is ignored") for p in before.problems]
    return await _planned(source, plan_input, config, settings, now, before.objects, warnings)


async def plan_cluster(directory: str, api: Api, settings: PlanSettings, now: datetime, *, prune: bool) -> PlanResult:
    """From the objects of the cluster, read with lists and gets only, to those of `directory`."""
    source = ManifestSource.read(directory)
    cluster = await read_cluster(api, settings.config.namespace)
    settings = settings.with_record_of(cluster)
    every = {**cluster.objects, **source.manifests.objects}
    config = settings.allowing(every)
    unknown = named_objects(every, config) - {existing.ref for existing, _ in cluster.managed}
    named = await read_objects(api, sorted(unknown), config.namespace)
    plan_input = diff_cluster(cluster, named, source.manifests, config, prune=prune)
    return await _planned(source, plan_input, config, settings, now, cluster.objects, [])


async def _planned(
    source: ManifestSource,
    plan_input: PlanInput,
    config: Config,
    settings: PlanSettings,
    now: datetime,
    before: Mapping[Ref, Raw],
    warnings: list[Finding],
) -> PlanResult:
    result = await dry_run(plan_input.base, plan_input.changes, config, now)
    broken = [
        _at(p.file, p.line, f"{p.message}: {p.fix}" if p.fix else p.message, NOT_READ if p.unread else INVALID)
        for p in source.manifests.problems
    ]
    warnings += [_at(printable(source.root / file), 1, TEMPLATE, "NotRendered") for file in source.manifests.templates]
    refusals = _located(source, (*broken, *plan_input.refusals, *result.refusals))
    refused = {f.subject for f in refusals}
    unchecked: tuple[Finding, ...] = ()
    if not settings.rules:
        after, before = (of_this_installation(objects, config) for objects in (source.manifests.objects, before))
        unchecked = marked_new(unchecked_rules(after), unchecked_rules(before))
    unknown = [f for f in unchecked if f.subject not in refused]
    return replace(
        result,
        refusals=refusals,
        requests=tuple(replace(change, location=_rule_location(source, change)) for change in result.requests),
        warnings=_located(source, (*warnings, *plan_input.warnings, *unknown, *result.warnings)),
        ignored=count_other_installations(source.manifests, config),
        locations={ref: location for ref in source.manifests.sources if (location := source.find(ref))},
    )


def _rule_location(source: ManifestSource, change: RequestChange) -> Location | None:
    """Where the rule is declared, if it is among the manifests, else its ResourceServer."""
    ref = Ref("ResourceServer", *change.server.split("/"))
    http = (source.manifests.objects.get(ref) or {}).get("spec", {}).get("http") or {}
    names = [rule["name"] for rule in http.get("rules") or ()]
    return source.find(ref, ("spec", "http", "rules", names.index(change.rule)) if change.rule in names else ())


def _at(file: str, line: int, message: str, reason: str = INVALID) -> Finding:
    return Finding(None, reason, message, location=Location(file, line))


def _located(source: ManifestSource, findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Sorted by file. Findings that are neither new nor about these manifests are dropped."""
    found = [
        replace(f, location=source.find(f.subject, f.field)) if f.subject and not f.location else f for f in findings
    ]
    relevant = [f for f in found if f.location or f.new]
    relevant.sort(key=lambda f: (f.location is None, f.location or Location("", 0), f.reason, f.message))
    return tuple(relevant)
