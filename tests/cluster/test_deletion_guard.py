"""A flood of orphans is more likely an accident than an order: none is deleted until somebody says so.

Each namespace is judged by itself, and whose record is kept is refused meanwhile.
"""

from collections.abc import Iterable

from .installation import Install, Installation
from .kube import Manifest
from .manifests import oauth_client
from .payroll import MakeNamespace
from .waiting import until

Credentials = tuple[str, str]


def outage(installation: Installation, gone: Iterable[Manifest], left: dict[str, int]) -> None:
    """While no operator runs these are deleted; `left` says how many OAuthClients each namespace has then."""
    installation.kill_operator()
    installation.delete(*gone)
    for namespace, count in left.items():
        until(lambda of=namespace, n=count: len(installation.kube.list("OAuthClient", of)) == n)  # type: ignore[misc]
    installation.delete_lease()
    installation.start_operator()


def refused(installation: Installation, credentials: Iterable[Credentials]) -> None:
    until(lambda: not any(installation.accepts(*each) for each in credentials), lambda: installation.logs())


def allow(installation: Installation, stated: str) -> None:
    installation.kubectl(
        "annotate", "configmap", "scopewright-issuer", f"scopewright.dev/allow-orphans={stated}", "--overwrite",
        "-n", installation.namespace,
    )  # fmt: skip


def test_many_orphans_at_once_are_kept_and_refused_until_a_user_allows_their_deletion(
    install: Install, make_namespace: MakeNamespace
) -> None:
    installation = install("guarded")
    namespace = make_namespace("many")
    clients = [oauth_client(namespace, f"worker-{number:02}") for number in range(26)]
    installation.apply_and_wait(*clients)
    *gone, kept = [(client, installation.credentials(client)) for client in clients]
    outage(installation, [client for client, _ in gone], {namespace: 1})
    until(lambda: installation.metric("scopewright_orphans_held") == 25, lambda: installation.logs())
    refused(installation, [credentials for _, credentials in gone])
    installation.wait_two_resyncs()
    assert installation.metric("scopewright_orphans_held") == 25
    assert all(installation.client_record(client) for client, _ in gone)
    assert installation.accepts(*kept[1])
    assert f"namespace {namespace}: 25 of 26 records have no owner" in installation.log()
    assert f"scopewright.dev/allow-orphans: '{namespace}=25'" in installation.log()
    # The rest goes on: what is declared is reconciled as ever.
    installation.apply_and_wait(oauth_client(namespace, "meanwhile"))
    allow(installation, f"{namespace}=24")
    installation.wait_two_resyncs()
    assert all(installation.client_record(client) for client, _ in gone), "24 are not 25"
    allow(installation, f"{namespace}=25")
    until(lambda: not any(installation.client_record(client) for client, _ in gone))
    assert installation.metric("scopewright_orphans_held") == 0
    assert installation.accepts(*kept[1])


def test_a_mass_deletion_in_one_namespace_does_not_keep_another_teams_client_alive(
    install: Install, make_namespace: MakeNamespace
) -> None:
    """In an outage one team deletes forty clients and another one client: that one is gone at once, record and all."""
    installation = install("tenants")
    many, one = make_namespace("many"), make_namespace("one")
    deleted = [oauth_client(many, f"worker-{number:02}") for number in range(40)]
    leaver, stayer = oauth_client(one, "leaver"), oauth_client(one, "stayer")
    installation.apply_and_wait(*deleted, leaver, stayer)
    before = {client["metadata"]["name"]: installation.credentials(client) for client in (*deleted, leaver, stayer)}
    outage(installation, [*deleted, leaver], {many: 0, one: 1})
    until(lambda: installation.client_record(leaver) is None, lambda: installation.logs())
    refused(installation, [before["leaver"]])
    until(lambda: installation.metric("scopewright_orphans_held") == 40, lambda: installation.logs())
    refused(installation, [before["worker-00"], before["worker-39"]])
    assert all(installation.client_record(client) for client in deleted)
    assert installation.accepts(*before["stayer"])
    assert f"namespace {one}" not in installation.log()


def test_the_records_of_a_deleted_namespace_are_deleted_without_a_limit(
    install: Install, make_namespace: MakeNamespace
) -> None:
    """However many they are: nothing can be in a namespace that is not there."""
    installation = install("evicted")
    shut, open_ = make_namespace("shut"), make_namespace("open")
    clients = [oauth_client(shut, f"worker-{number:02}") for number in range(45)]
    kept = oauth_client(open_, "kept")
    installation.apply_and_wait(*clients, kept)
    before = [installation.credentials(client) for client in (*clients[:3], kept)]
    installation.kill_operator()
    installation.kube.delete("Namespace", "", shut)
    until(lambda: installation.kube.get("Namespace", "", shut) is None, seconds=120)
    installation.delete_lease()
    installation.start_operator()
    until(lambda: not any(installation.client_record(client) for client in clients), lambda: installation.logs())
    refused(installation, before[:3])
    assert installation.metric("scopewright_orphans_held") == 0
    assert "have no owner" not in installation.log()
    assert installation.accepts(*before[3])
