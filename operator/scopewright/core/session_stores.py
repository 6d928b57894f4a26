"""Decides whether all issuers of an installation share one session store, from reports in the usage record.

Each store has one report, which every issuer that uses the store keeps there. Two stores are in use at once if the
issuers of each have read a report of the other one. A report that was left behind, such as by a crashed Pod, does not
name a store that was first reported later. So no clocks of nodes are compared, and no report is too old to count.

While reports of two stores exist, issuers repeat theirs in rounds. A report that stays the same for SILENT_ROUNDS was
left behind, and is removed. While there is one report only, nothing is written.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from itertools import combinations
from typing import Final

from scopewright.core.objects import digest
from scopewright.core.records.written_by_issuers import (
    MAX_REPORT_TIME,
    MAX_SESSION_STORES,
    SessionStoreReport,
    SessionStoreReports,
)

NOT_SHARED: Final = "SessionStoreNotShared"
ADVICE: Final = (
    "replicas of the issuer have different session stores: set users.sessions.valkey, or run one replica of the issuer"
)
SILENT_ROUNDS: Final = 4
_SHOWN_SECONDS: Final = 600
"""How long the operator believes reports that no issuer repeats or removes: no issuer may be left."""


def store_key(store_id: str) -> str:
    """Return the key of the report of the store with this id."""
    return digest(store_id)[:16]


def apart_until(stores: SessionStoreReports) -> datetime | None:
    """Return until when two stores count as in use at once, if their reports are not repeated; None if none are."""
    ends = [
        min(stores[one].reported, stores[two].reported) + _SHOWN_SECONDS
        for one, two in combinations(stores, 2)
        if two in stores[one].others and one in stores[two].others
    ]
    return datetime.fromtimestamp(max(ends), UTC) if ends else None


@dataclass(frozen=True, slots=True)
class KnownStores:
    """State of one issuer: the key of its own store, and the reports that it has seen."""

    own: str
    former: str = ""
    """The key before the store was emptied or replaced: its report is removed."""
    since: int = 0
    """Time of the first report of the own store that this issuer has made or seen; 0: none yet. A report that names an
    earlier one may be left behind."""
    apart: bool = False
    """Whether another store is in use."""
    unchanged: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    """By store: the time of its report, and in how many rounds after the first it was the same."""

    def moved_to(self, key: str) -> "KnownStores":
        """Return the state after the own store got another id: earlier reports of others about it are ignored."""
        return KnownStores(key, former=self.own, unchanged=self.unchanged)

    def seen(self, stores: SessionStoreReports, *, is_round: bool = False) -> "KnownStores":
        """Return the state after the reports were read."""
        unchanged = {}
        for key, report in stores.items():
            time, rounds = self.unchanged.get(key, (-1, 0))
            unchanged[key] = (report.reported, (rounds if time == report.reported else -1) + is_round)
        known = replace(self, unchanged=unchanged)
        others = known.others(stores)
        is_named = self.since > 0 and any(r.others.get(self.own, 0) >= self.since for r in others.values())
        return replace(known, apart=bool(others) and (self.apart or is_named))

    def reported(self, stores: SessionStoreReports) -> "KnownStores":
        """Return the state after `stores` were written, or needed no change."""
        own = stores.get(self.own)
        return replace(self, since=self.since or own.reported, former="") if own else self

    def others(self, stores: SessionStoreReports) -> dict[str, SessionStoreReport]:
        """The reports of other stores that are not left behind."""
        return {
            key: report
            for key, report in stores.items()
            if key not in (self.own, self.former) and self._rounds(key) < SILENT_ROUNDS
        }

    def update(
        self, stores: SessionStoreReports, now: int, read: Collection[str], *, is_round: bool = False
    ) -> SessionStoreReports | None:
        """Return the reports to be written; None if they may stay as they are.

        `read` are the stores whose reports this issuer had read before it asked its own store for its id.
        """
        own, others = stores.get(self.own), self.others(stores)
        if not self._is_due(stores, others, read, is_round=is_round):
            return None
        latest = sorted(others, key=lambda key: others[key].reported)[1 - MAX_SESSION_STORES :]
        named = {key: others[key].reported for key in sorted(latest) if key in read}
        later = max(now, 1 + max(own.reported if own else 0, self.since))
        report = SessionStoreReport(min(later, MAX_REPORT_TIME), named)
        kept = {key: others[key] for key in latest} | {self.own: report}
        return {key: kept[key] for key in sorted(kept)}

    def _is_due(
        self,
        stores: SessionStoreReports,
        others: Mapping[str, SessionStoreReport],
        read: Collection[str],
        *,
        is_round: bool,
    ) -> bool:
        own = stores.get(self.own)
        if is_round and others and self._rounds(self.own) != 0:  # no issuer has repeated it since the last round
            return True
        if own is None:
            # With many stores, each write removes a report: outside of rounds there would be no end of writes.
            return not self.since or len(others) < MAX_SESSION_STORES - 1
        if not others:
            return bool(own.others) or len(stores) > 1
        # Once it refuses users and another issuer can know it, further stores have time until the next round.
        is_news = not (others.keys() & set(read)) <= own.others.keys() and not (self.apart and own.others)
        return not self.since or is_news

    def _rounds(self, key: str) -> int:
        return self.unchanged.get(key, (0, -1))[1]
