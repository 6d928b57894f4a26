"""IdentityProviders on a real API server: their Secrets, their records, and what no editor of them reaches."""

import json
from typing import Any

import pytest

from scopewright.core.providers.secrets import PROVIDER_SECRET_TYPE
from scopewright.core.providers.static_users import STATIC_USERS_TYPE
from scopewright.core.records.names import (
    IDENTITY_PROVIDER_TYPE,
    SESSION_KEY_NAME,
    SIGNING_KEY_TYPE,
    identity_provider_record_name,
)

from .installation import Install, Installation, decoded
from .kube import Manifest
from .manifests import USERS, identity_provider
from .payroll import MakeNamespace
from .waiting import until


@pytest.fixture(scope="module")
def desk(install: Install) -> Installation:
    return install("providers", resync="1s")


def static(installation: Installation, name: str, secret: str = "", **spec: Any) -> Manifest:
    users = {"usersRef": {"name": secret or f"{name}-users"}}
    return identity_provider(installation.namespace, name, static=users, **spec)


def secret(installation: Installation, name: str, type_: str, **entries: str) -> Manifest:
    metadata = {"name": name, "namespace": installation.namespace}
    named = {key.replace("_yaml", ".yaml"): value for key, value in entries.items()}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "type": type_, "stringData": named}


def record(installation: Installation, name: str) -> Manifest | None:
    return installation.kube.get("Secret", installation.namespace, identity_provider_record_name(name))


def record_uid(installation: Installation, name: str) -> str:
    found = record(installation, name)
    return str(json.loads(decoded(found)["record.json"])["uid"]) if found else ""


def test_a_provider_that_is_applied_before_its_secret_is_soon_in_force(desk: Installation) -> None:
    provider = static(desk, "first")
    desk.apply(provider)
    desk.wait_for(provider, "SecretNotFound", "Stalled")
    assert record(desk, "first") is None
    desk.kube.apply(secret(desk, "first-users", STATIC_USERS_TYPE, users_yaml=USERS.replace("desk", "first")))
    desk.wait_for(provider, "InForce")
    assert desk.condition(provider, "Stalled")["status"] == ""
    found = record(desk, "first")
    assert found
    assert found["type"] == IDENTITY_PROVIDER_TYPE
    until(lambda: desk.kube.get("SigningKey", desk.namespace, "id-tokens"))
    desk.delete(provider)
    until(lambda: record(desk, "first") is None)


def test_no_provider_has_a_secret_read_that_is_not_for_providers(desk: Installation) -> None:
    until(lambda: desk.kube.list("Secret", desk.namespace, fieldSelector=f"type={SIGNING_KEY_TYPE}"))
    desk.kube.apply(secret(desk, "opaque", "Opaque", users_yaml=USERS))
    desk.kube.apply(secret(desk, "clients", PROVIDER_SECRET_TYPE, users_yaml=USERS))
    (key, *_) = desk.kube.list("Secret", desk.namespace, fieldSelector=f"type={SIGNING_KEY_TYPE}")
    names = ["opaque", "clients", SESSION_KEY_NAME, key["metadata"]["name"]]
    providers = [static(desk, f"thief-{number}", name) for number, name in enumerate(names)]
    desk.apply(*providers)
    for provider in providers:
        desk.wait_for(provider, "SecretTypeNotAllowed", "Stalled")
        assert record(desk, provider["metadata"]["name"]) is None
    desk.delete(*providers)


def test_a_tenant_cannot_replace_a_provider(desk: Installation, make_namespace: MakeNamespace) -> None:
    desk.kube.apply(secret(desk, "owner-users", STATIC_USERS_TYPE, users_yaml=USERS))
    provider = static(desk, "owner")
    desk.apply_and_wait(provider)
    before = record(desk, "owner")
    foreign = identity_provider(make_namespace("hr"), "owner", **provider["spec"])
    desk.apply(foreign)
    desk.wait_for(foreign, "NamespaceNotIssuers", "Stalled")
    desk.delete(foreign)
    desk.wait_two_resyncs()
    assert record(desk, "owner") == before
    desk.delete(provider)
    until(lambda: record(desk, "owner") is None)


def test_a_provider_that_cannot_be_reached_costs_no_writes_and_survives_a_restart(desk: Installation) -> None:
    oidc = {
        "issuerURL": "https://login.invalid",
        "clientID": "scopewright",
        "clientAuthentication": {"method": "None"},
    }
    provider = identity_provider(desk.namespace, "away", oidc=oidc)
    desk.apply(provider)
    desk.wait_for(provider, "ProviderUnreachable")
    assert desk.condition(provider, "Stalled")["status"] == ""
    before, versions = record(desk, "away"), desk.settle()
    assert desk.stop_operator() == 0
    desk.restart_operator_until_leader()
    desk.wait_two_resyncs()
    name = f"IdentityProvider {desk.namespace}/away"
    assert desk.versions()[name] == versions[name], "a restart changed the status"
    assert record(desk, "away") == before
    desk.delete(provider)
    until(lambda: record(desk, "away") is None)


def test_a_finalizer_keeps_no_login_and_a_new_object_has_a_record_of_its_own(desk: Installation) -> None:
    desk.kube.apply(secret(desk, "kept-users", STATIC_USERS_TYPE, users_yaml=USERS))
    provider = static(desk, "kept")
    desk.apply_and_wait(provider)
    first = record_uid(desk, "kept")
    finalizers = {"metadata": {"finalizers": ["example.com/wait"]}}
    desk.kube.patch("IdentityProvider", desk.namespace, "kept", finalizers)
    desk.delete(provider)
    until(lambda: record(desk, "kept") is None)
    desk.wait_for(provider, "Deleting")
    desk.kube.patch("IdentityProvider", desk.namespace, "kept", {"metadata": {"finalizers": None}})
    until(lambda: desk.kube.get("IdentityProvider", desk.namespace, "kept") is None)
    desk.apply_and_wait(provider)
    assert record_uid(desk, "kept") not in ("", first)
    desk.delete(provider)
