"""Health, readiness, metrics, audit."""

import asyncio
import logging
from pathlib import Path

import orjson
import pytest

from scopewright.core.failures import Rejected
from scopewright.core.records.issuer import IssuerRecord
from scopewright.core.records.names import key_record_name
from scopewright.http import Answer, HttpRequest
from scopewright.issuer.observability.metrics import IssuerMetrics, shared_counters
from scopewright.issuer.observability.usage import CredentialUsage
from scopewright.issuer.protocol.errors import refused_credential
from scopewright.issuer.revocations import Revocations
from scopewright.issuer.state.follow import Follower
from scopewright.issuer.state.registry import Registry
from scopewright.issuer.state.snapshot import SnapshotFile
from scopewright.stores.contact import Contact
from tests.harness.issuer import IssuerHarness, settle
from tests.harness.samples import ISSUER, PAYROLL, SECRET, client_record, key_record
from tests.harness.waiting import until


async def test_readiness_lists_what_is_missing() -> None:
    harness = IssuerHarness()
    harness.store.unavailable = True
    async with harness.running():
        assert (await harness.http.get("/healthz")).status_code == 200
        response = await harness.http.get("/readyz")
        assert response.status_code == 503
        assert response.json()["missing"] == [
            "the issuer record",
            "a signing key in the JWKS",
            "the list of ConfigMaps",
            "the list of Secrets",
        ]
        assert (await harness.token()).json()["error"] == "temporarily_unavailable"


async def test_issuer_is_ready_as_soon_as_nothing_is_missing() -> None:
    harness = IssuerHarness()
    async with harness.running():
        waiting = asyncio.create_task(harness.issuer.ready())
        harness.put(IssuerRecord(ISSUER))
        await settle()
        assert not waiting.done()
        harness.publish(harness.put_key().jwk)
        assert await asyncio.wait_for(waiting, 1) == ISSUER
        assert (await harness.http.get("/readyz")).json() == {"status": "ok"}


async def test_issuer_stays_ready_without_the_api_server_and_reports_for_how_long(harness: IssuerHarness) -> None:
    """Unready issuers would leave their Service all at once, and tokens need no API server."""
    now = [0.0]
    harness.issuer.readiness._contact = Contact(lambda: now[0])
    now[0] = 99.0
    answer = await harness.http.get("/readyz")
    assert answer.status_code == 200
    assert answer.json() == {"status": "degraded", "stale": "the API server has not answered for 99 s"}
    assert (await harness.http.get("/healthz")).json() == {"status": "ok"}


async def test_other_methods_than_get_are_refused_on_public_paths(harness: IssuerHarness) -> None:
    for path in ("/jwks.json", "/healthz", "/readyz", "/.well-known/openid-configuration"):
        response = await harness.http.post(path)
        assert (response.status_code, response.headers["allow"]) == (405, "GET, HEAD")
    for path in ("/healthz", "/readyz", "/metrics"):
        answer = observe(harness, path, "POST")
        assert (answer.status, dict(answer.headers)[b"allow"]) == (405, b"GET, HEAD")


def observe(harness: IssuerHarness, path: str, method: str = "GET") -> Answer:
    """The response on the listener of `--metrics-listen`."""
    return harness.issuer.observe(HttpRequest(method, path))


async def test_metrics_and_tokens_are_served_on_separate_listeners(harness: IssuerHarness) -> None:
    assert (await harness.http.get("/metrics")).status_code == 404
    assert observe(harness, "/metrics").status == 200
    assert observe(harness, "/readyz").status == 200
    for path in ("/token", "/jwks.json", "/revocations", "/introspect"):
        assert observe(harness, path).status == 404


async def test_unknown_path_is_404(harness: IssuerHarness) -> None:
    response = await harness.http.get("/tokens")
    assert (response.status_code, response.json()["error"]) == (404, "not_found")


async def test_missing_permission_is_logged_once_and_retried(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("scopewright.serving.follow._BACKOFF_SECONDS", (0.0,))
    harness = IssuerHarness()

    async def refuse(selection: object) -> object:
        raise Rejected("Forbidden", "the right to list secrets is missing")
        yield

    monkeypatch.setattr(harness.store, "follow", refuse)
    async with harness.running():
        await asyncio.sleep(0.01)
    messages = [r.getMessage() for r in caplog.records if "the right to list" in r.getMessage()]
    assert len(messages) == 2  # Secrets and ConfigMaps


async def test_watch_that_fails_is_repeated_until_all_records_are_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("scopewright.serving.follow._BACKOFF_SECONDS", (0.0,))
    harness = IssuerHarness()
    harness.install_defaults()
    follow, calls = harness.store.follow, 0

    async def failing(selection: object) -> object:
        nonlocal calls
        calls += 1
        async for event in follow(selection):  # type: ignore[arg-type]
            yield event
            if calls < 20:
                raise ValueError("a bug")

    monkeypatch.setattr(harness.store, "follow", failing)
    async with harness.running():
        await asyncio.wait_for(harness.issuer.ready(), 5)
        assert (await harness.token()).status_code == 200


@pytest.fixture
def no_restart_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scopewright.serving.supervise.RESTART_PAUSES_SECONDS", (0.0,))


async def test_task_that_raises_is_restarted(
    no_restart_pause: None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Each task raises once and then runs."""
    raised: set[type] = set()

    def raises_once(kind: type, method: str) -> None:
        original = getattr(kind, method)

        async def raising(self: object, *arguments: object) -> None:
            if kind not in raised:
                raised.add(kind)
                raise KeyError("a bug")
            await original(self, *arguments)

        monkeypatch.setattr(kind, method, raising)

    for kind in (Follower, Revocations, CredentialUsage):
        raises_once(kind, "run")
    harness = IssuerHarness(can_write=True)
    harness.install_defaults()
    async with harness.running():
        await asyncio.wait_for(harness.issuer.ready(), 20)
        token = await harness.access_token()
        await harness.revoke(token)
        assert harness.revocations().tokens
        assert (await harness.http.get("/readyz")).json() == {"status": "ok"}
    assert raised == {Follower, Revocations, CredentialUsage}
    assert "a bug" in caplog.text
    assert "restarting task follow in 0.0 s" in caplog.text


async def test_task_that_keeps_failing_is_reported_and_without_follow_the_issuer_is_not_ready(
    no_restart_pause: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    harness = IssuerHarness(snapshot=tmp_path / "snapshot")
    harness.install_defaults()
    async with harness.running():
        await until((tmp_path / "snapshot").exists)

    async def raises(self: object) -> None:
        raise KeyError("a bug")

    monkeypatch.setattr(SnapshotFile, "run", raises)
    async with harness.running():
        await asyncio.wait_for(harness.issuer.ready(), 20)
        await until(lambda: b"failing" in observe(harness, "/readyz").body)
        response = await harness.http.get("/readyz")
        assert (response.status_code, response.json()) == (200, {"status": "ok", "failing": ["snapshot"]})
    monkeypatch.setattr(Follower, "run", raises)
    async with harness.running():
        await asyncio.wait_for(harness.issuer.ready(), 20)
        await until(lambda: observe(harness, "/readyz").status == 503)
        missing = (await harness.http.get("/readyz")).json()["missing"]
        assert missing == ["the task follow, which fails repeatedly"]
        assert "\nscopewright_issuer_ready_workers 0.0\n" in observe(harness, "/metrics").body.decode()
        assert (await harness.token()).status_code == 200, "known clients are still served"


async def test_metrics_count_by_result_and_contain_no_input_of_the_caller(harness: IssuerHarness) -> None:
    await harness.token()
    await harness.token("leave.evil-label", "x")
    await harness.token(scope="evil-scope")
    text = observe(harness, "/metrics").body.decode()
    assert 'scopewright_issuer_requests_total{handler="token",result="issued"} 1.0' in text
    assert 'scopewright_issuer_requests_total{handler="token",result="invalid_client"} 1.0' in text
    assert 'scopewright_issuer_requests_total{handler="token",result="invalid_scope"} 1.0' in text
    assert 'scopewright_issuer_request_seconds_count{handler="token"} 3.0' in text
    assert 'scopewright_issuer_records{kind="client"} 1.0' in text
    assert "scopewright_issuer_served_keys 1.0" in text
    assert "evil" not in text


async def test_refusals_of_known_clients_are_counted_separately(harness: IssuerHarness) -> None:
    await harness.token("leave.leave-worker", "wrong")
    await harness.token("leave.another", "wrong")
    await harness.token(scope="not-granted")
    text = observe(harness, "/metrics").body.decode()
    known = "scopewright_issuer_refusals_of_known_clients_total"
    assert 'scopewright_issuer_requests_total{handler="token",result="invalid_client"} 2.0' in text
    assert known + '{handler="token",result="invalid_client"} 1.0' in text
    assert known + '{handler="token",result="invalid_scope"} 1.0' in text


async def test_ready_workers_are_a_metric_and_a_local_store_has_no_watch_metric(harness: IssuerHarness) -> None:
    text = observe(harness, "/metrics").body.decode()
    assert "\nscopewright_issuer_workers 1.0\n" in text
    assert "\nscopewright_issuer_ready_workers 1.0\n" in text
    assert "\nscopewright_issuer_watch_heard_timestamp_seconds{" not in text
    harness.delete_object("Secret", key_record_name(key_record().kid))
    await settle()
    assert "\nscopewright_issuer_ready_workers 0.0\n" in observe(harness, "/metrics").body.decode()


def test_watch_metric_is_that_of_the_worker_with_the_oldest_activity() -> None:
    shared, activity = shared_counters(3), {"Secret": 1000.0}
    registry = Registry("scopewright-system", lambda ended: None)
    metrics = [
        IssuerMetrics(registry, lambda: 500.0, shared.row(0), last_activity=activity.get),
        IssuerMetrics(registry, lambda: 700.0, shared.row(1), ready=lambda: False, last_activity=lambda kind: None),
    ]

    def values() -> dict[str, float]:
        families = [f for f in metrics[0].collect() if "workers" in f.name or "heard" in f.name]
        return {"".join([s.name, *s.labels.values()]): s.value for f in families for s in f.samples}

    assert values() == {
        "scopewright_issuer_workers": 3,
        "scopewright_issuer_ready_workers": 1,
        "scopewright_issuer_watch_heard_timestamp_secondsSecret": 700,
        "scopewright_issuer_watch_heard_timestamp_secondsConfigMap": 500,
    }
    activity["Secret"] = 600.0
    assert values()["scopewright_issuer_watch_heard_timestamp_secondsSecret"] == 600


# Audit


async def test_issued_token_is_one_audit_line_without_the_token(harness: IssuerHarness) -> None:
    response = await harness.token()
    claims = await harness.claims(response)
    assert len(harness.audit_lines) == 1
    assert orjson.loads(harness.audit_lines[0]) == {
        "time": "2026-11-22T12:00:00.000Z",
        "event": "token",
        "peer": "127.0.0.1",
        "result": "issued",
        "client": "leave.leave-worker",
        "audience": PAYROLL,
        "scope": "payroll.read",
        "kid": key_record().kid,
        "jti": claims["jti"],
        "expires_in": 600,
    }


@pytest.mark.parametrize(
    ("client_id", "secret", "reason"),
    [
        ("leave.leave-worker", "wrong", "wrong_secret"),
        ("leave.unknown", "x", "unknown_client"),
        ("leave.off", SECRET, "disabled"),
        ("leave.pod", SECRET, "other_method"),
    ],
)
async def test_audit_line_has_the_reason_that_the_response_omits(
    harness: IssuerHarness, client_id: str, secret: str, reason: str
) -> None:
    harness.put(client_record(name="off", disabled=True))
    harness.put(client_record(name="pod", method="ServiceAccount", credentials=()))
    await settle()
    response = await harness.token(client_id, secret)
    line = orjson.loads(harness.audit_lines[-1])
    assert (line["result"], line["reason"]) == ("invalid_client", reason)
    assert response.json()["error_description"] == refused_credential(reason="", challenge=True).description


async def test_input_of_the_caller_is_escaped_truncated_or_hashed_in_audit_lines(harness: IssuerHarness) -> None:
    await harness.token(SECRET + ".pasted", "x")
    await harness.token("leave.leave-worker", scope="x" * 5000, resource=["\n\x1b[31m\u2028", "y"])
    await harness.token("leave.leave-worker", scope="x" * 5000)
    for line in harness.audit_lines:
        assert "\n" not in line
        assert "\x1b" not in line
        assert SECRET not in line
        assert len(line) < 1200


async def test_no_log_contains_a_secret_or_a_token(harness: IssuerHarness, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    token = (await harness.token()).json()["access_token"]
    await harness.token("leave.unknown", SECRET)
    await harness.token(secret="s3cr3t-in-the-log?")
    everything = caplog.text + "\n".join(harness.audit_lines)
    assert SECRET not in everything
    assert "s3cr3t" not in everything
    assert token.rpartition(".")[2] not in everything
