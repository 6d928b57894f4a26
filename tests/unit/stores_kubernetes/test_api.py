"""Failures of the API server become exceptions of `core.failures`; every write has its precondition."""

import contextlib
from datetime import datetime
from types import SimpleNamespace
from typing import Any, cast

import pytest

from scopewright.core.failures import Conflict, NotLeading, Rejected, Unavailable
from scopewright.core.objects import Deletion, Desired, Ref
from scopewright.stores.kubernetes.answers import RESULTS, Gone, NotFound, api_object, failure_of, watch_event
from scopewright.stores.kubernetes.api import Api
from scopewright.stores.kubernetes.objects import parse
from scopewright.stores.kubernetes.store import CRDS, KubernetesStore
from tests.unit.stores_kubernetes.fake_api import FakeApi, secret

ONE = "/api/v1/namespaces/leave/secrets/one"
REF = Ref("Secret", "leave", "one")
CLIENT = "/apis/scopewright.dev/v1alpha1/namespaces/leave/oauthclients/worker"
CRD = f"{CRDS}/oauthclients.scopewright.dev"
WORKER = Ref("OAuthClient", "leave", "worker")
SINCE = datetime.fromisoformat("2026-11-22T12:00:00Z")


def failure(status: int, body: dict[str, Any] | None = None, retry_after: str = "") -> Exception:
    headers = {"Retry-After": retry_after}
    response: Any = SimpleNamespace(status=status, reason="Reason", headers=headers)
    return failure_of(response, body or {}, "GET /x")


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        *((status, Rejected) for status in (400, 401, 403, 413, 422)),
        (404, NotFound),
        (409, Conflict),
        (410, Gone),
        *((status, Unavailable) for status in (408, 429, 500, 503, 504)),
    ],
)
def test_each_status_maps_to_one_exception(status: int, kind: type[Exception]) -> None:
    found = failure(status, {"message": "what is wrong"})
    assert type(found) is kind
    assert "what is wrong" in str(found)


NO_OBJECTS = (b"", b"<html>ok</html>", b"[]", b"{}", b'{"items":', b"[" * 5_000)


@pytest.mark.parametrize("data", [*NO_OBJECTS, b'{"status": "ok"}', b'{"kind": 7}'])
def test_an_answer_of_a_proxy_that_is_no_kubernetes_object_is_a_failure(data: bytes) -> None:
    with pytest.raises(Unavailable, match="is not an API server"):
        api_object(data, ONE)


def test_the_keys_of_a_cluster_have_no_kind() -> None:
    assert api_object(b'{"keys": []}', "/openid/v1/jwks") == {"keys": []}


@pytest.mark.parametrize("line", [*NO_OBJECTS, b'{"type": "ADDED"}', b'{"object": {}}', b'{"type": 7, "object": {}}'])
def test_a_line_of_a_watch_that_is_no_event_is_a_failure(line: bytes) -> None:
    with pytest.raises(Unavailable, match="is not an API server"):
        watch_event(line, ONE)


def test_404_distinguishes_object_and_endpoint() -> None:
    named, unnamed = failure(404, {"details": {"name": "x"}}), failure(404)
    assert isinstance(named, NotFound)
    assert named.named
    assert isinstance(unnamed, NotFound)
    assert not unnamed.named


def test_retry_after_is_obeyed() -> None:
    busy = failure(429, retry_after="7")
    assert isinstance(busy, Unavailable)
    assert busy.retry_after == 7


@pytest.mark.parametrize(
    ("failed", "result"),
    [
        (None, "ok"),
        (NotFound("x", named=True), "not_found"),
        (Conflict("x"), "conflict"),
        (Gone("x"), "conflict"),
        (Rejected("Forbidden", "x"), "rejected"),
        (Unavailable("x"), "unavailable"),
    ],
)
async def test_every_request_is_reported_with_its_result(failed: Exception | None, result: str) -> None:
    api = Api(cast("Any", SimpleNamespace(configuration=SimpleNamespace(host="https://fake"))))
    seen: list[tuple[str, str]] = []

    async def request(*_: Any) -> dict[str, Any]:
        if failed:
            raise failed
        return {}

    api._request = request  # type: ignore[method-assign, assignment]
    api.observe = lambda method, result, seconds: seen.append((method, result))
    with contextlib.suppress(Exception):
        await api.get("/x")
    assert seen == [("GET", result)]
    assert result in RESULTS


def test_missing_permission_quotes_the_api_server() -> None:
    refused = failure(403, {"message": "cannot list secrets"})
    assert isinstance(refused, Rejected)
    assert refused.reason == "Forbidden"
    assert "cannot list secrets" in refused.message


async def test_new_object_is_posted() -> None:
    api = FakeApi()
    api.answer("POST /api/v1/namespaces/leave/secrets", secret("one", "7"))
    written = await KubernetesStore(api.as_api()).write(Desired(REF, {"client_secret": b"x"}, type="t"))
    assert written.resource_version == "7"
    assert "resourceVersion" not in api.bodies[0]["metadata"]


async def test_replacement_is_put_with_the_version_that_was_read() -> None:
    api = FakeApi()
    api.answer(f"GET {ONE}", secret("one", "7"))
    api.answer(f"PUT {ONE}", secret("one", "8"))
    existing, _ = parse("Secret", secret("one", "7"))
    await KubernetesStore(api.as_api()).write(Desired(REF, {"a": b"x"}, replaces=existing))
    assert api.bodies[1]["metadata"]["resourceVersion"] == "7"
    assert api.bodies[1]["metadata"]["uid"] == "uid of one"


@pytest.mark.parametrize("changed", [{"resourceVersion": "8"}, {"uid": "another"}])
async def test_stale_reader_cannot_replace(changed: dict[str, str]) -> None:
    api = FakeApi()
    api.answer(f"GET {ONE}", secret("one", "7", **changed) if "uid" in changed else secret("one", "8"))
    existing, _ = parse("Secret", secret("one", "7"))
    with pytest.raises(Conflict):
        await KubernetesStore(api.as_api()).write(Desired(REF, {"a": b"x"}, replaces=existing))
    assert [m for m, _, _ in api.requests] == ["GET"]


async def test_object_deleted_since_the_read_is_a_conflict() -> None:
    api = FakeApi()
    api.answer(f"GET {ONE}", NotFound("deleted", named=True))
    existing, _ = parse("Secret", secret("one", "7"))
    with pytest.raises(Conflict):
        await KubernetesStore(api.as_api()).write(Desired(REF, {"a": b"x"}, replaces=existing))


async def test_creation_in_a_deleted_namespace_is_a_known_failure() -> None:
    """A POST into it gets 404, which must not be reported as a bug of the reconciliation."""
    api = FakeApi()
    api.answer("POST /api/v1/namespaces/leave/secrets", NotFound('namespaces "leave" not found', named=True))
    with pytest.raises((Unavailable, Rejected)):
        await KubernetesStore(api.as_api()).write(Desired(REF, {"client_secret": b"x"}, type="t"))


async def test_deletion_has_preconditions_and_a_missing_object_is_not_an_error() -> None:
    api = FakeApi()
    api.answer(f"DELETE {ONE}", {}, NotFound("deleted", named=True))
    existing, _ = parse("Secret", secret("one", "7"))
    store = KubernetesStore(api.as_api())
    await store.delete(Deletion(existing))
    await store.delete(Deletion(existing))
    assert api.bodies[0]["preconditions"] == {"uid": "uid of one", "resourceVersion": "7"}


def crd(made: str = "2026-11-01T00:00:00Z", **meta: Any) -> dict[str, Any]:
    return {"metadata": {"creationTimestamp": made, **meta}}


@pytest.mark.parametrize(
    ("live", "definition", "verdict"),
    [
        ({"metadata": {"uid": "uid-1"}}, crd(), "present"),
        ({"metadata": {"uid": "uid-2"}}, crd(), "deleted"),
        (NotFound("", named=True), crd(), "deleted"),
        (NotFound("", named=False), crd(), "unknown"),
        (NotFound("", named=True), crd("2026-11-22T12:00:01Z"), "unknown"),
        (NotFound("", named=True), crd(deletionTimestamp="2026-11-22T12:00:00Z"), "unknown"),
        (NotFound("", named=True), NotFound("", named=True), "unknown"),
        (NotFound("", named=True), Rejected("Forbidden", ""), "unknown"),
        (Rejected("Forbidden", ""), crd(), "unknown"),
        (Unavailable(""), crd(), "unknown"),
    ],
)
async def test_confirm_deleted_needs_proof(live: Any, definition: Any, verdict: str) -> None:
    api = FakeApi()
    api.answer(f"GET {CLIENT}", live)
    api.answer(f"GET {CRD}", definition)
    assert await KubernetesStore(api.as_api()).confirm_deleted(WORKER, "uid-1", SINCE) == verdict


async def test_status_is_written_with_its_version_and_without_the_spec() -> None:
    api = FakeApi()
    api.answer(f"PUT {CLIENT}/status", {"metadata": {}})
    meta = {"name": "worker", "namespace": "leave", "uid": "u", "resourceVersion": "3", "labels": {"a": "b"}}
    await KubernetesStore(api.as_api()).write_status({"kind": "OAuthClient", "metadata": meta}, {"a": 1})
    body = api.bodies[0]
    assert body["metadata"] == {"name": "worker", "namespace": "leave", "uid": "u", "resourceVersion": "3"}
    assert body["status"] == {"a": 1}
    assert "spec" not in body


async def test_write_after_lost_leadership_is_not_sent() -> None:
    api = FakeApi()
    api.answer(f"GET {ONE}", secret("one", "7"))
    existing = parse("Secret", secret("one", "7"))[0]
    store = KubernetesStore(api.as_api(), may_write=lambda: not api.requests)
    with pytest.raises(NotLeading):
        await store.write(Desired(REF, {"a": b"x"}, replaces=existing))
    assert [method for method, *_ in api.requests] == ["GET"]
