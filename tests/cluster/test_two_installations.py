"""Two installations of one name: the second changes nothing, says with whom it collides, and waits for a proof."""

import uuid
from collections.abc import Callable, Iterator

import httpx
import pytest

from scopewright.core.claims import LEASE_NAME
from tests.controlplane import Cluster

from .installation import Install, Installation
from .kube import Kube, Manifest
from .manifests import oauth_client
from .payroll import MakeNamespace
from .waiting import until

Second = Callable[[str], Installation]


@pytest.fixture
def second(crds: Cluster, kube: Kube, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Second]:
    """second("name") starts an operator of that name that need not become ready."""
    made: list[Installation] = []

    def make(serves: str) -> Installation:
        name = f"second-{uuid.uuid4().hex[:6]}"
        installation = Installation(crds, kube, tmp_path_factory.mktemp(name), name, serves=serves)
        made.append(installation)
        installation.install()
        installation.start_operator()
        return installation

    yield make
    for installation in made:
        installation.look_for_leaks()
        installation.close()


def written(installation: Installation) -> float:
    """How many requests of its operator could change an object; every label is there from the start."""
    text = httpx.get(f"{installation.health_url}/metrics", trust_env=False).text
    lines = [line for line in text.splitlines() if line.startswith("scopewright_api_requests_total{")]
    return sum(float(line.rpartition(" ")[2]) for line in lines if 'method="PUT"' in line or 'method="DELETE"' in line)


def test_the_second_changes_nothing_and_takes_over_once_the_first_is_gone(
    install: Install, second: Second, make_namespace: MakeNamespace, kube: Kube
) -> None:
    first = install("first", resync="1s")
    namespace = make_namespace("leave")
    client = oauth_client(namespace, "worker")
    first.have(client)
    before = first.settled(namespace)
    late = second(first.serves)
    expected = f"the installation in namespace {first.namespace} serves the name {first.serves!r} already"
    until(lambda: expected in late.ready(), lambda: late.logs())
    assert not late.answers_at(late.health_url)
    for _ in range(3):
        first.rounds()
    assert first.versions(namespace) == before, "the first one is at rest as if it were alone"
    assert first.accepts(*first.credentials(client))
    assert written(late) == 0
    assert [len(kube.list(kind, late.namespace)) for kind in ("Lease", "Secret", "SigningKey")] == [0, 0, 0]
    assert [m["metadata"]["name"] for m in kube.list("ConfigMap", late.namespace)] in ([], ["kube-root-ca.crt"])
    assert late.log().count(expected) == 1, "once"
    [event] = until(lambda: late_events(kube, late), lambda: late.logs())
    assert (event["type"], event["reason"], event["regarding"]["name"]) == ("Warning", "NameCollision", LEASE_NAME)
    # An operator that is silent is not gone for certain.
    first.kill_operator()
    first.rounds()
    assert expected in late.ready()
    kube.delete("Lease", first.namespace, LEASE_NAME)
    until(lambda: late.ready() == "ok", lambda: late.logs(), seconds=90)
    until(late.leads, lambda: late.logs())
    # It has not the first one's records, nor the key of its seals: whose Secret that is it cannot tell.
    late.wait_for(client, "SecretConflict")
    kube.delete("Secret", namespace, "worker-oauth")
    late.wait_until_ready(client)
    # And the first one, back again, now is the second.
    first.start_operator()
    until(lambda: f"namespace {late.namespace} serves the name" in first.ready(), lambda: first.logs())


def late_events(kube: Kube, installation: Installation) -> list[Manifest]:
    return [e for e in kube.list("Event", installation.namespace) if e["reason"] == "NameCollision"]


def test_of_two_that_start_at_one_instant_one_goes_on(second: Second, kube: Kube) -> None:
    name = f"race-{uuid.uuid4().hex[:6]}"
    both = [second(name), second(name)]
    until(lambda: any(each.leads() for each in both), lambda: both[0].logs() + both[1].logs())
    leading, other = both if both[0].leads() else reversed(both)
    until(lambda: f"namespace {leading.namespace} serves the name" in other.ready(), lambda: other.logs())
    leading.rounds()
    assert leading.leads()
    assert not other.leads()
    assert not kube.list("Secret", other.namespace)


def test_an_object_of_a_name_that_nobody_serves_says_which_are_served(
    install: Install, second: Second, make_namespace: MakeNamespace
) -> None:
    first = install("serving", resync="1s")
    name = f"nobody-{uuid.uuid4().hex[:6]}"
    namespace = make_namespace("astray")
    client = oauth_client(namespace, "worker")
    first.kube.apply({**client, "spec": {**client["spec"], "issuer": name}})
    said = first.wait_for(client, "IssuerNotServed")
    assert said["status"] == "False"
    assert f"no installation serves spec.issuer {name!r}" in said["message"]
    assert first.serves in said["message"]
    first.settled(namespace)  # as long as the names stay, it is written once
    late = second(name)
    late.wait_until_ready(client)
    late.rounds()
    assert late.condition(client)["reason"] == "Provisioned", "the first one says no more"
