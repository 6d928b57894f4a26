"""A flood of orphans is more likely an accident than an order: none is deleted until somebody says so."""

from .installation import Install
from .manifests import oauth_client
from .payroll import MakeNamespace
from .waiting import until


def test_many_orphans_at_once_are_held_until_somebody_allows_it(
    install: Install, make_namespace: MakeNamespace
) -> None:
    installation = install("guarded")
    namespace = make_namespace("many")
    clients = [oauth_client(namespace, f"worker-{number:02}") for number in range(26)]
    installation.have(*clients)
    *gone, kept = [(client, installation.credentials(client)) for client in clients]
    installation.kill_operator()
    installation.delete(*(client for client, _ in gone))
    until(lambda: len(installation.kube.list("OAuthClient", namespace)) == 1)
    installation.forget_lease()
    installation.start_operator()
    until(lambda: installation.metric("scopewright_orphans_held") == 25, lambda: installation.logs())
    installation.rounds()
    assert installation.metric("scopewright_orphans_held") == 25
    assert all(installation.record(client) for client, _ in gone)
    assert all(installation.accepts(*credentials) for _, credentials in (*gone, kept))
    assert "25 of 26 records have no owner: none is deleted" in installation.log()
    assert "scopewright.dev/allow-orphans" in installation.log()
    # The rest goes on: what is declared is reconciled as ever.
    installation.have(oauth_client(namespace, "meanwhile"))
    installation.kubectl(
        "annotate", "configmap", "scopewright-issuer", "scopewright.dev/allow-orphans=24", "-n", installation.namespace
    )
    installation.rounds()
    assert all(installation.record(client) for client, _ in gone), "24 are not 25"
    installation.kubectl(
        "annotate", "configmap", "scopewright-issuer", "scopewright.dev/allow-orphans=25", "--overwrite",
        "-n", installation.namespace,
    )  # fmt: skip
    until(lambda: not any(installation.record(client) for client, _ in gone))
    assert installation.metric("scopewright_orphans_held") == 0
    until(lambda: not any(installation.accepts(*credentials) for _, credentials in gone[:3]))
    assert installation.accepts(*kept[1])
