"""Manifests read and compared with a directory or a cluster: what `scopewright plan` shows. Nothing is written."""

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
from scopewright.core.records import ENTRY, IssuerRecord, decode
from scopewright.manifests.load import Manifests, Source, load, load_text, printable
from scopewright.plan.changes import NOT_READ, Changes, Finding, Place
from scopewright.plan.cluster_reader import Seen, look, look_at
from scopewright.plan.dry_run import Raw, changes
from scopewright.plan.inputs import NOTHING, Proposal, between, ignored, names, onto, ours
from scopewright.plan.permissive_config import UNKNOWN_ISSUER, unchecked, without_rules
from scopewright.stores.kubernetes.api import Api

STANDARD_INPUT: Final = "-"
INVALID: Final = "Invalid"
TEMPLATE: Final = "what is made from this is not seen: render it, and plan what that prints (`| scopewright plan -`)"


@dataclass(frozen=True, slots=True)
class Given:
    """Manifests, and the directory that the names of their files begin with."""

    manifests: Manifests
    root: Path

    @classmethod
    def read(cls, directory: str, without: str | None = None) -> "Given":
        """`Rejected` where nothing at all can be known. `without` is no part of it, though it be below it."""
        if directory == STANDARD_INPUT:
            return cls(load_text(sys.stdin.buffer.read(), "stdin"), Path())
        manifests = load(Path(directory), Path(without) if without else None)
        if not manifests.readable:
            why = manifests.problems[0]
            raise Rejected("NoDirectory", f"{directory}: {why.message}: {why.fix}")
        return cls(manifests, Path(directory))

    def place(self, ref: Ref, field: tuple[str | int, ...] = ()) -> Place | None:
        source: Source | None = self.manifests.sources.get(ref)
        return Place(printable(self.root / source.file), source.line_of(field)) if source else None


@dataclass(frozen=True, slots=True)
class Settings:
    """The configuration, as far as it is known. `rules`: whether the platform's own file was given."""

    config: Config
    rules: bool

    @classmethod
    def read(cls, file: Path | None, issuer: str | None, namespace: str | None) -> "Settings":
        given = {"issuer": issuer, "namespace": namespace}
        return cls(load_config(file, given, {"issuer": UNKNOWN_ISSUER}), file is not None)

    def recorded(self, seen: Seen) -> "Settings":
        """With what the installation in the cluster says of itself, where nothing else was said."""
        if self.config.issuer != UNKNOWN_ISSUER:
            return self
        at = issuer_ref(self.config)
        entries = next((entries for existing, entries in seen.owned if existing.ref == at), None)
        if entries is None:
            message = f"{at} is not there: name the installation's --namespace, or its --issuer-url if it is to be made"
            raise Rejected("NoInstallation", message)
        record = decode(IssuerRecord, entries.get(ENTRY, b""))
        said: dict[str, object] = {"issuer": record.issuer}
        if not self.rules:
            said["max_token_lifetime"] = timedelta(seconds=record.max_token_lifetime)
            said["clock_skew"] = timedelta(seconds=record.clock_skew)
            said["jwks_max_age"] = timedelta(seconds=record.jwks_max_age)
        return replace(self, config=self.config.model_copy(update=said))

    def allowing(self, objects: Mapping[Ref, Raw]) -> Config:
        """The configuration; where its rules are not known, whatever these objects ask of them is allowed."""
        return self.config if self.rules else without_rules(self.config, ours(objects, self.config))


async def plan_directories(directory: str, against: str | None, settings: Settings, now: datetime) -> Changes:
    """From what `against` declares, or from nothing."""
    given = Given.read(directory, against)
    base = Given.read(against).manifests if against else None
    before = base or NOTHING
    config = settings.allowing({**before.objects, **given.manifests.objects})
    proposal = between(base, given.manifests, config, now)
    told = [_told(p.file, p.line, f"in --against: {p.message}: it counts as not there") for p in before.problems]
    return await _planned(given, proposal, config, settings, now, told)


async def plan_cluster(directory: str, api: Api, settings: Settings, now: datetime, *, prune: bool) -> Changes:
    """From what the cluster declares and holds; it is asked with lists and reads alone."""
    given = Given.read(directory)
    seen = await look(api, settings.config.namespace)
    settings = settings.recorded(seen)
    every = {**seen.objects, **given.manifests.objects}
    config = settings.allowing(every)
    unknown = names(every, config) - {existing.ref for existing, _ in seen.owned}
    named = await look_at(api, sorted(unknown), config.namespace)
    return await _planned(given, onto(seen, named, given.manifests, config, prune=prune), config, settings, now, [])


async def _planned(
    given: Given, proposal: Proposal, config: Config, settings: Settings, now: datetime, told: list[Finding]
) -> Changes:
    found = await changes(proposal.ground, proposal.intent, config, now)
    broken = [
        _told(p.file, p.line, f"{p.message}: {p.fix}" if p.fix else p.message, NOT_READ if p.unread else INVALID)
        for p in given.manifests.problems
    ]
    told += [_told(printable(given.root / file), 1, TEMPLATE, "NotRendered") for file in given.manifests.templates]
    refusals = _located(given, (*broken, *proposal.refusals, *found.refusals))
    refused = {f.subject for f in refusals}
    open_ = () if settings.rules else unchecked(ours(given.manifests.objects, config))
    unknown = [f for f in open_ if f.subject not in refused]
    return replace(
        found,
        refusals=refusals,
        warnings=_located(given, (*told, *proposal.warnings, *unknown, *found.warnings)),
        ignored=ignored(given.manifests, config),
        places={ref: place for ref in given.manifests.sources if (place := given.place(ref))},
    )


def _told(file: str, line: int, message: str, reason: str = INVALID) -> Finding:
    return Finding(None, reason, message, place=Place(file, line))


def _located(given: Given, findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """In the order of files. What was so before and is not in these manifests is nobody's business here."""
    placed = [replace(f, place=given.place(f.subject, f.field)) if f.subject and not f.place else f for f in findings]
    theirs = [f for f in placed if f.place or f.new]
    return tuple(sorted(theirs, key=lambda f: (f.place is None, f.place or Place("", 0), f.reason, f.message)))
