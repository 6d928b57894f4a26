"""Of two installations with one name only one writes: the one that claimed the name first."""

import asyncio
import logging

import pytest

from scopewright.controller.claims import TAKEOVER_SECONDS
from scopewright.core.claims import NAME_ANNOTATION, STAGE_ANNOTATION
from scopewright.core.failures import Rejected, Unavailable
from scopewright.stores.kubernetes.pages import NotServed
from tests.unit.controller.installations import Cluster, Replica


@pytest.fixture
def cluster() -> Cluster:
    return Cluster()


def stage(cluster: Cluster, namespace: str) -> str:
    return str(cluster.lease(namespace)["metadata"]["annotations"][STAGE_ANNOTATION])


async def test_the_first_installation_leads_and_claims_its_name(cluster: Cluster) -> None:
    first = Replica(cluster, "one")
    assert await first.try_to_lead()
    meta = cluster.lease("one")["metadata"]
    assert (meta["annotations"][NAME_ANNOTATION], stage(cluster, "one")) == ("default", "Held")
    assert meta["ownerReferences"] == [
        {"apiVersion": "v1", "kind": "ServiceAccount", "name": "scopewright-operator", "uid": "uid of one"}
    ], "the Lease is deleted with the installation"
    assert not first.claims.collision


async def test_a_second_installation_of_the_name_writes_nothing_and_reports_the_collision(
    cluster: Cluster, caplog: pytest.LogCaptureFixture
) -> None:
    await Replica(cluster, "one").try_to_lead()
    before, second = len(cluster.writes), Replica(cluster, "two")
    for _ in range(50):
        assert not await second.try_to_lead()
        cluster.clock.advance(seconds=5)
    assert len(cluster.writes) == before
    assert cluster.names("leases") == cluster.names("signingkeys") == {"one"}
    assert "the installation in namespace one serves the name 'default' already" in second.claims.collision
    assert "kubectl -n one delete lease scopewright-operator" in second.claims.collision
    assert [event.reason for event in second.events] == ["NameCollision"], "reported more than once"
    assert [r.levelno for r in caplog.records if "serves the name" in r.message] == [logging.ERROR]


async def test_a_claim_of_an_operator_that_is_down_stays_valid(cluster: Cluster) -> None:
    await Replica(cluster, "one").try_to_lead()
    cluster.clock.advance(seconds=10 * 24 * 3600)
    assert not await Replica(cluster, "two").try_to_lead()


@pytest.mark.parametrize("deleted", [("leases",), ("leases", "signingkeys")])
async def test_a_second_installation_takes_over_some_time_after_the_claim_was_deleted(
    cluster: Cluster, deleted: tuple[str, ...]
) -> None:
    """By hand, with the operator's ServiceAccount, or with the namespace."""
    await Replica(cluster, "one").try_to_lead()
    second = Replica(cluster, "two")
    assert not await second.try_to_lead()
    for plural in deleted:
        cluster.delete(plural, "one")
    assert not await second.try_to_lead()
    cluster.clock.advance(seconds=TAKEOVER_SECONDS - 1)
    assert not await second.try_to_lead()
    cluster.clock.advance(seconds=1)
    assert await second.try_to_lead()
    assert [event.reason for event in second.events] == ["NameCollision", "NameCollisionEnded"]
    assert not second.claims.collision


async def test_a_lease_that_was_deleted_by_mistake_is_claimed_again_by_its_installation(cluster: Cluster) -> None:
    first, second = Replica(cluster, "one"), Replica(cluster, "two")
    await first.try_to_lead()
    await second.try_to_lead()
    cluster.delete("leases", "one")
    assert not await second.try_to_lead()
    assert await first.try_to_lead()
    cluster.clock.advance(seconds=TAKEOVER_SECONDS + 1)
    assert not await second.try_to_lead()
    assert (stage(cluster, "one"), second.events[-1].reason) == ("Held", "NameCollision")


async def test_replicas_and_a_restart_of_one_installation_do_not_collide(cluster: Cluster) -> None:
    a, b = Replica(cluster, "one", "a"), Replica(cluster, "one", "b")
    assert await a.try_to_lead()
    assert not await b.try_to_lead()
    assert not b.claims.collision
    await a.lease.release()
    assert await b.try_to_lead()
    cluster.clock.advance(seconds=60)
    assert await Replica(cluster, "one", "c").try_to_lead() is False
    cluster.clock.advance(seconds=60)
    c = Replica(cluster, "one", "c")
    await c.try_to_lead()
    cluster.clock.advance(seconds=60)
    assert await c.try_to_lead()


async def test_other_names_and_disjoint_namespaces_do_not_collide(cluster: Cluster) -> None:
    everywhere = Replica(cluster, "one")
    assert await everywhere.try_to_lead()
    assert await Replica(cluster, "two", name="eu").try_to_lead()
    for n, watched in enumerate((("a", "b"), ("c",))):
        assert await Replica(cluster, f"some-{n}", name="some", watch_namespaces=watched).try_to_lead()
    assert not await Replica(cluster, "some-2", name="some", watch_namespaces=("b",)).try_to_lead()
    assert not await Replica(cluster, "some-3", watch_namespaces=("b",)).try_to_lead(), "the first watches all"


async def test_an_installation_that_watches_more_namespaces_claims_its_name_again(cluster: Cluster) -> None:
    assert await Replica(cluster, "one", watch_namespaces=("a",)).try_to_lead()
    assert await Replica(cluster, "two", watch_namespaces=("b",)).try_to_lead()
    cluster.clock.advance(seconds=60)
    wider = Replica(cluster, "one", "again", watch_namespaces=("a", "b"))
    await wider.try_to_lead()
    cluster.clock.advance(seconds=60)
    assert not await wider.try_to_lead()
    assert "namespace two" in wider.claims.collision


async def test_a_lease_without_a_signing_key_is_not_a_claim(cluster: Cluster) -> None:
    """A tenant may write Leases in its namespace; only the platform may write SigningKeys."""
    forged = Replica(cluster, "attacker")
    await forged.try_to_lead()
    cluster.delete("signingkeys", "attacker")
    assert await Replica(cluster, "one").try_to_lead()


async def test_an_operator_without_annotations_claims_its_name_by_its_signing_key(cluster: Cluster) -> None:
    old = Replica(cluster, "old")
    await old.try_to_lead()
    cluster.lease("old")["metadata"]["annotations"] = {}
    assert not await Replica(cluster, "new").try_to_lead()
    cluster.clock.advance(seconds=60)
    upgraded = Replica(cluster, "old", "upgraded")
    await upgraded.try_to_lead()
    cluster.clock.advance(seconds=60)
    assert await upgraded.try_to_lead()
    assert stage(cluster, "old") == "Held"


async def test_of_two_installations_without_claims_the_older_leads(cluster: Cluster) -> None:
    for namespace in ("older", "younger"):
        await Replica(cluster, namespace, name=namespace).try_to_lead()
        cluster.lease(namespace)["metadata"]["annotations"] = {}
        cluster.objects["signingkeys", namespace, "default"]["spec"] = {"issuer": "default"}
        cluster.clock.advance(seconds=60)
    younger, older = Replica(cluster, "younger", "x"), Replica(cluster, "older", "x")
    for replica in (younger, older):
        await replica.try_to_lead()
    cluster.clock.advance(seconds=10)
    assert not await younger.try_to_lead()
    assert await older.try_to_lead()
    assert "namespace older" in younger.claims.collision


async def test_a_leader_that_finds_an_older_claim_loses_leadership(cluster: Cluster) -> None:
    """This happens only after a Lease was edited by hand."""
    first = Replica(cluster, "one", name="eu")
    await first.try_to_lead()
    cluster.clock.advance(seconds=60)
    second = Replica(cluster, "two")
    assert await second.try_to_lead()
    cluster.lease("one")["metadata"]["annotations"][NAME_ANNOTATION] = "default"
    cluster.objects["signingkeys", "one", "default"]["spec"] = {"issuer": "default"}
    cluster.clock.advance(seconds=1)
    await second.lease.check_claims()
    assert not second.leads
    assert not await second.try_to_lead()
    assert second.events[0].reason == "NameCollision"


async def test_an_operator_that_cannot_list_claims_does_not_lead(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    replica = Replica(cluster, "one")

    async def fail() -> None:
        raise Rejected("Forbidden", "no right to list leases")

    monkeypatch.setattr(replica.claims, "refresh", fail)
    assert not await replica.try_to_lead()
    assert not cluster.writes


async def test_without_the_crd_of_signing_keys_the_holder_of_the_name_keeps_it(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It reconciles the other kinds meanwhile, and no second installation starts to lead."""
    first, second = Replica(cluster, "one"), Replica(cluster, "two")
    assert await first.try_to_lead()
    await first.lease.release()

    async def fail() -> None:
        raise NotServed("signingkeys is not served")

    again = Replica(cluster, "one", "again")
    for replica in (again, second):
        monkeypatch.setattr(replica.claims, "refresh", fail)
    assert await again.try_to_lead()
    await again.lease.check_claims()
    assert again.leads
    assert not await second.try_to_lead()


async def test_the_claim_of_an_operator_without_a_service_account_has_no_owner(cluster: Cluster) -> None:
    for user in ("kubernetes-admin", "system:serviceaccount:elsewhere:operator"):
        replica = Replica(cluster, f"of-{user.rpartition(':')[2]}", name=user.rpartition(":")[2])
        replica.api.user = user
        await replica.try_to_lead()
        assert cluster.lease(replica.config.namespace)["metadata"]["ownerReferences"] == []


@pytest.mark.parametrize("skew", [0.0, 30.0])
@pytest.mark.parametrize("seed", range(60))
async def test_two_installations_never_lead_at_once_in_any_order_of_requests(seed: int, skew: float) -> None:
    """All start at one instant. Requests overtake each other, clocks of API servers differ, and operators crash while
    they claim and are restarted.
    """
    cluster = Cluster(seed)
    cluster.skew = skew
    namespaces = ["one", "two", "three"]
    replicas = {namespace: Replica(cluster, namespace) for namespace in namespaces}
    leaders: set[str] = set()

    async def run_replica(namespace: str) -> None:
        for _ in range(40):
            replica = replicas[namespace]
            if replica.api.dead:
                replica = replicas[namespace] = Replica(cluster, namespace, f"{namespace} {cluster.random.random()}")
            if cluster.random.random() < 0.1:
                replica.api.dies_after = cluster.random.randrange(1, 5)
            await replica.try_to_lead()
            check()
            cluster.clock.advance(seconds=cluster.random.uniform(0.0, 1.0))
            for _ in range(cluster.random.randrange(6)):
                await asyncio.sleep(0)
                check()

    def check() -> None:
        leading = {namespace for namespace, replica in replicas.items() if replica.leads}
        assert len(leading) <= 1, leading
        leaders.update(leading)

    await asyncio.gather(*(run_replica(namespace) for namespace in namespaces))
    assert len(leaders) <= 1, "another installation has taken over the name"
    for _ in range(60):
        cluster.clock.advance(seconds=TAKEOVER_SECONDS)
        for namespace in namespaces:
            if replicas[namespace].api.dead:
                replicas[namespace] = Replica(cluster, namespace, f"{namespace} at last {cluster.clock.now}")
            await replicas[namespace].try_to_lead()
            check()
    assert leaders, "no installation leads in the end"


async def test_an_unreachable_api_server_is_not_a_collision(cluster: Cluster) -> None:
    replica = Replica(cluster, "one")
    replica.api.dead = True
    assert not await replica.try_to_lead()
    assert not replica.claims.collision
    with pytest.raises(Unavailable):
        await replica.claims.refresh()
