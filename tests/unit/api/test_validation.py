"""Validation without an API server reports the same errors as an API server, each with its fix."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from scopewright.api import KINDS
from scopewright.api.jwk import JWKSet
from scopewright.api.schema import structural_schema
from scopewright.api.validation import Violation, validate, validate_update
from tests.cases.crd_rules import CASES, MALFORMED, SPECS, UPDATES, Case, Malformed, manifest, rules


@pytest.mark.parametrize("case", CASES, ids=str)
def test_rule(case: Case) -> None:
    violations = validate(case.manifest)
    if case.path is None:
        assert violations == []
    else:
        assert f"{case.path}: {rules()[case.rule].message}".removeprefix(": ") in map(str, violations)


@pytest.mark.parametrize("case", UPDATES, ids=str)
def test_update(case: Case) -> None:
    """tests/cluster holds the same cases against an API server."""
    assert case.before is not None
    violations = validate_update(manifest(case.kind, case.before), case.manifest)
    expected = [] if case.path is None else [f"{case.path}: {rules()[case.rule].message}"]
    assert list(map(str, violations)) == expected


@pytest.mark.parametrize("case", MALFORMED, ids=str)
def test_malformed_manifest_is_refused_where_it_is_malformed(case: Malformed) -> None:
    assert case.path in {str(Violation(violation.path, "")).removesuffix(": ") for violation in validate(case.manifest)}


def test_every_rule_of_every_kind_has_valid_and_invalid_manifests() -> None:
    """A rule without an invalid manifest is not tested."""
    declared = {(kind, rule_id) for kind in KINDS for rule_id in _rules_of(kind)}
    for broken in (False, True):
        tried = {(case.kind, case.rule) for case in [*CASES, *UPDATES] if (case.path is not None) is broken}
        assert tried == declared
    assert all("oldSelf" in rules()[case.rule].rule for case in UPDATES)


def test_messages_of_rules_are_unique() -> None:
    """The message shows that a case breaks the rule that it names, not another."""
    declared = rules().values()
    assert len({rule.message for rule in declared}) == len(declared)


def test_messages_of_rules_state_the_fix_after_a_semicolon() -> None:
    """`scopewright plan` prints the two parts separately."""
    assert [rule.id for rule in rules().values() if rule.message.count("; ") != 1] == []


@pytest.mark.parametrize("kind", KINDS)
def test_valid_manifest_has_no_violations(kind: str) -> None:
    assert validate(manifest(kind)) == []


@pytest.mark.parametrize("kind", sorted(set(KINDS) - {"ScopeGrant", "IdentityProvider"}))
def test_spec_may_be_omitted(kind: str) -> None:
    given = manifest(kind)
    del given["spec"]
    assert validate(given) == []
    assert validate({**given, "spec": None}) == []


def test_items_of_one_name_are_refused_by_that_name() -> None:
    server = manifest("ResourceServer")
    server["spec"] = {"scopes": [{"name": "read"}, {"name": "read", "description": "other"}]}
    expected = "spec.scopes[1]: has the name of an earlier item; change it or remove one of the two"
    assert expected in map(str, validate(server))


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"rotaton": {}}, "spec.rotaton: unknown field; did you mean rotation?"),
        ({"credentials": {"secretname": "a"}}, "spec.credentials.secretname: unknown field; did you mean secretName?"),
        (
            {"credentials": {"secret_name": "a"}},
            "spec.credentials.secret_name: unknown field; did you mean secretName?",
        ),
        ({"zzz": 1}, "spec.zzz: unknown field; remove it"),
        ({"zzz": None}, "spec.zzz: unknown field; remove it"),
        ({"grantTypes": "client_credentials"}, "spec.grantTypes: must be a list; put '- ' before each item"),
        ({"grantTypes": []}, "spec.grantTypes: must have at least 1 item; add it"),
        (
            {"access": [{"resourceServer": f"api-{n}", "scopes": ["read"]} for n in range(65)]},
            "spec.access: must have at most 64 items; remove some",
        ),
    ],
)
def test_mistyped_field_is_reported(spec: dict[str, Any], message: str) -> None:
    assert [str(violation) for violation in validate(manifest("OAuthClient", spec))] == [message]


def test_mistyped_selector_is_not_taken_for_an_empty_one() -> None:
    given = manifest("ScopeGrant", {"to": [{"namespaceSelector": {"matchLabel": {"team": "hr"}}}]})
    assert [str(violation) for violation in validate(given)] == [
        "spec.to[0].namespaceSelector.matchLabel: unknown field; did you mean matchLabels?"
    ]


def test_nulls_are_ignored() -> None:
    assert validate(manifest("OAuthClient", {"access": None, "rotation": {"every": None}})) == []


@pytest.mark.parametrize(
    "written", ["2026-11-22T10:00:00Z", '"2026-11-22T10:00:00+01:00"', "2026-11-22T10:00:00.123456789Z"]
)
def test_timestamp_may_be_unquoted(written: str) -> None:
    """YAML parses it as a datetime; kubectl sends it as text."""
    spec = yaml.safe_load(f"{{rotation: {{revokedBefore: {written}}}}}")
    assert validate(manifest("OAuthClient", spec)) == []


def test_private_key_is_refused_and_never_quoted() -> None:
    secret = "c2VjcmV0LXByaXZhdGUta2V5"
    for key in (
        {"kty": "EC", "crv": "P-256", "x": "x" * 43, "y": "y" * 43, "d": secret},
        {"kty": "oct", "k": secret},
        {"kty": "RSA", "private": secret},
        {"kty": secret, "x": [secret], "alg": secret},
    ):
        given = manifest("OAuthClient", {"authentication": {"method": "PrivateKeyJWT", "jwks": {"keys": [key]}}})
        violations = validate(given)
        assert violations
        assert secret not in repr(violations)


def test_members_that_tools_write_into_a_public_key_are_ignored() -> None:
    key = {"kty": "EC", "crv": "P-256", "x": "x" * 43, "y": "y" * 43, "key_ops": ["verify"], "ext": True}
    given = manifest("OAuthClient", {"authentication": {"method": "PrivateKeyJWT", "jwks": {"keys": [key]}}})
    assert validate(given) == []
    (registered,) = JWKSet.model_validate({"keys": [key]}).keys
    assert registered.to_dict() == {name: key[name] for name in ("kty", "crv", "x", "y")}


@pytest.mark.parametrize(
    ("changes", "path"),
    [
        ({"apiVersion": "scopewright.dev/v1"}, "apiVersion"),
        ({"apiVersion": None}, "apiVersion"),
        ({"kind": "OauthClient"}, "kind"),
        ({"kind": ["OAuthClient"]}, "kind"),
        ({"metadata": None}, "metadata"),
        ({"metadata": {}}, "metadata.name"),
        ({"metadata": {"name": 1}}, "metadata.name"),
        ({"metadata": {"name": "a", "namespace": "a.b"}}, "metadata.namespace"),
        ({"metadata": {"name": "a", "lables": {}}}, "metadata.lables"),
        ({"metadata": {"name": "a", "labels": {"a b": "c"}}}, "metadata.labels.a b"),
        ({"metadata": {"name": "a", "labels": {"a": "b c"}}}, "metadata.labels.a"),
        ({"metadata": {"name": "a", "labels": {"a": True}}}, "metadata.labels.a"),
        ({"metadata": {"name": "a", "annotations": {"a/b/c": "d"}}}, "metadata.annotations.a/b/c"),
        ({"spec": []}, "spec"),
        ({"spce": {}}, "spce"),
    ],
)
def test_fields_outside_the_spec_are_validated(changes: dict[str, Any], path: str) -> None:
    assert [str(violation).split(": ")[0] for violation in validate(manifest("OAuthClient") | changes)] == [path]


def test_output_of_kubectl_get_is_a_valid_manifest() -> None:
    given = manifest("OAuthClient") | {"status": {"conditions": "whatever"}}
    given["metadata"] |= {
        "uid": "9723c5ec-db57-4da3-b191-61cddd00a4a6",
        "resourceVersion": "247",
        "generation": 1,
        "creationTimestamp": "2026-11-22T12:56:54Z",
        "managedFields": [{"manager": "kubectl"}],
        "ownerReferences": [],
        "finalizers": [],
        "annotations": {"kubectl.kubernetes.io/last-applied-configuration": "{}"},
    }
    assert validate(given) == []


@pytest.mark.parametrize(
    "given", [None, "text", 1, [], [{}], {}, {1: 2}, {b"a": 1}, {"a": b"\x00"}, {"a": float("nan")}]
)
def test_value_that_is_not_a_manifest_is_refused(given: object) -> None:
    assert len(validate(given)) == 1


def test_manifest_that_contains_itself_is_refused() -> None:
    given = manifest("OAuthClient")
    given["spec"] = given
    assert len(validate(given)) == 1


def test_validation_does_not_change_the_manifest() -> None:
    given = manifest("OAuthClient", {"rotation": {"revokedBefore": datetime(2026, 11, 22, tzinfo=UTC)}})
    before = repr(given)
    validate(given)
    assert repr(given) == before


_SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary() | st.datetimes()
_VALUES = st.recursive(_SCALARS, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=10)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(kind=st.sampled_from(sorted(KINDS)), data=st.data())
def test_no_input_raises_an_exception(kind: str, data: st.DataObject) -> None:
    fields = structural_schema(KINDS[kind])["properties"]["spec"]["properties"]
    spec = data.draw(st.dictionaries(st.sampled_from(sorted(fields)), _VALUES))
    validate(manifest(kind) | {"spec": SPECS[kind] | spec})


def _rules_of(kind: str) -> set[str]:
    by_message = {rule.message: rule.id for rule in rules().values()}
    return {by_message[rule["message"]] for rule in _validations(structural_schema(KINDS[kind]))}


def _validations(schema: Any) -> Iterator[dict[str, str]]:
    if isinstance(schema, dict):
        yield from schema.get("x-kubernetes-validations", [])
    for child in schema.values() if isinstance(schema, dict) else schema if isinstance(schema, list) else []:
        yield from _validations(child)
