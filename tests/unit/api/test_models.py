"""The kinds as the operator reads and writes them."""

from datetime import UTC, datetime, timedelta
from typing import Any, get_args

import jwt
import pytest
from pydantic import ValidationError

from scopewright.api import KINDS, OAuthClient, ResourceServer, ScopeGrant, SigningKey
from scopewright.api.jwk import JWK
from scopewright.api.meta import Condition, HistoryEntry
from scopewright.api.oauthclient import AccessStatus, Binding, CredentialTimes, OAuthClientStatus
from scopewright.api.signingkey import Algorithm
from tests.cases.crd_rules import CASES, Case, manifest

LIVE: dict[str, Any] = {
    "apiVersion": "scopewright.dev/v1alpha1",
    "kind": "OAuthClient",
    "metadata": {
        "name": "leave-worker",
        "namespace": "leave",
        "uid": "9723c5ec-db57-4da3-b191-61cddd00a4a6",
        "resourceVersion": "247",
        "generation": 3,
        "creationTimestamp": "2026-11-22T12:56:54Z",
        "managedFields": [{"manager": "kubectl"}],
        "fromALaterKubernetes": 1,
    },
    "spec": {
        "issuer": "default",
        "authentication": {"method": "ServiceAccount", "serviceAccount": {"name": "leave-worker"}},
        "access": [{"resourceServer": "payroll-api", "namespace": "payroll", "scopes": ["payroll.read"]}],
        "rotation": {"every": "240h", "revokedBefore": "2026-11-22T11:00:00+01:00"},
        "fromALaterVersion": {"a": 1},
    },
    "status": {
        "clientID": "leave.leave-worker",
        "conditions": [{"type": "Ready", "status": "True", "reason": "Ready", "message": "", "fromALaterVersion": 1}],
        "kopf": {"progress": "foreign field"},
    },
}


def test_live_object_with_unknown_fields_is_parsed() -> None:
    client = OAuthClient.model_validate(LIVE)
    assert client.metadata.generation == 3
    assert client.metadata.creation_timestamp == datetime(2026, 11, 22, 12, 56, 54, tzinfo=UTC)
    assert client.spec.authentication.service_account is not None
    assert client.spec.access[0].resource_server == "payroll-api"
    assert client.spec.rotation.every == timedelta(days=10)
    assert client.spec.rotation.overlap == timedelta(hours=24)
    assert client.spec.rotation.revoked_before == datetime(2026, 11, 22, 10, tzinfo=UTC)
    assert client.status is not None
    assert client.status.client_id == "leave.leave-worker"
    assert client.status.conditions[0].status == "True"


def test_item_of_a_list_needs_neither_version_nor_kind() -> None:
    """An API server omits both in lists."""
    item = {"metadata": LIVE["metadata"], "spec": LIVE["spec"]}
    assert OAuthClient.model_validate(item).kind == "OAuthClient"


def test_object_of_another_kind_is_refused() -> None:
    with pytest.raises(ValidationError):
        ResourceServer.model_validate(LIVE)


@pytest.mark.parametrize("kind", KINDS)
def test_serialised_object_parses_to_the_same_object(kind: str) -> None:
    read = KINDS[kind].model_validate(manifest(kind))
    assert KINDS[kind].model_validate(read.to_dict()) == read


@pytest.mark.parametrize("case", [case for case in CASES if case.path is None], ids=str)
def test_every_valid_spec_survives_serialisation(case: Case) -> None:
    read = KINDS[case.kind].model_validate(case.manifest)
    assert KINDS[case.kind].model_validate_json(read.model_dump_json()).to_dict() == read.to_dict()


def test_names_derived_from_the_name() -> None:
    client = OAuthClient.model_validate(LIVE)
    assert client.client_id == "leave.leave-worker"
    assert client.secret_name == "leave-worker-oauth"
    named = OAuthClient.model_validate(manifest("OAuthClient", {"credentials": {"secretName": "mine"}}))
    assert named.secret_name == "mine"


def test_audience_is_the_default_or_the_one_of_the_spec() -> None:
    server = ResourceServer.model_validate(manifest("ResourceServer", name="payroll-api"))
    assert server.effective_audience == "https://payroll-api.default.svc"
    chosen = ResourceServer.model_validate(manifest("ResourceServer", {"audience": "https://payroll.hr.example"}))
    assert chosen.effective_audience == "https://payroll.hr.example"


def test_defaults_are_the_documented_ones() -> None:
    client = OAuthClient.model_validate({"metadata": {"name": "a"}}).spec
    assert (client.issuer, client.authentication.method, client.grant_types) == (
        "default",
        "ClientSecret",
        ["client_credentials"],
    )
    assert (client.rotation.every, client.rotation.overlap) == (timedelta(hours=720), timedelta(hours=24))
    assert (client.rotation.suspend, client.disabled, client.access) == (False, False, [])
    assert client.credentials.keys.private_key == "private_key.jwk"
    server = ResourceServer.model_validate({"metadata": {"name": "a"}}).spec.tokens
    assert (server.lifetime, server.signing_key, server.scopes_list_claim) == (timedelta(minutes=10), "default", False)
    assert not server.dpop_bound_access_tokens_required
    key = SigningKey.model_validate({"metadata": {"name": "a"}}).spec
    assert (key.algorithm, key.jwks.config_map_name) == ("ES256", "scopewright-jwks")
    assert (key.rotation.every, key.rotation.publish_ahead) == (timedelta(hours=720), timedelta(hours=24))


def test_status_is_serialised_in_camel_case() -> None:
    then = datetime(2026, 11, 22, 10, tzinfo=UTC)
    status = OAuthClientStatus(
        observed_generation=1,
        client_id="leave.leave-worker",
        binding=Binding(name="leave-worker-oauth"),
        credentials=CredentialTimes(issue_time=then),
        access=[AccessStatus(resource_server="payroll-api", namespace="payroll", granted=["payroll.read"])],
        history=[HistoryEntry(time=then, reason="Issued", message="first credential")],
        conditions=[Condition(type="Ready", status="True", reason="Ready", last_transition_time=then)],
    )
    instant = "2026-11-22T10:00:00Z"
    assert status.to_dict() == {
        "observedGeneration": 1,
        "clientID": "leave.leave-worker",
        "binding": {"name": "leave-worker-oauth"},
        "credentials": {"issueTime": instant},
        "access": [
            {"resourceServer": "payroll-api", "namespace": "payroll", "granted": ["payroll.read"], "missing": []}
        ],
        "history": [{"time": instant, "reason": "Issued", "message": "first credential"}],
        "conditions": [
            {"type": "Ready", "status": "True", "reason": "Ready", "message": "", "lastTransitionTime": instant}
        ],
    }


def test_object_is_immutable() -> None:
    with pytest.raises(ValidationError):
        OAuthClient.model_validate(LIVE).spec.disabled = True  # type: ignore[misc]


def test_private_members_appear_in_no_text() -> None:
    key = JWK.model_validate({"kty": "RSA", "d": "c2VjcmV0", "k": "c2VjcmV0", "oth": [{"d": "c2VjcmV0"}]})
    assert "c2VjcmV0" not in f"{key!r} {key} {key.to_dict()} {key.model_dump_json()}"


def test_error_does_not_quote_the_input() -> None:
    with pytest.raises(ValidationError) as error:
        JWK.model_validate({"kty": "c2VjcmV0", "d": ["c2VjcmV0"]})
    assert "c2VjcmV0" not in str(error.value)


def test_grant_parses_every_form_of_grantee() -> None:
    grant = ScopeGrant.model_validate(
        manifest(
            "ScopeGrant",
            {
                "to": [
                    {"namespace": "leave", "client": "leave-worker"},
                    {"namespaceSelector": {"matchExpressions": [{"key": "team", "operator": "Exists"}]}},
                    {"allNamespaces": True},
                ]
            },
        )
    )
    named, selected, all_namespaces = grant.spec.to
    assert (named.namespace, named.client) == ("leave", "leave-worker")
    assert selected.namespace_selector is not None
    assert selected.namespace_selector.match_expressions is not None
    assert all_namespaces.all_namespaces is True


@pytest.mark.parametrize("algorithm", get_args(Algorithm))
def test_verifiers_support_every_algorithm(algorithm: str) -> None:
    key = SigningKey.model_validate(manifest("SigningKey", {"algorithm": algorithm}))
    assert key.spec.jose_algorithm in jwt.algorithms.get_default_algorithms()


def test_client_may_exchange_tokens_and_name_a_service_account_of_another_cluster() -> None:
    spec = {
        "grantTypes": ["client_credentials", "urn:ietf:params:oauth:grant-type:token-exchange"],
        "authentication": {
            "method": "ServiceAccount",
            "serviceAccount": {"name": "worker", "cluster": "eu-1", "uid": "5c9a0b1e"},
        },
    }
    client = OAuthClient.model_validate({**LIVE, "spec": spec})
    assert client.spec.grant_types[1].endswith("token-exchange")
    assert client.spec.authentication.service_account is not None
    assert client.spec.authentication.service_account.uid == "5c9a0b1e"
