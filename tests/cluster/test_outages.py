"""Operator, issuer or API server killed, cut off or replaced: no record is lost, and clients keep working."""

import json
import random
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from scopewright.core.records.names import WRITTEN_BY_ISSUERS
from tests.controlplane import ControlPlane
from tests.ports import free_port

from .conftest import serve_crds
from .installation import Install, Installation, decoded
from .kube import Manifest, Refused
from .manifests import oauth_client, resource_server
from .payroll import MakeNamespace, Payroll
from .waiting import eventually, throughout, until

KILLS = 5


# The operator alone


class UserActivity:
    """Users who apply, rotate and delete clients while the operator is killed."""

    def __init__(self, installation: Installation, namespace: str, seed: int) -> None:
        self._installation = installation
        self._namespace = namespace
        self._random = random.Random(seed)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.errors: list[Exception] = []

    def __enter__(self) -> "UserActivity":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def client(self, number: int) -> Manifest:
        return oauth_client(self._namespace, f"restless-{number}")

    def _run(self) -> None:
        turn = 0
        while not self._over.wait(self._random.uniform(0, 0.02)):
            turn += 1
            client = self.client(self._random.randrange(8))
            try:
                self._act(client, turn)
            except Refused as refused:
                if refused.status != 404:
                    self.errors.append(refused)
            except Exception as error:
                self.errors.append(error)

    def _act(self, client: Manifest, turn: int) -> None:
        meta = client["metadata"]
        match self._random.randrange(4):
            case 0:
                self._installation.delete(client)
            case 1:
                annotations = {"scopewright.dev/rotate": f"turn-{turn}"}
                self._installation.kube.patch(
                    "OAuthClient", meta["namespace"], meta["name"], {"metadata": {"annotations": annotations}}
                )
            case _:
                self._installation.apply(client)


@pytest.mark.parametrize("seed", [1])
def test_an_operator_killed_at_random_points_converges_without_needless_rotations(
    install: Install, make_namespace: MakeNamespace, seed: int
) -> None:
    installation = install("killed")
    namespace = make_namespace("activity")
    calm = [oauth_client(namespace, f"calm-{number}") for number in range(3)]
    server = resource_server(namespace, "api", "a")
    installation.apply_and_wait(*calm, server)
    credentials = [installation.credentials(client) for client in calm]
    secrets = {c["metadata"]["name"]: installation.read(secret_of(c)) for c in calm}
    kids = installation.jwks()
    pauses = random.Random(seed)
    with UserActivity(installation, namespace, seed) as activity:
        for _ in range(KILLS):
            time.sleep(pauses.uniform(0.1, 1.5))
            installation.kill_operator()
            held = held_credentials(installation, namespace)
            # The operator is dead, and the issuer accepts what every Secret holds (invariant 1).
            assert all(installation.accepts(*each) for each in still_owned(installation, namespace, held))
            installation.delete_lease()
            installation.start_operator()
            until(installation.is_leader, lambda: installation.logs())
    assert not activity.errors
    installation.apply(*(activity.client(number) for number in range(8)))
    clients = [*calm, *(activity.client(number) for number in range(8))]
    installation.wait_until_ready(*clients, server)
    before = installation.settle(namespace)
    assert {c["metadata"]["name"]: installation.read(secret_of(c)) for c in calm} == secrets
    assert all(installation.accepts(*each) for each in credentials)
    assert all(installation.accepts(*installation.credentials(client)) for client in clients)
    assert installation.jwks() == kids
    assert installation.stop_operator() == 0
    installation.start_operator()
    installation.wait_until_ready_and_leader()
    installation.wait_two_resyncs()
    assert installation.versions(namespace) == before, "a second run must write nothing"


def secret_of(client: Manifest) -> Manifest:
    meta = client["metadata"]
    return {"kind": "Secret", "metadata": {"namespace": meta["namespace"], "name": f"{meta['name']}-oauth"}}


def held_credentials(installation: Installation, namespace: str) -> dict[str, tuple[str, str]]:
    """Client id and secret by the Secret's UID."""
    found = {secret["metadata"]["uid"]: decoded(secret) for secret in installation.kube.list("Secret", namespace)}
    return {uid: (entries["client_id"], entries["client_secret"]) for uid, entries in found.items()}


def still_owned(
    installation: Installation, namespace: str, held: dict[str, tuple[str, str]]
) -> Iterator[tuple[str, str]]:
    """Without Secrets whose client was deleted, which the garbage collector is about to delete."""
    uids = {c["metadata"]["uid"] for c in installation.kube.list("OAuthClient", namespace)}
    for secret in installation.kube.list("Secret", namespace):
        owners = {o["uid"] for o in secret["metadata"].get("ownerReferences", ())}
        if owners & uids and secret["metadata"]["uid"] in held:
            yield held[secret["metadata"]["uid"]]


def test_a_client_deleted_while_the_operator_was_down_is_refused_after_its_restart(
    install: Install, make_namespace: MakeNamespace
) -> None:
    installation = install("down")
    payroll = Payroll(make_namespace)
    doomed = oauth_client(payroll.caller, "doomed", *payroll.client["spec"]["access"])
    installation.apply_and_wait(*payroll.manifests, doomed)
    ungranted, deleted = installation.credentials(payroll.client), installation.credentials(doomed)
    installation.kill_operator()
    installation.delete(payroll.grant, doomed)
    installation.accepts(*deleted)  # no operator runs
    installation.token(*ungranted)
    installation.delete_lease()
    installation.start_operator()
    until(installation.is_leader, lambda: installation.logs())
    assert eventually(lambda: installation.error(*deleted) == "invalid_client", seconds=5)
    assert eventually(lambda: installation.error(*ungranted) == "invalid_target", seconds=5)
    assert installation.client_record(doomed) is None


# Two operators


def holder(installation: Installation) -> str:
    lease = installation.kube.get("Lease", installation.namespace, "scopewright-operator")
    assert lease is not None
    return str(lease["spec"]["holderIdentity"])


def test_of_two_operators_one_leads_and_the_other_takes_over(install: Install, make_namespace: MakeNamespace) -> None:
    installation = install("pair")
    payroll = Payroll(make_namespace)
    url = f"http://127.0.0.1:{free_port()}"
    standby = installation.start_operator_replica(url, "standby")
    try:
        until(lambda: installation.is_ready(url), lambda: installation.logs())
        first = holder(installation)
        assert installation.is_leader()
        assert throughout(3, lambda: not installation.is_leader(url))
        assert holder(installation) == first
        installation.kill_operator()
        until(lambda: installation.is_leader(url), lambda: installation.logs())
        assert holder(installation) not in ("", first)
        installation.apply_and_wait(*payroll.manifests)
        # A standby replica ends cleanly too, and does not touch the Lease.
        installation.start_operator()
        until(lambda: installation.is_ready(installation.health_url), lambda: installation.logs())
        assert installation.stop_operator() == 0
        assert installation.is_leader(url)
        installation.start_operator()
        until(lambda: installation.is_ready(installation.health_url), lambda: installation.logs())
        assert not installation.is_leader()
        standby.terminate()
        assert standby.exit_code() == 0
        until(installation.is_leader, lambda: installation.logs())
        installation.token(*installation.credentials(payroll.client))
    finally:
        standby.kill()


def test_a_stopped_operator_releases_the_lease_and_exits_with_0(install: Install) -> None:
    installation = install("polite")
    """So that a standby need not wait for it to expire."""
    assert holder(installation) != ""
    assert installation.stop_operator() == 0
    assert holder(installation) == ""
    assert installation.issuer is not None
    installation.issuer.terminate()
    assert installation.issuer.exit_code() == 0


# The API server


def test_tokens_are_issued_while_operator_and_api_server_are_down(
    own_plane: ControlPlane, own_installation: Installation
) -> None:
    installation = own_installation
    payroll = Payroll(installation.make_namespace)
    installation.apply_and_wait(*payroll.manifests)
    credentials = installation.credentials(payroll.client)
    installation.token(*credentials)
    installation.kill_operator()
    own_plane.stop_apiserver()
    try:
        for _ in range(50):
            installation.token(*credentials)
        # No refusal on missing information: the secret may just have changed (invariant 8).
        answer = installation.post_token(credentials[0], "another")
        assert answer.status_code == 503
        assert int(answer.headers["retry-after"]) >= 1
        assert installation.post_token("unknown.client", "secret").status_code == 503
        assert installation.is_ready(installation.issuer_url)
        assert installation.jwks()
    finally:
        own_plane.start_apiserver()
    installation.start_operator()
    another = oauth_client(payroll.caller, "another", *payroll.client["spec"]["access"])
    installation.apply_and_wait(another)
    assert installation.accepts(*installation.credentials(another))
    installation.token(*credentials)
    installation.delete(payroll.grant)
    assert eventually(lambda: installation.error(*credentials) == "invalid_target", seconds=30)


def test_the_operator_recovers_from_an_outage_of_the_api_server(
    own_plane: ControlPlane, own_installation: Installation
) -> None:
    """Its process may end and be restarted, as by the kubelet. It continues without a needless write."""
    installation = own_installation
    payroll = Payroll(installation.make_namespace)
    installation.apply_and_wait(*payroll.manifests)
    before = installation.settle(payroll.caller, payroll.owner)
    own_plane.stop_apiserver()
    until(lambda: not installation.is_leader() or not installation.operator_is_running())
    own_plane.start_apiserver()
    installation.restart_operator_until_leader()
    another = oauth_client(payroll.caller, "another", *payroll.client["spec"]["access"])
    assert installation.settle(payroll.caller, payroll.owner) == before
    installation.apply_and_wait(another)
    assert "the resync failed" in installation.log() or ": retrying" in installation.log()


def test_an_issuer_starts_from_its_snapshot_while_the_api_server_is_down(
    own_plane: ControlPlane, own_installation: Installation
) -> None:
    installation = own_installation
    payroll = Payroll(installation.make_namespace)
    installation.apply_and_wait(*payroll.manifests)
    credentials = installation.credentials(payroll.client)
    snapshot = installation.folder / "snapshot"
    assert installation.issuer is not None
    installation.issuer.kill()
    installation.start_issuer("--snapshot", str(snapshot))
    until(lambda: installation.is_ready(installation.issuer_url), lambda: installation.logs())
    installation.token(*credentials)
    until(snapshot.exists)
    assert snapshot.stat().st_mode & 0o777 == 0o600
    installation.issuer.kill()
    own_plane.stop_apiserver()
    try:
        installation.start_issuer("--snapshot", str(snapshot))
        until(lambda: installation.is_ready(installation.issuer_url), lambda: installation.logs())
        installation.token(*credentials)
    finally:
        own_plane.start_apiserver()


def test_crds_deleted_and_applied_again_lose_no_record(own_plane: ControlPlane, own_installation: Installation) -> None:
    installation = own_installation
    payroll = Payroll(installation.make_namespace)
    installation.apply_and_wait(*payroll.manifests)
    credentials = installation.credentials(payroll.client)
    kids, kept_before = installation.jwks(), records_without_grants(installation)
    for crd in installation.kube.list("CustomResourceDefinition"):
        installation.kube.delete("CustomResourceDefinition", "", crd["metadata"]["name"])
    until(lambda: not installation.kube.list("CustomResourceDefinition"))
    installation.tracebacks_allowed = True
    try:
        # Without watches the operator must end; after the restart it reports what is missing.
        assert installation.operator is not None
        assert installation.operator.exit_code() == 1
        assert "kopf has stopped watching: this process exits, so that Kubernetes restarts it" in installation.log()
        assert installation.start_operator().exit_code() == 1
        assert "kubectl apply --server-side -f crds/" in installation.log()
        assert records_without_grants(installation) == kept_before
        assert installation.accepts(*credentials)
    finally:
        serve_crds(own_plane)
        own_plane.restart_controllers()
    installation.restart_operator_until_leader()
    installation.wait_two_resyncs()
    assert records_without_grants(installation) == kept_before, "no owner has deleted the objects"
    assert installation.accepts(*credentials)
    installation.apply_and_wait(*payroll.manifests)
    again = installation.new_credentials(payroll.client, credentials[1])
    assert eventually(lambda: installation.error(*again) == "", seconds=30)
    assert installation.error(*credentials) == "invalid_client", "a name is not an identity"
    assert installation.jwks() == kids
    # The CRD is younger than the record; the deletion by the owner counts all the same.
    installation.delete(payroll.client)
    assert eventually(lambda: installation.error(*again) == "invalid_client", seconds=10)


def test_without_one_crd_the_other_kinds_are_reconciled(
    own_plane: ControlPlane, own_installation: Installation
) -> None:
    installation = own_installation
    payroll = Payroll(installation.make_namespace)
    installation.apply_and_wait(*payroll.manifests)
    credentials = installation.credentials(payroll.client)
    installation.tracebacks_allowed = True
    installation.kube.delete("CustomResourceDefinition", "", "scopegrants.scopewright.dev")
    try:
        until(lambda: "not watched, because the CRD is missing: ScopeGrant" in installation.log(), installation.logs)
        until(lambda: "scopegrants.scopewright.dev is missing" in installation.log(), installation.logs)
        another = oauth_client(payroll.caller, "another")
        installation.apply_and_wait(another)
        installation.kube.delete("Secret", payroll.caller, another["metadata"]["name"] + "-oauth")
        installation.new_credentials(another)
        until(lambda: installation.error(*credentials) != "", installation.logs)
        assert installation.accepts(*credentials), "grants end with their CRD, and clients stay"
    finally:
        serve_crds(own_plane)
        own_plane.restart_controllers()
    until(lambda: "all kinds are watched again" in installation.log(), installation.logs)
    installation.apply_and_wait(*payroll.manifests)
    until(lambda: installation.error(*credentials) == "", installation.logs)
    assert installation.operator_is_running()


def records_without_grants(installation: Installation) -> dict[str, Any]:
    """The records without grants, which end when their ScopeGrants are deleted in any way."""
    found = records(installation)
    for name, data in found.items():
        if name.startswith("ConfigMap resourceserver."):
            found[name] = {k: v for k, v in json.loads(data["record.json"]).items() if k != "grants"}
    return found


def records(installation: Installation) -> dict[str, Any]:
    """Content of all managed objects in the issuer's namespace, without those that issuers write."""
    return {
        f"{kind} {made['metadata']['name']}": made["data"]
        for kind in ("Secret", "ConfigMap")
        for made in installation.kube.list(kind, installation.namespace)
        if made["metadata"].get("labels", {}).get("app.kubernetes.io/managed-by") == "scopewright"
        and made["metadata"]["name"] not in WRITTEN_BY_ISSUERS
    }


# Rights


def test_withdrawn_rights_lose_no_record_and_the_operator_recovers(
    install: Install, make_namespace: MakeNamespace
) -> None:
    installation = install("withdrawn")
    payroll = Payroll(make_namespace)
    installation.apply_and_wait(*payroll.manifests)
    credentials = installation.credentials(payroll.client)
    installation.token(*credentials)  # so that the record of the API has its grant
    before = records(installation)
    binding = installation.user("operator")
    installation.kube.delete("ClusterRoleBinding", "", binding)
    until(lambda: "a right is missing" in installation.log(), lambda: installation.logs())
    installation.wait_two_resyncs()
    installation.wait_two_resyncs()
    assert records(installation) == before
    installation.token(*credentials)
    doomed = oauth_client(payroll.caller, "doomed")
    installation.apply(doomed)
    installation.apply_rights()
    installation.restart_operator_until_leader()
    installation.wait_until_ready(doomed, *payroll.manifests)
    assert records(installation).items() >= before.items()
    installation.token(*credentials)


def test_a_list_that_fails_changes_nothing(install: Install, make_namespace: MakeNamespace) -> None:
    """The right to list clients is withdrawn: clients that cannot be listed are not treated as deleted."""
    installation = install("listless")
    payroll = Payroll(make_namespace)
    installation.apply_and_wait(*payroll.manifests)
    credentials, before = installation.credentials(payroll.client), records(installation)
    role = installation.kube.get("ClusterRole", "", installation.user("operator"))
    assert role is not None
    for rule in role["rules"]:
        if rule["resources"] == ["oauthclients"] and "list" in rule["verbs"]:
            rule["verbs"] = ["get"]
    installation.kube.patch("ClusterRole", "", installation.user("operator"), {"rules": role["rules"]})
    until(lambda: "the resync failed" in installation.log(), lambda: installation.logs())
    installation.wait_two_resyncs()
    assert records(installation) == before
    installation.token(*credentials)
    installation.apply_rights()
    installation.restart_operator_until_leader()
    another = oauth_client(payroll.caller, "another")
    installation.apply_and_wait(another)
    assert records(installation).items() >= before.items()


def test_without_the_lease_nothing_is_written(install: Install, make_namespace: MakeNamespace) -> None:
    """The right to renew is withdrawn: after the deadline the operator writes nothing, though it could."""
    installation = install("leaseless")
    namespace = make_namespace("leave")
    installation.kube.delete("RoleBinding", installation.namespace, "operator")
    until(lambda: not installation.is_leader(), lambda: installation.logs(), seconds=30)
    client = oauth_client(namespace, "worker")
    installation.apply(client)
    installation.wait_two_resyncs()
    assert installation.status(client)["conditions"][0]["reason"] == "Pending"
    assert installation.kube.get("Secret", namespace, "worker-oauth") is None
    installation.apply_rights()
    installation.restart_operator_until_leader()
    installation.wait_until_ready(client)
