"""A real API server validates the five kinds as `validate` does: the same cases as in the unit tests."""

import json
import re
import subprocess
import uuid
from typing import Any, cast

import pytest
from kubernetes import client

from scopewright.api import GROUP, KINDS, VERSION
from scopewright.api.validation import Violation, validate, validate_update
from tests.cases.crd_rules import CASES, MALFORMED, UPDATES, Case, Malformed, Manifest, manifest, rules
from tests.controlplane import Cluster

# Earlier versions of Kubernetes write the type of the value here.
_PREFIX = re.compile('^Invalid value: ("(object|array|string)": )?')


class Objects:
    """A dry run passes through all of the API server but the store."""

    def __init__(self, api: client.ApiClient) -> None:
        self._api = client.CustomObjectsApi(api)

    def try_out(self, given: Manifest) -> Manifest:
        return self._create(given, dry_run="All")

    def create(self, given: Manifest) -> Manifest:
        return self._create(given, dry_run=None)

    def replace(self, given: Manifest) -> Manifest:
        answer = self._api.replace_namespaced_custom_object(
            **_place(given), name=given["metadata"]["name"], body=given, field_validation="Strict"
        )
        return cast("Manifest", answer)

    def read(self, given: Manifest) -> Manifest:
        return cast("Manifest", self._api.get_namespaced_custom_object(**_place(given), name=given["metadata"]["name"]))

    def delete(self, given: Manifest) -> None:
        self._api.delete_namespaced_custom_object(**_place(given), name=given["metadata"]["name"])

    def _create(self, given: Manifest, dry_run: str | None) -> Manifest:
        asked: dict[str, Any] = {"dry_run": dry_run} if dry_run else {}
        answer = self._api.create_namespaced_custom_object(
            **_place(given), body=given, field_validation="Strict", **asked
        )
        return cast("Manifest", answer)


def _place(given: Manifest) -> dict[str, Any]:
    return {
        "group": GROUP,
        "version": VERSION,
        "namespace": given["metadata"]["namespace"],
        "plural": KINDS[given["kind"]].PLURAL,
    }


@pytest.fixture
def objects(crds: Cluster, api: client.ApiClient) -> Objects:
    return Objects(api)


def _in(namespace: str, given: Manifest) -> Manifest:
    return given | {"metadata": given["metadata"] | {"namespace": namespace}}


def _refusals(error: client.ApiException) -> set[tuple[str, str]]:
    """Field and message of each refusal."""
    assert error.status == 422, error.body
    causes = json.loads(error.body or "")["details"]["causes"]
    return {(cause["field"].removeprefix("<nil>"), _PREFIX.sub("", cause["message"])) for cause in causes}


def _found(violations: list[Violation]) -> set[tuple[str, str]]:
    return {(str(Violation(found.path, "")).removesuffix(": "), found.message) for found in violations}


@pytest.mark.parametrize("case", [case for case in CASES if case.path is None], ids=str)
def test_a_manifest_that_keeps_the_rule_is_accepted(objects: Objects, case: Case) -> None:
    objects.try_out(case.manifest)


@pytest.mark.parametrize("case", [case for case in CASES if case.path is not None], ids=str)
def test_a_manifest_that_breaks_the_rule_is_refused_as_by_validate(objects: Objects, case: Case) -> None:
    with pytest.raises(client.ApiException) as error:
        objects.try_out(case.manifest)
    refusals = _refusals(error.value)
    assert (case.path, rules()[case.rule].message) in refusals
    assert refusals == _found(validate(case.manifest))


@pytest.mark.parametrize("case", UPDATES, ids=str)
def test_an_update_is_validated_as_by_validate_update(objects: Objects, case: Case) -> None:
    name = f"updated-{uuid.uuid4().hex[:8]}"
    created = objects.create(manifest(case.kind, case.before, name))
    changed = created | {"spec": manifest(case.kind, case.spec)["spec"]}
    try:
        if case.path is None:
            objects.replace(changed)
            return
        with pytest.raises(client.ApiException) as error:
            objects.replace(changed)
        assert _refusals(error.value) == {(case.path, rules()[case.rule].message)}
        assert _refusals(error.value) == _found(validate_update(created, changed))
    finally:
        objects.delete(created)


@pytest.mark.parametrize("case", MALFORMED, ids=str)
def test_malformed_manifest_is_refused_with_its_path(objects: Objects, case: Malformed) -> None:
    with pytest.raises(client.ApiException) as error:
        objects.try_out(case.manifest)
    assert case.path in {field for field, _ in _refusals(error.value)}


@pytest.mark.parametrize("kind", KINDS)
def test_name_of_ten_thousand_characters_is_refused(objects: Objects, kind: str) -> None:
    with pytest.raises(client.ApiException) as error:
        objects.try_out(manifest(kind, name="a" * 10_000))
    assert "metadata.name" in {field for field, _ in _refusals(error.value)}


def test_mistyped_field_is_reported(objects: Objects) -> None:
    with pytest.raises(client.ApiException) as error:
        objects.try_out(manifest("OAuthClient", {"rotaton": {}}))
    assert 'unknown field "spec.rotaton"' in json.loads(error.value.body or "")["message"]


def test_private_key_is_refused_and_not_quoted(objects: Objects) -> None:
    key = {"kty": "EC", "crv": "P-256", "x": "x" * 43, "y": "y" * 43, "d": "c2VjcmV0LXByaXZhdGUta2V5"}
    with pytest.raises(client.ApiException) as error:
        objects.try_out(
            manifest("OAuthClient", {"authentication": {"method": "PrivateKeyJWT", "jwks": {"keys": [key]}}})
        )
    assert key["d"] not in (error.value.body or "")


def test_a_list_in_place_of_a_timestamp_is_refused(objects: Objects) -> None:
    """The schema alone accepts it: the type of a value with a format is not checked if it is a list."""
    with pytest.raises(client.ApiException) as error:
        objects.try_out(manifest("ScopeGrant", {"expirationTime": ["2027-06-30T00:00:00Z"]}))
    assert error.value.status == 422


DEFAULTS: dict[str, dict[str, Any]] = {
    "OAuthClient": {
        "issuer": "default",
        "authentication": {"method": "ClientSecret"},
        "grantTypes": ["client_credentials"],
        "dpop": "Optional",
        "credentials": {
            "deletionPolicy": "Delete",
            "keys": {
                "clientID": "client_id",
                "clientSecret": "client_secret",
                "privateKey": "private_key.jwk",
                "issuer": "issuer",
                "tokenEndpoint": "token_endpoint",
                "jwksURI": "jwks_uri",
                "scope": "scope",
                "audience": "audience",
            },
        },
        "rotation": {"every": "720h", "overlap": "24h", "suspend": False},
        "disabled": False,
    },
    "ResourceServer": {
        "issuer": "default",
        "tokens": {
            "lifetime": "10m",
            "signingKey": "default",
            "scopesListClaim": False,
            "dpopBoundAccessTokensRequired": False,
        },
    },
    "SigningKey": {
        "issuer": "default",
        "algorithm": "ES256",
        "rotation": {"every": "720h", "publishAhead": "24h"},
        "jwks": {"configMapName": "scopewright-jwks"},
    },
}


@pytest.mark.parametrize("kind", DEFAULTS)
@pytest.mark.parametrize("spec", [{}, None])
def test_defaults_are_stored(objects: Objects, kind: str, spec: dict[str, Any] | None) -> None:
    created = objects.try_out({**manifest(kind), "spec": spec})
    assert created["spec"] == DEFAULTS[kind]
    assert KINDS[kind].model_validate(created).spec == KINDS[kind].model_validate({"metadata": {"name": "a"}}).spec


@pytest.mark.parametrize("kind", KINDS)
def test_status_is_pending_until_an_operator_reconciles(objects: Objects, namespace: str, kind: str) -> None:
    """kstatus and Argo CD treat an object without a status as done. A status in the manifest is ignored."""
    planted = {"conditions": [{"type": "Ready", "status": "True", "reason": "Planted"}]}
    created = objects.create(_in(namespace, manifest(kind)) | {"status": planted})
    stored = objects.read(created)
    for found in (created, stored):
        [condition] = found["status"]["conditions"]
        assert (condition["status"], condition["reason"]) == ("Unknown", "Pending")
        read = KINDS[kind].model_validate(found)
        assert read.metadata.applied_time
        but_when = read.metadata.model_copy(update={"applied_time": None})
        assert KINDS[kind].model_validate(read.to_dict()) == read.model_copy(update={"metadata": but_when})


@pytest.mark.parametrize("kind", KINDS)
def test_object_is_unchanged_when_written_back(objects: Objects, namespace: str, kind: str) -> None:
    """No new resourceVersion and no diff against Git."""
    given = _in(namespace, manifest(kind))
    created = objects.create(given)
    # The first write after the creation stores the default of the status.
    once = objects.replace(created)
    twice = objects.replace(once)
    assert twice == once
    assert once["spec"] == created["spec"]
    assert once["metadata"]["generation"] == 1


def test_crds_are_accepted_and_their_names_are_free(crds: Cluster, api: client.ApiClient) -> None:
    extensions = client.ApiextensionsV1Api(api)
    for kind in KINDS.values():
        found = extensions.read_custom_resource_definition(f"{kind.PLURAL}.{GROUP}")
        assert found.status is not None
        conditions = {condition.type: condition.status for condition in found.status.conditions or []}
        assert conditions == {"NamesAccepted": "True", "Established": "True"}


@pytest.mark.parametrize(
    ("kind", "columns"),
    [
        ("OAuthClient", ["NAME", "READY", "REASON", "GRANTED", "NEXT ROTATION", "AGE"]),
        ("ResourceServer", ["NAME", "READY", "REASON", "AUDIENCE", "GRANTS", "AGE"]),
        ("ScopeGrant", ["NAME", "READY", "REASON", "RESOURCE SERVER", "GRANTED TO", "USERS", "EXPIRES", "AGE"]),
        ("SigningKey", ["NAME", "READY", "REASON", "ALGORITHM", "SIGNS UNTIL", "AGE"]),
        ("IdentityProvider", ["NAME", "READY", "REASON", "ISSUER URL", "AGE"]),
    ],
)
def test_kubectl_get_shows_ready_and_reason(
    crds: Cluster, objects: Objects, namespace: str, kind: str, columns: list[str]
) -> None:
    given = _in(namespace, manifest(kind))
    objects.create(given)
    for name in (KINDS[kind].PLURAL, KINDS[kind].SINGULAR, *KINDS[kind].SHORT_NAMES, "oauth"):
        header, row = _kubectl(crds, "get", name, "--namespace", namespace).splitlines()
        assert [column.strip() for column in header.split("  ") if column.strip()] == columns
        assert row.split()[1:3] == ["Unknown", "Pending"]


def test_kubectl_get_oauth_lists_all_five(crds: Cluster, objects: Objects, namespace: str) -> None:
    for kind in KINDS:
        objects.create(_in(namespace, manifest(kind)))
    listed = _kubectl(crds, "get", "oauth", "--namespace", namespace, "--output", "name").splitlines()
    assert sorted(listed) == sorted(f"{kind.SINGULAR}.{GROUP}/an-object" for kind in KINDS.values())


def test_objects_are_found_by_their_issuer(crds: Cluster, objects: Objects, namespace: str) -> None:
    for issuer in ("default", "eu"):
        objects.create(_in(namespace, manifest("ScopeGrant", {"issuer": issuer}, name=f"of-{issuer}")))
    chosen = _kubectl(crds, "get", "swg", "-n", namespace, "-o", "name", "--field-selector", "spec.issuer=eu")
    assert chosen.split() == ["scopegrant.scopewright.dev/of-eu"]


@pytest.mark.parametrize("kind", KINDS)
def test_kubectl_explain_describes_the_kind(crds: Cluster, kind: str) -> None:
    explained = _kubectl(crds, "explain", f"{KINDS[kind].PLURAL}.{GROUP}", "--recursive=false")
    assert f"{kind} " in explained
    assert "<no description>" not in explained


def _kubectl(cluster: Cluster, *arguments: str) -> str:
    done = subprocess.run(
        [cluster.kubectl, "--kubeconfig", cluster.kubeconfig, *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
