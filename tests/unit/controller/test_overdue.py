"""Overdue rotations follow from the current state; a rotation that waits for the user is not overdue."""

from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Any

import pytest

from scopewright.api.rotation import Window
from scopewright.controller import state_metrics
from scopewright.controller.cache import Cache
from scopewright.controller.overdue import overdue_clients, overdue_keys
from scopewright.controller.state_metrics import StateMetrics
from scopewright.core.client.credentials import Cause
from scopewright.core.client.windows import first_opening
from scopewright.core.config import Config
from scopewright.core.objects import Existing, Ref
from tests.harness.operator import OperatorHarness
from tests.harness.samples import ISSUER
from tests.unit.controller.test_metrics import NOTHING

ROTATION = {"rotation": {"every": "24h", "overlap": "1h"}}


def configured_harness(**config: Any) -> OperatorHarness:
    return OperatorHarness(Config.model_validate({"issuer": ISSUER, **config}))


def due(harness: OperatorHarness) -> dict[Ref, str]:
    return {ref: cause.kind.value for ref, cause in overdue_clients(harness.cache, harness.config, harness.clock.now)}


def test_windows_are_looked_up_only_for_a_credential_that_is_old_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each resync asks about all clients."""
    harness = configured_harness()
    windows = [{"start": "02:00", "duration": "1h", "timeZone": "Europe/Berlin"}]
    harness.apply("OAuthClient", "leave", "worker", {"rotation": {**ROTATION["rotation"], "windows": windows}})
    harness.settle()
    asked: list[datetime] = []

    def asking(windows: Iterable[Window], instant: datetime) -> datetime:
        asked.append(instant)
        return first_opening(windows, instant)

    monkeypatch.setattr("scopewright.core.client.credentials.first_opening", asking)
    assert not due(harness)
    assert not asked
    harness.clock.advance(hours=24)
    due(harness)
    assert len(asked) == 1


def test_only_a_client_within_the_limits_is_overdue() -> None:
    harness = configured_harness(limits={"objectsPerNamespace": 1})
    served = harness.apply("OAuthClient", "leave", "a", ROTATION)
    harness.resync()
    assert due(harness) == {served: "first"}
    harness.clock.advance(seconds=2)
    refused = harness.apply("OAuthClient", "leave", "b", ROTATION)
    harness.settle()
    harness.resync()
    assert harness.condition(refused) == "False NamespaceLimit"
    assert due(harness) == {}
    assert refused not in overdue_keys(harness.cache, harness.config, harness.clock.now)
    harness.clock.advance(hours=25)
    assert due(harness) == {served: "age"}


def test_a_client_beyond_the_limits_with_a_credential_is_overdue() -> None:
    harness = configured_harness(limits={"objectsPerNamespace": 2})
    refs = [harness.apply("OAuthClient", "leave", name, ROTATION) for name in ("a", "b")]
    harness.settle()
    limited = OperatorHarness(Config.model_validate({"issuer": ISSUER, "limits": {"objectsPerNamespace": 1}}))
    limited.store, limited.clock.now = harness.store, harness.clock.now
    limited.restart()
    limited.resync()
    limited.clock.advance(hours=25)
    assert set(due(limited)) == set(refs)


def test_a_client_that_the_profile_forbids_is_not_overdue() -> None:
    harness = configured_harness(profile="FAPI2")
    refused = harness.apply("OAuthClient", "leave", "a")
    harness.settle()
    harness.resync()
    assert harness.condition(refused) == "False ProfileForbids"
    assert due(harness) == {}


def test_a_client_with_a_foreign_secret_is_not_overdue_until_it_names_another() -> None:
    """The Secret has the type of credential Secrets and no owner: only the missing seal shows that it is foreign."""
    harness = configured_harness()
    taken = Existing(
        Ref("Secret", "leave", "a-oauth"), "u", "1", "servicebinding.io/oauth2", creation_time=harness.clock.now
    )
    harness.store.put(taken, {"client_secret": b"foreign"})
    client = harness.apply("OAuthClient", "leave", "a")
    harness.settle()
    harness.resync()
    assert harness.condition(client) == "False SecretConflict"
    assert due(harness) == {}
    harness.apply("OAuthClient", "leave", "a", {"credentials": {"secretName": "other"}})
    harness.resync()
    assert client in due(harness)


def test_scrapes_within_ten_seconds_compute_overdue_clients_once(monkeypatch: pytest.MonkeyPatch) -> None:
    harness = configured_harness()
    harness.apply("OAuthClient", "leave", "a", ROTATION)
    harness.settle()
    calls: list[datetime] = []

    def counted(cache: Cache, config: Config, now: datetime) -> Iterator[tuple[Ref, Cause]]:
        calls.append(now)
        return overdue_clients(cache, config, now)

    monkeypatch.setattr(state_metrics, "overdue_clients", counted)
    metrics = StateMetrics(harness.cache, harness.config, lambda: harness.clock.now, NOTHING)
    list(metrics.collect())
    list(metrics.collect())
    assert len(calls) == 1
    harness.clock.advance(seconds=11)
    list(metrics.collect())
    assert len(calls) == 2
