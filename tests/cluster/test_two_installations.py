"""Two installations with one name: the second changes nothing, names the first, and waits until it is uninstalled."""

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
    """second("name") starts an operator with that name, without waiting until it is ready."""
    made: list[Installation] = []

    def make(serves: str) -> Installation:
        name = f"second-{uuid.uuid4().hex[:6]}"
        installation = Installation(crds, kube, tmp_path_factory.mktemp(name), name, issuer_name=serves)
        made.append(installation)
        installation.install()
        installation.start_operator()
        return installation

    yield make
    for installation in made:
        installation.check_logs_for_secrets()
        installation.close()


def written(installation: Installation) -> float:
    """The number of requests of its operator that can change an object."""
    text = httpx.get(f"{installation.health_url}/metrics", trust_env=False).text
    lines = [line for line in text.splitlines() if line.startswith("scopewright_api_requests_total{")]
    return sum(float(line.rpartition(" ")[2]) for line in lines if 'method="PUT"' in line or 'method="DELETE"' in line)


def test_the_second_installation_changes_nothing_and_takes_over_after_the_first_is_uninstalled(
    install: Install, second: Second, make_namespace: MakeNamespace, kube: Kube
) -> None:
    first = install("first", resync="1s")
    namespace = make_namespace("leave")
    client = oauth_client(namespace, "worker")
    first.apply_and_wait(client)
    before = first.settle(namespace)
    late = second(first.issuer_name)
    expected = f"the installation in namespace {first.namespace} serves the name {first.issuer_name!r} already"
    until(lambda: expected in late.readyz(), lambda: late.logs())
    assert not late.is_ready(late.health_url)
    for _ in range(3):
        first.wait_two_resyncs()
    assert first.versions(namespace) == before, "the first installation must not be disturbed"
    assert first.accepts(*first.credentials(client))
    assert written(late) == 0
    assert [len(kube.list(kind, late.namespace)) for kind in ("Lease", "Secret", "SigningKey")] == [0, 0, 0]
    assert [m["metadata"]["name"] for m in kube.list("ConfigMap", late.namespace)] in ([], ["kube-root-ca.crt"])
    assert late.log().count(expected) == 1, "once"
    [event] = until(lambda: late_events(kube, late), lambda: late.logs())
    assert (event["type"], event["reason"], event["regarding"]["name"]) == ("Warning", "NameCollision", LEASE_NAME)
    # An operator that does not answer may still run.
    first.kill_operator()
    first.wait_two_resyncs()
    assert expected in late.readyz()
    kube.delete("Lease", first.namespace, LEASE_NAME)
    until(lambda: late.readyz() == "ok", lambda: late.logs(), seconds=90)
    until(late.is_leader, lambda: late.logs())
    # It has neither the records nor the seal key of the first one, so the Secret is foreign to it.
    late.wait_for(client, "SecretConflict")
    kube.delete("Secret", namespace, "worker-oauth")
    late.wait_until_ready(client)
    # When the first one is started again, it is the second.
    first.start_operator()
    until(lambda: f"namespace {late.namespace} serves the name" in first.readyz(), lambda: first.logs())


def late_events(kube: Kube, installation: Installation) -> list[Manifest]:
    return [e for e in kube.list("Event", installation.namespace) if e["reason"] == "NameCollision"]


def test_of_two_operators_that_start_together_one_continues(second: Second, kube: Kube) -> None:
    name = f"race-{uuid.uuid4().hex[:6]}"
    both = [second(name), second(name)]
    until(lambda: any(each.is_leader() for each in both), lambda: both[0].logs() + both[1].logs())
    leading, other = both if both[0].is_leader() else reversed(both)
    until(lambda: f"namespace {leading.namespace} serves the name" in other.readyz(), lambda: other.logs())
    leading.wait_two_resyncs()
    assert leading.is_leader()
    assert not other.is_leader()
    assert not kube.list("Secret", other.namespace)


def test_an_object_of_an_unserved_issuer_names_the_served_ones(
    install: Install, second: Second, make_namespace: MakeNamespace
) -> None:
    first = install("serving", resync="1s")
    name = f"unserved-{uuid.uuid4().hex[:6]}"
    namespace = make_namespace("astray")
    client = oauth_client(namespace, "worker")
    first.kube.apply({**client, "spec": {**client["spec"], "issuer": name}})
    condition = first.wait_for(client, "IssuerNotServed")
    assert condition["status"] == "False"
    assert f"no installation serves spec.issuer {name!r}" in condition["message"]
    assert first.issuer_name in condition["message"]
    first.settle(namespace)  # while the served names stay, the status is written once
    late = second(name)
    late.wait_until_ready(client)
    late.wait_two_resyncs()
    assert late.condition(client)["reason"] == "Provisioned", "the first installation must not overwrite it"
