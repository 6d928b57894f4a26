"""Metrics of a real operator and issuer: exactly the documented ones, with plausible values."""

import time
from pathlib import Path

import httpx
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from tests.of_docs import of_docs

from .installation import Install
from .manifests import oauth_client
from .payroll import MakeNamespace, Payroll
from .waiting import until


def scraped(url: str) -> list[Sample]:
    text = httpx.get(f"{url}/metrics", timeout=30, trust_env=False).text
    families = text_string_to_metric_families(text)
    return [
        s for f in families for s in f.samples if s.name.startswith("scopewright_") and not s.name.endswith("_created")
    ]


NAMING = {
    "scopewright_object_problem",
    "scopewright_orphans_held_by_namespace",
    "scopewright_issuer_provider_requests_total",
}
"""Metrics of failures and of identity providers, which have no sample if there is none."""


def value(url: str, name: str, **labels: str) -> float:
    """The sum of the samples with these labels."""
    return sum(s.value for s in scraped(url) if s.name == name and labels.items() <= s.labels.items())


def test_exported_metrics_are_the_documented_ones_with_plausible_values(
    install: Install, make_namespace: MakeNamespace, tmp_path: Path
) -> None:
    """The issuer has a session store: metrics of users are exported where users can log in."""
    installation = install("metrics")
    assert installation.issuer is not None
    installation.issuer.terminate()
    assert installation.issuer.exit_code() == 0
    installation.start_issuer("--sessions", str(tmp_path / "sessions.db"))
    installation.wait_until_ready_and_leader()
    page = of_docs("metrics")
    operator, issuer = installation.health_url, installation.issuer_metrics_url
    for url, documented in ((operator, page.operator()), (issuer, page.issuer())):
        names = {name for metric in documented for name in metric.samples}
        assert {s.name for s in scraped(url)} | NAMING & names == names

    ready = {"name": "scopewright_apply_to_ready_seconds_count", "kind": "OAuthClient"}
    issued = {"name": "scopewright_issuer_requests_total", "handler": "token", "result": "issued"}
    before, tokens = value(operator, **ready), value(issuer, **issued)
    payroll = Payroll(make_namespace)
    installation.apply_and_wait(*payroll.manifests)
    client_id, secret = installation.credentials(payroll.client)
    installation.token(client_id, secret)
    until(lambda: value(operator, **ready) > before)
    until(lambda: value(issuer, **issued) > tokens)
    refused = {"name": "scopewright_issuer_refusals_of_known_clients_total", "result": "invalid_client"}
    count = value(issuer, **refused)
    assert installation.error(client_id, "wrong") == "invalid_client"
    until(lambda: value(issuer, **refused) > count)

    now = time.time()
    assert value(operator, "scopewright_leader") == 1
    assert value(operator, "scopewright_reconcile_seconds_count", kind="OAuthClient") > 0
    assert value(operator, "scopewright_api_requests_total", method="PUT", result="ok") > 0
    assert value(operator, "scopewright_records", kind="client") > 0
    assert value(operator, "scopewright_conditions", kind="OAuthClient", type="Ready", status="True") > 0
    assert value(operator, "scopewright_signing_keys", signing_key="default", state="Active") == 1
    assert value(operator, "scopewright_signing_key_next_rotation_timestamp_seconds", signing_key="default") > now
    for kind in ("Secret", "ConfigMap", "ServiceAccount"):
        assert now - 600 < value(operator, "scopewright_watch_heard_timestamp_seconds", kind=kind) < now + 60
    assert now - 600 < value(issuer, "scopewright_issuer_watch_heard_timestamp_seconds", kind="Secret") < now + 60
    for url, name in ((operator, "scopewright_"), (issuer, "scopewright_issuer_")):
        assert now - 60 < value(url, f"{name}api_server_last_contact_timestamp_seconds") < now + 60
    assert value(issuer, "scopewright_issuer_ready_workers") == 1

    broken = oauth_client(payroll.caller, "off")
    installation.apply({**broken, "spec": {**broken["spec"], "disabled": True}})
    named = {"object_namespace": payroll.caller, "object": "off", "condition_reason": "Disabled"}
    until(lambda: value(operator, "scopewright_object_problem", problem="NotReady", **named) == 1)
