"""The gateway as a service: documents, health, metrics, audit lines, spans, and what it does without its issuer."""

import json
from typing import TYPE_CHECKING

import pytest

from scopewright.core.failures import Unavailable
from scopewright.core.records.resource_server import HttpRule
from scopewright.gateway.audit import LINES
from scopewright.gateway.profiles import PROFILES
from scopewright.http import Answer, HttpRequest
from scopewright.tracing import Tracing
from tests.harness.waiting import until
from tests.unit.gateway.records import HEALTH, READ, RecordsGateway, access, server
from tests.unit.gateway.support import HOST, bearer, headers_of, question, request
from tests.unit.verifier.support import AUDIENCE, ISSUER, KEY, OTHER, bound_token, feed, proof, token

if TYPE_CHECKING:
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

METADATA = "/.well-known/oauth-protected-resource"
READS = question(sent=[bearer(token())])


def get(path: str, host: str = HOST, method: str = "GET") -> bytes:
    return request(f"{method} {path}", [("Host", host)])


# Paths


@pytest.mark.parametrize("path", ["/", "/auth", "/auth/nginx", "/auth/traefik/x", "/healthz", "/metrics", METADATA])
async def test_everything_else_is_not_found(path: str) -> None:
    gateway = RecordsGateway(profiles={"nginx": PROFILES["nginx"]})
    gateway.put(server("other", audience="https://other.example"))
    async with gateway.running():
        answer = await gateway.ask(get(path))
        assert answer.status == 404
        assert b"/auth/<profile>/<hostname>, and the enabled profiles are nginx" in answer.body


async def test_metadata_of_an_api_is_public_at_its_hostname_whatever_its_rules_are() -> None:
    gateway = RecordsGateway()
    gateway.put(server(http=access(HttpRule("all", ("/**",), scopes=("payroll.read",)))))
    async with gateway.running():
        for host in (HOST, HOST.upper(), f"{HOST}:443"):
            answer = await gateway.ask(get(METADATA, host))
            assert answer.status == 200
            document = json.loads(answer.body)
            assert (document["resource"], document["authorization_servers"]) == (AUDIENCE, [ISSUER])
            assert document["scopes_supported"] == ["payroll.read"]
        assert await gateway.status(get(METADATA, "other.example")) == 404
        assert await gateway.status(get(f"{METADATA}/salaries")) == 404
        assert await gateway.status(get(METADATA, method="POST")) == 405
        challenge = headers_of(await gateway.ask(question()))["www-authenticate"][0]
        assert f'resource_metadata="{AUDIENCE}{METADATA}"' in challenge


async def test_metadata_of_an_audience_with_a_path_is_at_that_path() -> None:
    gateway = RecordsGateway()
    gateway.put(server(audience=f"{AUDIENCE}/api", http=access(base_path="/api")))
    async with gateway.running():
        assert await gateway.status(get(f"{METADATA}/api")) == 200
        assert await gateway.status(get(METADATA)) == 404


async def test_audience_that_is_not_the_url_of_the_api_has_no_metadata() -> None:
    gateway = RecordsGateway()
    gateway.put(server(audience="https://payroll.payroll.svc"))
    async with gateway.running():
        assert await gateway.status(get(METADATA)) == 404
        assert await gateway.status(get(METADATA, "payroll.payroll.svc")) == 404
        assert await gateway.status(question(target="/healthz")) == 200


# Health


async def test_gateway_is_ready_once_it_has_records_keys_and_revocations_and_stays_ready() -> None:
    gateway = RecordsGateway()
    gateway.web.unavailable = True
    async with gateway.running(ready=False):
        missing = ["the keys of the issuer", "the revocations of the issuer"]
        await until(lambda: gateway.readyz() == (503, {"status": "not ready", "missing": missing}))
        assert "scopewright_gateway_ready_workers 0.0" in gateway.metrics()
        gateway.web.unavailable = False
        gateway.clock.advance(seconds=60)
        await gateway.gateway.readiness.wait()
        assert gateway.readyz() == (200, {"status": "ok"})
        assert "scopewright_gateway_ready_workers 1.0" in gateway.metrics()
        gateway.web.unavailable = gateway.store.unavailable = True
        gateway.clock.advance(days=1)
        assert gateway.readyz() == (200, {"status": "ok"})


async def test_health_and_metrics_have_a_listener_of_their_own() -> None:
    gateway = RecordsGateway()

    def observe(path: str, method: str = "GET") -> Answer:
        return gateway.gateway.observe(HttpRequest(method, path))

    async with gateway.running():
        assert [observe(path).status for path in ("/healthz", "/readyz", "/metrics")] == [200, 200, 200]
        assert [observe("/auth/nginx/x").status, observe("/metrics", "POST").status] == [404, 405]


# Without the issuer


async def test_keys_are_kept_without_the_issuer_until_its_revocations_are_too_old() -> None:
    gateway = RecordsGateway()
    gateway.put(server())
    async with gateway.running():
        gateway.web.unavailable = True
        for minutes in (1, 5, 9):
            gateway.clock.now = gateway.clock.now.replace(minute=minutes)
            now = int(gateway.clock())
            sent = [bearer(token(iat=now, nbf=now, exp=now + 600))]
            assert await gateway.status(question(sent=sent)) == 200
        gateway.clock.advance(minutes=2)
        assert await gateway.status(question(sent=sent)) == 503
        assert await gateway.status(question()) == 401
        assert await gateway.status(question(target="/healthz")) == 200


async def test_gateway_that_starts_without_the_issuer_allows_no_token() -> None:
    gateway = RecordsGateway()
    gateway.put(server())
    gateway.web.unavailable = True
    async with gateway.running(ready=False):
        await gateway.until_status(200, question(target="/healthz"))
        answer = await gateway.ask(READS)
        assert (answer.status, int(headers_of(answer)["retry-after"][0]) >= 1) == (503, True)
        gateway.web.unavailable = False
        gateway.clock.advance(seconds=60)
        now = int(gateway.clock())
        await gateway.until_status(200, question(sent=[bearer(token(iat=now, nbf=now, exp=now + 60))]))


async def test_revoked_token_is_refused_after_the_next_fetch_of_the_revocations() -> None:
    gateway = RecordsGateway()
    gateway.put(server())
    async with gateway.running():
        assert await gateway.status(READS) == 200
        gateway.web.feed = feed(kids=[KEY.kid])
        gateway.clock.advance(seconds=2)
        await gateway.until_status(401, READS)
        assert gateway.audit[-1]["reason"] == "revoked"


# DPoP


class _OneProof:
    """A replay memory that is shared, full or unreachable."""

    def __init__(self) -> None:
        self.seen: set[str] = set()
        self.failing = False

    async def first_use(self, owner: str, value: str, until: float) -> bool:
        if self.failing:
            raise Unavailable("the replay memory is unavailable", retry_after=2.0)
        first = value not in self.seen
        self.seen.add(value)
        return first

    async def close(self) -> None:
        self.seen.clear()


async def test_proof_is_accepted_once_and_never_unchecked() -> None:
    gateway, replay = RecordsGateway(), _OneProof()
    gateway.put(server(dpop_required=True))
    async with gateway.running(replay=replay):
        bound = bound_token()

        def asks() -> bytes:
            sent = proof(bound, htu=f"https://{HOST}/salaries/7")
            return question(sent=[("Authorization", f"DPoP {bound}"), ("DPoP", sent)])

        once = asks()
        assert [await gateway.status(once), await gateway.status(once)] == [200, 401]
        assert await gateway.status(READS) == 401
        replay.failing = True
        answer = await gateway.ask(asks())
        assert (answer.status, headers_of(answer)["retry-after"]) == (503, ["2"])


# Metrics


async def test_decisions_are_counted_by_api_rule_result_and_reason() -> None:
    gateway = RecordsGateway()
    gateway.put(server())
    async with gateway.running():
        for asked in (READS, READS, question(), question(target="/other"), question(hostname="x.example")):
            await gateway.ask(asked)
        labels = 'api="payroll",api_namespace="payroll",'
        text = gateway.metrics()
        for rest, value in (
            ('reason="",result="allowed",rule="read"} 2.0', labels),
            ('reason="missing",result="refused",rule="read"} 1.0', labels),
            ('reason="no_rule",result="refused",rule=""} 1.0', labels),
            ('reason="no_api",result="refused",rule=""} 1.0', 'api="",api_namespace="",'),
        ):
            assert f"scopewright_gateway_decisions_total{{{value}{rest}\n" in text
        assert 'scopewright_gateway_decision_seconds_count{result="refused"} 3.0' in text
        assert 'scopewright_gateway_apis{state="in_force"} 1.0' in text
        for received in ("keys", "revocations"):
            name = f"scopewright_gateway_{received}_received_timestamp_seconds "
            assert float(text.partition(f"\n{name}")[2].partition("\n")[0]) == gateway.clock()


async def test_series_of_deleted_rules_and_apis_are_removed() -> None:
    gateway = RecordsGateway()
    gateway.put(server())
    async with gateway.running():
        await gateway.ask(READS)
        await gateway.ask(question(target="/healthz"))
        await gateway.ask(question(target="/other"))
        gateway.put(server(http=access(HEALTH, HttpRule("reads", READ.paths, scopes=READ.scopes))))
        await until(lambda: 'rule="read"' not in gateway.metrics())
        assert 'rule="health"' in gateway.metrics()
        gateway.delete()
        await until(lambda: 'api="payroll"' not in gateway.metrics())
        gateway.put(server())
        await gateway.until_status(200, READS)
        assert 'reason="",result="allowed",rule="read"} 1.0' in gateway.metrics()


# Audit lines


async def test_refusals_have_audit_lines_without_anything_secret() -> None:
    gateway = RecordsGateway()
    gateway.put(server())
    async with gateway.running():
        good, bad, lacking = token(), token(key=OTHER), token(scope="other", jti="lacking")
        for sent in (good, bad, lacking):
            await gateway.ask(question(target=f"/salaries/7?access={sent}", sent=[bearer(sent)]))
        assert [(entry["result"], entry["reason"], entry["status"]) for entry in gateway.audit] == [
            ("refused", "unknown_key", 401),
            ("refused", "scope", 403),
        ]
        refused = gateway.audit[-1]
        assert (refused["api"], refused["rule"]) == ("payroll/payroll", "read")
        assert (refused["client"], refused["jti"]) == ("leave.leave-worker", "lacking")
        assert (refused["hostname"], refused["method"], refused["path"]) == (HOST, "GET", "/salaries/7")
        text = json.dumps(gateway.audit)
        assert not any(secret in text for sent in (bad, lacking) for secret in sent.split("."))


async def test_request_that_cannot_be_read_has_an_audit_line_too() -> None:
    gateway = RecordsGateway()
    async with gateway.running():
        await gateway.ask(request(f"GET /auth/nginx/{HOST}", [("Host", "gateway")]))
        (line,) = gateway.audit
        assert (line["reason"], line["profile"], line["result"]) == ("proxy_headers", "nginx", "refused")


async def test_flood_of_one_api_is_counted_and_hides_no_other_one() -> None:
    gateway = RecordsGateway()
    gateway.put(server(), server("other", http=access(hostname="other.hr.example")))
    async with gateway.running():
        for _ in range(LINES.burst + 20):
            await gateway.ask(question())
        assert len(gateway.audit) == LINES.burst
        await gateway.ask(question(hostname="other.hr.example"))
        assert gateway.audit[-1]["api"] == "payroll/other"
        assert "scopewright_gateway_audit_lines_suppressed_total 20.0" in gateway.metrics()
        gateway.monotonic += 1
        await gateway.ask(question())
        assert (gateway.audit[-1]["api"], gateway.audit[-1]["suppressed"]) == ("payroll/payroll", 20)
        await gateway.ask(question())
        assert "suppressed" not in gateway.audit[-1]


# Traces


async def test_span_has_the_decision_and_the_parent_of_the_request(
    traces: Tracing, exported: "InMemorySpanExporter"
) -> None:
    gateway = RecordsGateway()
    gateway.put(server())
    parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    async with gateway.running(tracing=traces):
        await gateway.ask(question(sent=[bearer(token()), ("traceparent", parent)]))
        await gateway.ask(question())
        await gateway.ask(get("/other"))
    allowed, refused = exported.get_finished_spans()
    assert allowed.parent is not None
    assert f"{allowed.parent.trace_id:032x}" == "0af7651916cd43dd8448eb211c80319c"
    assert dict(allowed.attributes or {}) == {
        "scopewright.profile": "nginx",
        "scopewright.api": "payroll/payroll",
        "scopewright.rule": "read",
        "scopewright.client": "leave.leave-worker",
        "scopewright.result": "allowed",
        "http.response.status_code": 200,
    }
    assert (refused.attributes or {})["scopewright.reason"] == "missing"
