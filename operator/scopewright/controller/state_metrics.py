"""Metrics of the current state, computed at each scrape."""

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from scopewright.api import KINDS, SigningKey
from scopewright.controller import object_problems
from scopewright.controller.cache import Cache
from scopewright.controller.key_generation import make_key
from scopewright.controller.overdue import overdue_clients
from scopewright.core.client.credentials import Cause, CauseKind
from scopewright.core.config import Config
from scopewright.core.installation import DEFAULT_SIGNING_KEY
from scopewright.core.objects import FollowedKind, Ref
from scopewright.core.plan import ROTATION_FAILING
from scopewright.core.signing.keys import KeyState
from scopewright.core.signing.schedule import KeySchedule, key_schedule
from scopewright.core.signing.view import SigningView

WATCHED_KINDS: Final[tuple[FollowedKind, ...]] = ("Secret", "ConfigMap", "ServiceAccount")
CONDITIONS: Final[Mapping[str, tuple[str, ...]]] = {
    kind: (
        "Ready",
        "Stalled",
        "Paused",
        *((ROTATION_FAILING,) if kind in ("OAuthClient", "SigningKey") else ()),
        *(("AccessGranted", "PreviousInUse", "SecretAltered", "Unused") if kind == "OAuthClient" else ()),
    )
    for kind in KINDS
}
"""Those that we write, by kind."""

OVERDUE_AGE: Final = timedelta(seconds=10)
"""Scrapes that follow each other sooner share one look at all clients."""
MAX_NAMESPACES: Final = 20
"""Values of a label that tenants choose: a metric has no more of them."""

STATUSES: Final = ("True", "False", "Unknown")

_Gauge = GaugeMetricFamily


@dataclass(frozen=True, slots=True)
class GaugeSources:
    """Values that other parts of the operator hold."""

    leads: Callable[[], bool]
    queued: Callable[[], int]
    watch_overdue: Callable[[], float]
    orphans_held: Callable[[], Mapping[str, int]]
    """By namespace."""
    heard: Callable[[str], float | None]
    """When the stream of this kind was last heard, in seconds since the epoch."""
    last_contact: Callable[[], float]
    """When the API server last answered, in seconds since the epoch."""
    rights_missing: Callable[[], int]
    """How many rights have been missing for longer than a minute."""
    failing: Callable[[], Collection[Ref]] = tuple
    """The objects whose reconciliation has failed several times in a row."""


class StateMetrics(Collector):
    """Metrics of one replica. Every replica has the same values, except for what only the leader does."""

    def __init__(self, cache: Cache, config: Config, clock: Callable[[], datetime], sources: GaugeSources) -> None:
        self._cache = cache
        self._config = config
        self._clock = clock
        self._sources = sources
        self._found: Sequence[tuple[Ref, Cause]] = ()
        self._found_time = datetime.min.replace(tzinfo=UTC)

    def collect(self) -> Iterator[Metric]:
        sources = self._sources
        yield _Gauge("scopewright_leader", "1 on the replica that reconciles.", sources.leads())
        yield _Gauge("scopewright_queue_depth", "Objects that wait to be reconciled.", sources.queued())
        yield _Gauge(
            "scopewright_watch_overdue_seconds",
            "How long a change of a declared object is overdue that a list has found and the watch has not brought.",
            sources.watch_overdue(),
        )
        heard = _Gauge(
            "scopewright_watch_heard_timestamp_seconds",
            "When the watch of what is ours last brought anything, be it a bookmark.",
            labels=["kind"],
        )
        for kind in WATCHED_KINDS:
            if (at := sources.heard(kind)) is not None:
                heard.add_metric([kind], at)
        yield heard
        yield _Gauge(
            "scopewright_api_server_last_contact_timestamp_seconds",
            "When the API server last answered this replica, whatever the answer was.",
            sources.last_contact(),
        )
        yield _Gauge(
            "scopewright_rights_missing",
            "Rights that the API server has refused this replica for longer than a minute; /readyz names them.",
            sources.rights_missing(),
        )
        overdue = self._overdue()
        yield from object_problems.metrics(self._cache, sources.failing(), overdue)
        yield from self._orphans()
        yield self._records()
        yield self._conditions()
        yield self._rotations(overdue)
        yield from self._signing_keys()

    def _orphans(self) -> Iterator[Metric]:
        held = self._sources.orphans_held()
        yield _Gauge(
            "scopewright_orphans_held",
            "Records without an owner that are kept, because their namespace lost suspiciously many at once.",
            sum(held.values()),
        )
        of = _Gauge(
            "scopewright_orphans_held_by_namespace",
            "The same by namespace: the twenty that have most.",
            labels=["owner_namespace"],
        )
        for namespace, count in sorted(held.items(), key=lambda item: (-item[1], item[0]))[:MAX_NAMESPACES]:
            of.add_metric([namespace], count)
        yield of

    def _records(self) -> Metric:
        managed = self._cache.managed
        records = _Gauge(
            "scopewright_records", "Records that the operator keeps, by what they are of.", labels=["kind"]
        )
        records.add_metric(["client"], len(managed.clients))
        records.add_metric(["resource_server"], len(managed.servers))
        records.add_metric(["signing_key"], len(managed.keys))
        return records

    def _conditions(self) -> Metric:
        counted: defaultdict[tuple[str, str, str], int] = defaultdict(int)
        for kind, objects in self._cache.declared.items():
            for obj in objects.values():
                ready = False
                for condition in obj.status.conditions if obj.status else ():
                    counted[kind, condition.type, condition.status] += 1
                    ready = ready or condition.type == "Ready"
                if not ready:
                    counted[kind, "Ready", "Unknown"] += 1
        conditions = _Gauge(
            "scopewright_conditions",
            "Declared objects, by a condition of their status.",
            labels=["kind", "type", "status"],
        )
        for kind, types in CONDITIONS.items():
            for type_ in types:
                for status in STATUSES:
                    conditions.add_metric([kind, type_, status], counted.get((kind, type_, status), 0))
        return conditions

    def _overdue(self) -> Sequence[tuple[Ref, Cause]]:
        """What `overdue_clients` has found, `OVERDUE_AGE` ago at most: it looks at every client."""
        now = self._clock()
        if not self._found_time <= now < self._found_time + OVERDUE_AGE:
            self._found, self._found_time = tuple(overdue_clients(self._cache, self._config, now)), now
        return self._found

    @staticmethod
    def _rotations(overdue: Iterable[tuple[Ref, Cause]]) -> Metric:
        late = Counter(cause.kind for _, cause in overdue)
        rotations = _Gauge(
            "scopewright_credential_rotations_overdue",
            "OAuthClients whose credential should have been rotated by now, by the cause of the rotation.",
            labels=["cause"],
        )
        for kind in CauseKind:
            if kind is not CauseKind.FIRST:
                rotations.add_metric([kind.value], late[kind])
        return rotations

    def _signing_keys(self) -> Iterable[Metric]:
        states = _Gauge(
            "scopewright_signing_keys", "Keys of a SigningKey, by state.", labels=["signing_key", "state"]
        )  # fmt: skip
        start, end, gone = (
            _Gauge(f"scopewright_signing_key_{name}_timestamp_seconds", text, labels=["signing_key", "kid"])
            for name, text in (
                ("activation", "From when on a key signs (signingStartTime)."),
                ("retirement", "When a key signs nothing any more, whatever becomes of the next (signingEndTime)."),
                ("removal", "When a key leaves the JWKS (verificationEndTime)."),
            )
        )
        due = _Gauge(
            "scopewright_signing_key_next_rotation_timestamp_seconds",
            "When the next key of a SigningKey is to be made and published.",
            labels=["signing_key"],
        )
        until = _Gauge(
            "scopewright_signing_key_signs_until_timestamp_seconds",
            "When the last published key of a SigningKey ends: then no token can be signed.",
            labels=["signing_key"],
        )
        declared = _Gauge(
            "scopewright_signing_key_declared",
            "1 for a SigningKey that is declared; 0 for one that was, and for `default` where it is not.",
            labels=["signing_key"],
        )
        users = _Gauge(
            "scopewright_signing_key_resource_servers",
            "ResourceServers whose tokens a SigningKey signs, if that is declared or has keys left.",
            labels=["signing_key"],
        )
        served = Counter(record.signing_key for record in self._cache.managed.servers.values())
        for name, ahead in self._outlooks():
            declared.add_metric([name], ahead.declared)
            users.add_metric([name], served[name])
            count = Counter(state for _, state in ahead.keys)
            for state in KeyState:
                states.add_metric([name, state.value], count[state])
            for record, _ in ahead.keys:
                instants = (record.signing_start_time, record.signing_end_time, record.verification_end_time)
                for family, instant in zip((start, end, gone), instants, strict=True):
                    if instant:
                        family.add_metric([name, record.kid], instant.timestamp())
            if ahead.next_rotation:
                due.add_metric([name], ahead.next_rotation.timestamp())
            if ahead.signs_until:
                until.add_metric([name], ahead.signs_until.timestamp())
        return states, start, end, gone, due, until, declared, users

    def _outlooks(self) -> Iterator[tuple[str, KeySchedule]]:
        """Of every SigningKey that is declared where it works, or has left keys behind; and of `default`."""
        declared = {k.name: k for k in self._cache.all(SigningKey) if k.namespace == self._config.namespace}
        keys, now = tuple(self._cache.managed.keys.values()), self._clock()
        for name in sorted({DEFAULT_SIGNING_KEY, *declared, *(k.record.signing_key for k in keys)}):
            yield name, key_schedule(SigningView(name, declared.get(name), keys, None, self._config, now, make_key))
