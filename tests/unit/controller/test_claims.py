"""Two installations of one name: never do both write, and which of them does depends on nothing but who came first."""

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
    assert await first.tries()
    meta = cluster.lease("one")["metadata"]
    assert (meta["annotations"][NAME_ANNOTATION], stage(cluster, "one")) == ("default", "Held")
    assert meta["ownerReferences"] == [
        {"apiVersion": "v1", "kind": "ServiceAccount", "name": "scopewright-operator", "uid": "uid of one"}
    ], "it goes with the installation"
    assert not first.claims.collision


async def test_a_second_installation_of_the_name_writes_nothing_and_reports_the_collision(
    cluster: Cluster, caplog: pytest.LogCaptureFixture
) -> None:
    await Replica(cluster, "one").tries()
    before, second = len(cluster.writes), Replica(cluster, "two")
    for _ in range(50):
        assert not await second.tries()
        cluster.now += 5
    assert len(cluster.writes) == before
    assert cluster.names("leases") == cluster.names("signingkeys") == {"one"}
    assert "the installation in namespace one serves the name 'default' already" in second.claims.collision
    assert "kubectl -n one delete lease scopewright-operator" in second.claims.collision
    assert [event.reason for event in second.reported] == ["NameCollision"], "once"
    assert [r.levelno for r in caplog.records if "serves the name" in r.message] == [logging.ERROR]


async def test_a_claim_of_an_operator_that_is_down_stays_valid(cluster: Cluster) -> None:
    await Replica(cluster, "one").tries()
    cluster.now += 10 * 24 * 3600
    assert not await Replica(cluster, "two").tries()


@pytest.mark.parametrize("gone", [("leases",), ("leases", "signingkeys")])
async def test_a_second_installation_takes_over_some_time_after_the_claim_was_deleted(
    cluster: Cluster, gone: tuple[str, ...]
) -> None:
    """By hand, with the operator's ServiceAccount, or with the namespace."""
    await Replica(cluster, "one").tries()
    second = Replica(cluster, "two")
    assert not await second.tries()
    for plural in gone:
        cluster.delete(plural, "one")
    assert not await second.tries()
    cluster.now += TAKEOVER_SECONDS - 1
    assert not await second.tries()
    cluster.now += 1
    assert await second.tries()
    assert [event.reason for event in second.reported] == ["NameCollision", "NameCollisionEnded"]
    assert not second.claims.collision


async def test_a_lease_that_was_deleted_by_mistake_is_claimed_again_by_its_installation(cluster: Cluster) -> None:
    first, second = Replica(cluster, "one"), Replica(cluster, "two")
    await first.tries()
    await second.tries()
    cluster.delete("leases", "one")
    assert not await second.tries()
    assert await first.tries()
    cluster.now += TAKEOVER_SECONDS + 1
    assert not await second.tries()
    assert (stage(cluster, "one"), second.reported[-1].reason) == ("Held", "NameCollision")


async def test_replicas_and_a_restart_of_one_installation_do_not_collide(cluster: Cluster) -> None:
    a, b = Replica(cluster, "one", "a"), Replica(cluster, "one", "b")
    assert await a.tries()
    assert not await b.tries()
    assert not b.claims.collision
    await a.lease.release()
    assert await b.tries()
    cluster.now += 60
    assert await Replica(cluster, "one", "c").tries() is False
    cluster.now += 60
    c = Replica(cluster, "one", "c")
    await c.tries()
    cluster.now += 60
    assert await c.tries()


async def test_other_names_and_disjoint_namespaces_do_not_collide(cluster: Cluster) -> None:
    everywhere = Replica(cluster, "one")
    assert await everywhere.tries()
    assert await Replica(cluster, "two", name="eu").tries()
    for n, watched in enumerate((("a", "b"), ("c",))):
        assert await Replica(cluster, f"some-{n}", name="some", watch_namespaces=watched).tries()
    assert not await Replica(cluster, "some-2", name="some", watch_namespaces=("b",)).tries()
    assert not await Replica(cluster, "some-3", watch_namespaces=("b",)).tries(), "the first watches all"


async def test_an_installation_that_watches_more_namespaces_claims_its_name_again(cluster: Cluster) -> None:
    assert await Replica(cluster, "one", watch_namespaces=("a",)).tries()
    assert await Replica(cluster, "two", watch_namespaces=("b",)).tries()
    cluster.now += 60
    wider = Replica(cluster, "one", "again", watch_namespaces=("a", "b"))
    await wider.tries()
    cluster.now += 60
    assert not await wider.tries()
    assert "namespace two" in wider.claims.collision


async def test_a_lease_without_a_signing_key_is_not_a_claim(cluster: Cluster) -> None:
    """Whoever may edit in a namespace may write Leases there; SigningKeys are the platform's."""
    forged = Replica(cluster, "attacker")
    await forged.tries()
    cluster.delete("signingkeys", "attacker")
    assert await Replica(cluster, "one").tries()


async def test_an_operator_without_annotations_claims_its_name_by_its_signing_key(cluster: Cluster) -> None:
    old = Replica(cluster, "old")
    await old.tries()
    cluster.lease("old")["metadata"]["annotations"] = {}
    assert not await Replica(cluster, "new").tries()
    cluster.now += 60
    upgraded = Replica(cluster, "old", "upgraded")
    await upgraded.tries()
    cluster.now += 60
    assert await upgraded.tries()
    assert stage(cluster, "old") == "Held"


async def test_of_two_installations_without_claims_the_older_leads(cluster: Cluster) -> None:
    for namespace in ("older", "younger"):
        await Replica(cluster, namespace, name=namespace).tries()
        cluster.lease(namespace)["metadata"]["annotations"] = {}
        cluster.objects["signingkeys", namespace, "default"]["spec"] = {"issuer": "default"}
        cluster.now += 60
    younger, older = Replica(cluster, "younger", "x"), Replica(cluster, "older", "x")
    for replica in (younger, older):
        await replica.tries()
    cluster.now += 10
    assert not await younger.tries()
    assert await older.tries()
    assert "namespace older" in younger.claims.collision


async def test_a_leader_that_finds_an_older_claim_loses_leadership(cluster: Cluster) -> None:
    """It cannot be, unless somebody has written into Leases by hand."""
    first = Replica(cluster, "one", name="eu")
    await first.tries()
    cluster.now += 60
    second = Replica(cluster, "two")
    assert await second.tries()
    cluster.lease("one")["metadata"]["annotations"][NAME_ANNOTATION] = "default"
    cluster.objects["signingkeys", "one", "default"]["spec"] = {"issuer": "default"}
    cluster.now += 1
    await second.lease.look_at_claims()
    assert not second.leads
    assert not await second.tries()
    assert second.reported[0].reason == "NameCollision"


async def test_an_operator_that_cannot_list_claims_does_not_lead(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    replica = Replica(cluster, "one")

    async def look() -> None:
        raise Rejected("Forbidden", "no right to list leases")

    monkeypatch.setattr(replica.claims, "look", look)
    assert not await replica.tries()
    assert not cluster.writes


async def test_without_the_crd_of_signing_keys_the_holder_of_the_name_keeps_it(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other kinds are looked after meanwhile; and nobody else starts."""
    first, second = Replica(cluster, "one"), Replica(cluster, "two")
    assert await first.tries()
    await first.lease.release()

    async def look() -> None:
        raise NotServed("signingkeys is not served")

    again = Replica(cluster, "one", "again")
    for replica in (again, second):
        monkeypatch.setattr(replica.claims, "look", look)
    assert await again.tries()
    await again.lease.look_at_claims()
    assert again.leads
    assert not await second.tries()


async def test_the_claim_of_an_operator_without_a_service_account_has_no_owner(cluster: Cluster) -> None:
    for user in ("kubernetes-admin", "system:serviceaccount:elsewhere:operator"):
        replica = Replica(cluster, f"of-{user.rpartition(':')[2]}", name=user.rpartition(":")[2])
        replica.link.user = user
        await replica.tries()
        assert cluster.lease(replica.config.namespace)["metadata"]["ownerReferences"] == []


@pytest.mark.parametrize("skew", [0.0, 30.0])
@pytest.mark.parametrize("seed", range(60))
async def test_two_installations_never_lead_at_once_in_any_order_of_requests(seed: int, skew: float) -> None:
    """Started at one instant, with requests that overtake each other, API servers that date objects differently, and
    operators that die in the middle of their claim and come back.
    """
    cluster = Cluster(seed)
    cluster.skew = skew
    spaces = ["one", "two", "three"]
    replicas = {space: Replica(cluster, space) for space in spaces}
    led: set[str] = set()

    async def runs(space: str) -> None:
        for _ in range(40):
            replica = replicas[space]
            if replica.link.dead:
                replica = replicas[space] = Replica(cluster, space, f"{space} {cluster.chance.random()}")
            if cluster.chance.random() < 0.1:
                replica.link.dies_after = cluster.chance.randrange(1, 5)
            await replica.tries()
            check()
            cluster.now += cluster.chance.uniform(0.0, 1.0)
            for _ in range(cluster.chance.randrange(6)):
                await asyncio.sleep(0)
                check()

    def check() -> None:
        leading = {space for space, replica in replicas.items() if replica.leads}
        assert len(leading) <= 1, leading
        led.update(leading)

    await asyncio.gather(*(runs(space) for space in spaces))
    assert len(led) <= 1, "who has the name keeps it"
    for _ in range(60):
        cluster.now += TAKEOVER_SECONDS
        for space in spaces:
            if replicas[space].link.dead:
                replicas[space] = Replica(cluster, space, f"{space} at last {cluster.now}")
            await replicas[space].tries()
            check()
    assert led, "in the end one of them leads"


async def test_an_unreachable_api_server_is_not_a_collision(cluster: Cluster) -> None:
    replica = Replica(cluster, "one")
    replica.link.dead = True
    assert not await replica.tries()
    assert not replica.claims.collision
    with pytest.raises(Unavailable):
        await replica.claims.look()
