"""Metrics of the current state, computed at each scrape."""

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence, Sized
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from scopewright.api import KINDS, SigningKey
from scopewright.controller import object_problems
from scopewright.controller.cache import Cache
from scopewright.controller.key_generation import make_key
from scopewright.controller.metrics import labelled_gauge
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
"""Conditions that the operator writes, by kind."""

OVERDUE_AGE: Final = timedelta(seconds=10)
"""Scrapes within this time share one search for overdue clients."""
MAX_NAMESPACES: Final = 20
"""Values of a label that tenants choose, at most."""

STATUSES: Final = ("True", "False", "Unknown")
_KEY_INSTANTS: Final = (
    ("activation", "When a key starts to sign (signingStartTime)."),
    ("retirement", "When a key stops signing, even without a successor (signingEndTime)."),
    ("removal", "When a key leaves the JWKS (verificationEndTime)."),
)

_Gauge = GaugeMetricFamily


@dataclass(frozen=True, slots=True)
class GaugeSources:
    """Values that other parts of the operator hold."""

    leads: Callable[[], bool]
    queued: Callable[[], int]
    watch_overdue: Callable[[], float]
    orphans_held: Callable[[], Mapping[str, int]]
    """By namespace."""
    last_activity: Callable[[str], float | None]
    """When the watch of this kind last received anything, in seconds since the epoch."""
    last_contact: Callable[[], float]
    """When the API server last answered, in seconds since the epoch."""
    rights_missing: Callable[[], int]
    """How many rights have been missing for longer than a minute."""
    failing: Callable[[], Collection[Ref]] = tuple
    """The objects whose reconciliation has failed several times in a row."""


class StateMetrics(Collector):
    """Metrics of one replica. Every replica has the same values, except for those that only the leader has."""

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
            "Seconds for which the watch has not delivered a change of a declared object that a list has found.",
            sources.watch_overdue(),
        )
        activity = ((kind, sources.last_activity(kind)) for kind in WATCHED_KINDS)
        yield labelled_gauge(
            "scopewright_watch_heard_timestamp_seconds",
            "When the watch of managed objects last received anything, also a bookmark.",
            ("kind",), (((kind,), at) for kind, at in activity if at is not None),
        )  # fmt: skip
        yield _Gauge(
            "scopewright_api_server_last_contact_timestamp_seconds",
            "When the API server last answered this replica, with any status.",
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
        managed = self._cache.managed
        records: tuple[tuple[str, Sized], ...] = (
            ("client", managed.clients),
            ("resource_server", managed.servers),
            ("signing_key", managed.keys),
            ("identity_provider", managed.providers),
        )
        yield labelled_gauge(
            "scopewright_records", "Records in the operator's cache, by kind.",
            ("kind",), (((kind,), len(found)) for kind, found in records),
        )  # fmt: skip
        yield self._conditions()
        late = Counter(cause.kind for _, cause in overdue)
        yield labelled_gauge(
            "scopewright_credential_rotations_overdue",
            "OAuthClients whose credential should have been rotated by now, by the cause of the rotation.",
            ("cause",), (((kind.value,), late[kind]) for kind in CauseKind if kind is not CauseKind.FIRST),
        )  # fmt: skip
        yield from self._signing_keys()

    def _orphans(self) -> Iterator[Metric]:
        held = self._sources.orphans_held()
        yield _Gauge(
            "scopewright_orphans_held",
            "Records without an object that are kept, because suspiciously many of a namespace were orphaned at once.",
            sum(held.values()),
        )
        most = sorted(held.items(), key=lambda item: (-item[1], item[0]))[:MAX_NAMESPACES]
        yield labelled_gauge(
            "scopewright_orphans_held_by_namespace",
            "The same by namespace, for the twenty namespaces with the highest values.",
            ("owner_namespace",), (((namespace,), count) for namespace, count in most),
        )  # fmt: skip

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
        labels = ((kind, type_, status) for kind, types in CONDITIONS.items() for type_ in types for status in STATUSES)
        return labelled_gauge(
            "scopewright_conditions", "Declared objects, by a condition of their status.",
            ("kind", "type", "status"), ((each, counted.get(each, 0)) for each in labels),
        )  # fmt: skip

    def _overdue(self) -> Sequence[tuple[Ref, Cause]]:
        """The result of `overdue_clients`, at most `OVERDUE_AGE` old: it reads every client."""
        now = self._clock()
        if not self._found_time <= now < self._found_time + OVERDUE_AGE:
            self._found, self._found_time = tuple(overdue_clients(self._cache, self._config, now)), now
        return self._found

    def _signing_keys(self) -> Iterator[Metric]:
        schedules = tuple(self._schedules())
        served = Counter(record.signing_key for record in self._cache.managed.servers.values())
        states = (
            ((name, state.value), sum(of is state for _, of in schedule.keys))
            for name, schedule in schedules
            for state in KeyState
        )
        yield labelled_gauge(
            "scopewright_signing_keys", "Keys of a SigningKey, by state.", ("signing_key", "state"), states
        )
        keys = [
            ((name, k.kid), (k.signing_start_time, k.signing_end_time, k.verification_end_time))
            for name, schedule in schedules
            for k, _ in schedule.keys
        ]
        for index, (instant, text) in enumerate(_KEY_INSTANTS):
            yield labelled_gauge(
                f"scopewright_signing_key_{instant}_timestamp_seconds", text,
                ("signing_key", "kid"), ((key, at.timestamp()) for key, times in keys if (at := times[index])),
            )  # fmt: skip
        rotations = (((name,), at.timestamp()) for name, schedule in schedules if (at := schedule.next_rotation))
        yield labelled_gauge(
            "scopewright_signing_key_next_rotation_timestamp_seconds",
            "When the next key of a SigningKey is due to be created and published.",
            ("signing_key",), rotations,
        )  # fmt: skip
        ends = (((name,), at.timestamp()) for name, schedule in schedules if (at := schedule.signs_until))
        yield labelled_gauge(
            "scopewright_signing_key_signs_until_timestamp_seconds",
            "When the last published key of a SigningKey stops signing: then no token can be signed.",
            ("signing_key",), ends,
        )  # fmt: skip
        yield labelled_gauge(
            "scopewright_signing_key_declared",
            "1 if the SigningKey is declared; 0 if it was, and for `default` if it is not.",
            ("signing_key",), (((name,), schedule.declared) for name, schedule in schedules),
        )  # fmt: skip
        yield labelled_gauge(
            "scopewright_signing_key_resource_servers",
            "ResourceServers whose tokens the SigningKey signs, if it is declared or has keys left.",
            ("signing_key",), (((name,), served[name]) for name, _ in schedules),
        )  # fmt: skip

    def _schedules(self) -> Iterator[tuple[str, KeySchedule]]:
        """The schedule of each SigningKey that is declared or has keys left, and of `default`."""
        declared = {k.name: k for k in self._cache.all(SigningKey) if k.namespace == self._config.namespace}
        keys, now = tuple(self._cache.managed.keys.values()), self._clock()
        for name in sorted({DEFAULT_SIGNING_KEY, *declared, *(k.record.signing_key for k in keys)}):
            yield name, key_schedule(SigningView(name, declared.get(name), keys, None, self._config, now, make_key))
