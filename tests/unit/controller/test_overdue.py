"""What is due is found from the level, and what waits for its user is not due."""

from collections.abc import Iterator
from datetime import datetime
from typing import Any

import pytest

from scopewright.controller import state_metrics
from scopewright.controller.cache import Cache
from scopewright.controller.overdue import overdue_clients, overdue_keys
from scopewright.controller.state_metrics import StateMetrics
from scopewright.core.client.credentials import Cause
from scopewright.core.config import Config
from scopewright.core.objects import Existing, Ref
from tests.harness.operator import OperatorHarness
from tests.harness.samples import ISSUER
from tests.unit.controller.test_metrics import NOTHING

ROTATION = {"rotation": {"every": "24h", "overlap": "1h"}}


def harness(**config: Any) -> OperatorHarness:
    return OperatorHarness(Config.model_validate({"issuer": ISSUER, **config}))


def due(found: OperatorHarness) -> dict[Ref, str]:
    return {ref: cause.kind.value for ref, cause in overdue_clients(found.cache, found.config, found.clock.now)}


def test_only_a_client_within_the_limits_is_overdue() -> None:
    found = harness(limits={"objectsPerNamespace": 1})
    served = found.apply("OAuthClient", "leave", "a", ROTATION)
    found.resync()
    assert due(found) == {served: "first"}
    found.clock.advance(seconds=2)
    refused = found.apply("OAuthClient", "leave", "b", ROTATION)
    found.settle()
    found.resync()
    assert found.condition(refused) == "False NamespaceLimit"
    assert due(found) == {}
    assert refused not in overdue_keys(found.cache, found.config, found.clock.now)
    found.clock.advance(hours=25)
    assert due(found) == {served: "age"}


def test_a_client_beyond_the_limits_with_a_credential_is_overdue() -> None:
    found = harness(limits={"objectsPerNamespace": 2})
    refs = [found.apply("OAuthClient", "leave", name, ROTATION) for name in ("a", "b")]
    found.settle()
    spare = OperatorHarness(Config.model_validate({"issuer": ISSUER, "limits": {"objectsPerNamespace": 1}}))
    spare.store, spare.clock.now = found.store, found.clock.now
    spare.restart()
    spare.resync()
    spare.clock.advance(hours=25)
    assert set(due(spare)) == set(refs)


def test_a_client_that_the_profile_forbids_is_not_overdue() -> None:
    found = harness(profile="FAPI2")
    refused = found.apply("OAuthClient", "leave", "a")
    found.settle()
    found.resync()
    assert found.condition(refused) == "False ProfileForbids"
    assert due(found) == {}


def test_a_client_with_a_foreign_secret_is_not_overdue_until_it_names_another() -> None:
    """The Secret has our type and no owner: the seal alone tells."""
    found = harness()
    taken = Existing(
        Ref("Secret", "leave", "a-oauth"), "u", "1", "servicebinding.io/oauth2", creation_time=found.clock.now
    )
    found.store.put(taken, {"client_secret": b"theirs"})
    client = found.apply("OAuthClient", "leave", "a")
    found.settle()
    found.resync()
    assert found.condition(client) == "False SecretConflict"
    assert due(found) == {}
    found.apply("OAuthClient", "leave", "a", {"credentials": {"secretName": "other"}})
    found.resync()
    assert client in due(found)


def test_scrapes_within_ten_seconds_compute_overdue_clients_once(monkeypatch: pytest.MonkeyPatch) -> None:
    found = harness()
    found.apply("OAuthClient", "leave", "a", ROTATION)
    found.settle()
    looks: list[datetime] = []

    def look(world: Cache, config: Config, now: datetime) -> Iterator[tuple[Ref, Cause]]:
        looks.append(now)
        return overdue_clients(world, config, now)

    monkeypatch.setattr(state_metrics, "overdue_clients", look)
    scraped = StateMetrics(found.cache, found.config, lambda: found.clock.now, NOTHING)
    list(scraped.collect())
    list(scraped.collect())
    assert len(looks) == 1
    found.clock.advance(seconds=11)
    list(scraped.collect())
    assert len(looks) == 2
