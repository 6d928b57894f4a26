"""Traces that a real operator and issuer export to a collector, and their logs as JSON."""

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.otlp import Collector, ReceivedSpan

from .installation import Install, Installation
from .payroll import MakeNamespace, Payroll
from .waiting import until

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    with Collector() as collector:
        yield collector


@pytest.fixture(scope="module")
def traced(install: Install, collector: Collector) -> Installation:
    """An installation that exports all traces at short intervals and logs at level debug as JSON."""
    environment = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
        "OTEL_RESOURCE_ATTRIBUTES": "deployment.environment.name=test",
        "OTEL_BSP_SCHEDULE_DELAY": "100",
        "SCOPEWRIGHT_LOG_FORMAT": "json",
        "SCOPEWRIGHT_LOG_LEVEL": "debug",
    }
    return install("traced", environment=environment)


def lines(log: str) -> list[dict[str, Any]]:
    """The JSON lines; the line that a command prints when it is ready is skipped."""
    return [json.loads(line) for line in log.splitlines() if not line.startswith("issuer ready")]


def test_requests_and_reconciliations_are_spans_and_log_lines_without_a_secret(
    traced: Installation, collector: Collector, make_namespace: MakeNamespace
) -> None:
    payroll = Payroll(make_namespace)
    traced.apply_and_wait(*payroll.manifests)
    client_id, secret = traced.credentials(payroll.client)
    token = traced.token(client_id, secret)
    answer = httpx.post(
        f"{traced.issuer_url}/token",
        data={"grant_type": "client_credentials"},
        auth=(client_id, secret),
        headers={"traceparent": f"00-{TRACE}-{PARENT}-01"},
        trust_env=False,
    )
    assert answer.status_code == 200
    assert traced.error(client_id, "wrong-and-s3cr3t") == "invalid_client"

    def span(namespace: str = "", **says: str) -> ReceivedSpan | None:
        wanted = {f"scopewright.{name}": value for name, value in says.items()}
        wanted |= {"k8s.namespace.name": namespace} if namespace else {}
        return next((s for s in collector.spans if wanted.items() <= s.attributes.items()), None)

    refused = until(lambda: span(client=client_id, result="invalid_client", reason="wrong_secret"))
    assert (refused.service, refused.name) == ("scopewright-issuer", "token")
    asked = until(lambda: next((s for s in collector.spans if s.trace == TRACE), None))
    assert (asked.parent, asked.attributes["scopewright.audience"]) == (PARENT, payroll.audience)
    reconciled = until(lambda: span(payroll.caller, kind="OAuthClient", name="leave-worker", outcome="ok"))
    assert (reconciled.service, reconciled.name) == ("scopewright-operator", "reconcile")
    for private in (secret, token, str(answer.json()["access_token"]), "s3cr3t", "PRIVATE KEY"):
        assert private.encode() not in collector.raw

    logged = lines(traced.log())
    made = [line for line in logged if line.get("reason") == "CredentialIssued" and line["namespace"] == payroll.caller]
    assert [(line["kind"], line["name"], line["level"]) for line in made] == [("OAuthClient", "leave-worker", "info")]
    written = [line for line in logged if line.get("did") and line["namespace"] == payroll.caller]
    record = f"Secret {traced.namespace}/{traced.client_record_name(payroll.client)}"
    assert {"kind": "OAuthClient", "did": "created", "object": record}.items() <= written[0].items()
    assert {s.trace for s in collector.spans} >= {line["trace_id"] for line in written}
    audited = [line for line in lines(traced.log("issuer")) if line.get("event") == "token"]
    assert {(line.get("client"), line["result"]) for line in audited} >= {
        (client_id, "issued"),
        (client_id, "invalid_client"),
    }
