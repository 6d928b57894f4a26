"""Many orphans at once are probably an accident: none is deleted until a user allows it.

The limit is for each namespace. Clients whose record is kept are refused meanwhile.
"""

from collections.abc import Iterable

from .installation import Install, Installation
from .kube import Manifest
from .manifests import oauth_client
from .payroll import MakeNamespace
from .waiting import until

Credentials = tuple[str, str]


def delete_during_outage(installation: Installation, deleted_clients: Iterable[Manifest], left: dict[str, int]) -> None:
    """Delete clients while no operator runs. `left` is the number of OAuthClients in each namespace afterwards."""
    installation.kill_operator()
    installation.delete(*deleted_clients)
    for namespace, count in left.items():
        until(lambda of=namespace, n=count: len(installation.kube.list("OAuthClient", of)) == n)  # type: ignore[misc]
    installation.delete_lease()
    installation.start_operator()


def wait_until_refused(installation: Installation, credentials: Iterable[Credentials]) -> None:
    until(lambda: not any(installation.accepts(*each) for each in credentials), lambda: installation.logs())


def allow(installation: Installation, counts: str) -> None:
    installation.kubectl(
        "annotate", "configmap", "scopewright-issuer", f"scopewright.dev/allow-orphans={counts}", "--overwrite",
        "-n", installation.namespace,
    )  # fmt: skip


def test_many_orphans_at_once_are_kept_and_refused_until_a_user_allows_their_deletion(
    install: Install, make_namespace: MakeNamespace
) -> None:
    installation = install("guarded")
    namespace = make_namespace("many")
    clients = [oauth_client(namespace, f"worker-{number:02}") for number in range(26)]
    installation.apply_and_wait(*clients)
    *deleted_clients, remaining = [(client, installation.credentials(client)) for client in clients]
    delete_during_outage(installation, [client for client, _ in deleted_clients], {namespace: 1})
    until(lambda: installation.metric("scopewright_orphans_held") == 25, lambda: installation.logs())
    wait_until_refused(installation, [credentials for _, credentials in deleted_clients])
    installation.wait_two_resyncs()
    assert installation.metric("scopewright_orphans_held") == 25
    assert all(installation.client_record(client) for client, _ in deleted_clients)
    assert installation.accepts(*remaining[1])
    assert f"namespace {namespace}: 25 of 26 records have no object" in installation.log()
    assert f"scopewright.dev/allow-orphans: '{namespace}=25'" in installation.log()
    # Other objects are reconciled meanwhile.
    installation.apply_and_wait(oauth_client(namespace, "meanwhile"))
    allow(installation, f"{namespace}=24")
    installation.wait_two_resyncs()
    assert all(installation.client_record(client) for client, _ in deleted_clients), "the number must be exact"
    allow(installation, f"{namespace}=25")
    until(lambda: not any(installation.client_record(client) for client, _ in deleted_clients))
    assert installation.metric("scopewright_orphans_held") == 0
    assert installation.accepts(*remaining[1])


def test_a_mass_deletion_in_one_namespace_does_not_keep_another_teams_client_alive(
    install: Install, make_namespace: MakeNamespace
) -> None:
    """During an outage one team deletes 40 clients and another one. The record of the latter is deleted at once."""
    installation = install("tenants")
    many, one = make_namespace("many"), make_namespace("one")
    deleted = [oauth_client(many, f"worker-{number:02}") for number in range(40)]
    leaver, stayer = oauth_client(one, "leaver"), oauth_client(one, "stayer")
    installation.apply_and_wait(*deleted, leaver, stayer)
    before = {client["metadata"]["name"]: installation.credentials(client) for client in (*deleted, leaver, stayer)}
    delete_during_outage(installation, [*deleted, leaver], {many: 0, one: 1})
    until(lambda: installation.client_record(leaver) is None, lambda: installation.logs())
    wait_until_refused(installation, [before["leaver"]])
    until(lambda: installation.metric("scopewright_orphans_held") == 40, lambda: installation.logs())
    wait_until_refused(installation, [before["worker-00"], before["worker-39"]])
    assert all(installation.client_record(client) for client in deleted)
    assert installation.accepts(*before["stayer"])
    assert f"namespace {one}" not in installation.log()


def test_the_records_of_a_deleted_namespace_are_deleted_without_a_limit(
    install: Install, make_namespace: MakeNamespace
) -> None:
    """No object can exist in a deleted namespace."""
    installation = install("evicted")
    shut, open_ = make_namespace("shut"), make_namespace("open")
    clients = [oauth_client(shut, f"worker-{number:02}") for number in range(45)]
    remaining = oauth_client(open_, "kept")
    installation.apply_and_wait(*clients, remaining)
    before = [installation.credentials(client) for client in (*clients[:3], remaining)]
    installation.kill_operator()
    installation.kube.delete("Namespace", "", shut)
    until(lambda: installation.kube.get("Namespace", "", shut) is None, seconds=120)
    installation.delete_lease()
    installation.start_operator()
    until(lambda: not any(installation.client_record(client) for client in clients), lambda: installation.logs())
    wait_until_refused(installation, before[:3])
    assert installation.metric("scopewright_orphans_held") == 0
    assert "have no object" not in installation.log()
    assert installation.accepts(*before[3])
