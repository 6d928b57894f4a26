"""The preflight of the operator: missing CRDs, rights and namespaces are reported before it starts."""

from typing import Any

import pytest

from scopewright.api import KINDS
from scopewright.controller.preflight import preflight, rights
from scopewright.core.config import Config
from scopewright.core.failures import Rejected, Unavailable
from scopewright.stores.kubernetes.answers import NotFound
from scopewright.stores.kubernetes.store import CRDS
from tests.harness.samples import ISSUER, NAMESPACE
from tests.unit.stores_kubernetes.fake_api import FakeApi


def api_without(missing: set[tuple[str, str]] = frozenset(), **others: Any) -> FakeApi:  # type: ignore[assignment]
    """An API server that lacks the rights of these resources and verbs."""
    api = FakeApi()
    for kind in KINDS.values():
        api.answer(f"GET {CRDS}/{kind.PLURAL}.scopewright.dev", others.get(kind.PLURAL, {}))
    api.answer(f"GET /api/v1/namespaces/{NAMESPACE}", others.get("namespace", {}))
    asked = api.request

    async def request(method: str, path: str, **rest: Any) -> dict[str, Any]:
        if path.endswith("selfsubjectaccessreviews"):
            attributes = rest["body"]["spec"]["resourceAttributes"]
            return {"status": {"allowed": (attributes["resource"], attributes["verb"]) not in missing}}
        return await asked(method, path, **rest)

    api.request = request  # type: ignore[method-assign]
    return api


async def preflight_error(api: FakeApi) -> Rejected:
    with pytest.raises(Rejected) as rejected:
        await preflight(api.as_api(), Config(issuer=ISSUER))
    return rejected.value


async def test_preflight_passes_where_nothing_is_missing() -> None:
    await preflight(api_without().as_api(), Config(issuer=ISSUER))


async def test_missing_crds_are_reported_with_the_remedy() -> None:
    error = await preflight_error(
        api_without(oauthclients=NotFound("", named=True), scopegrants=NotFound("", named=True))
    )
    assert error.reason == "CRDsMissing"
    assert "oauthclients.scopewright.dev, scopegrants.scopewright.dev" in error.message
    assert "kubectl apply --server-side -f crds/" in error.message


async def test_each_missing_right_is_reported_with_its_namespace() -> None:
    error = await preflight_error(
        api_without({("secrets", "create"), ("configmaps", "update"), ("oauthclients", "watch")})
    )
    assert error.reason == "Forbidden"
    assert "create secrets in the whole cluster" in error.message
    assert f"update configmaps in namespace {NAMESPACE}" in error.message
    assert "watch oauthclients.scopewright.dev in the whole cluster" in error.message
    assert "list" not in error.message


async def test_a_missing_namespace_is_reported_with_the_remedy() -> None:
    error = await preflight_error(api_without(namespace=NotFound("", named=True)))
    assert f"kubectl create namespace {NAMESPACE}" in error.message


async def test_preflight_passes_without_the_right_to_read_namespaces_and_crds() -> None:
    forbidden = Rejected("Forbidden", "no right")
    await preflight(api_without(namespace=forbidden, oauthclients=forbidden).as_api(), Config(issuer=ISSUER))


async def test_preflight_reports_an_unreachable_server_as_unavailable() -> None:
    with pytest.raises(Unavailable):
        await preflight(api_without(oauthclients=Unavailable("down")).as_api(), Config(issuer=ISSUER))


def test_the_operator_needs_no_right_beyond_its_task() -> None:
    needed = rights(Config(issuer=ISSUER))
    assert not [
        r for r in needed if "*" in r or r[2] in ("deletecollection", "patch", "escalate", "bind", "impersonate")
    ]
    assert not [r for r in needed if r[1] in ("serviceaccounts/token", "pods", "roles", "clusterroles")]
    assert not [r for r in needed if r[1] == "configmaps" and r[3] != NAMESPACE]
    kinds = {k.PLURAL for k in KINDS.values()}
    assert not [r for r in needed if r[1] in kinds and r[2] in ("update", "delete")], (
        "the operator could change objects of users"
    )
