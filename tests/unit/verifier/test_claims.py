"""Claims of a token, and its validity in time."""

import dataclasses
import json
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519

from scopewright.verifier import Actor, KeySet, Policy, Reason, TokenRejected, check
from tests.unit.verifier.support import AUDIENCE, ISSUER, KEYS, NOW, POLICY, claims, refusal, token


def test_claims_of_a_valid_token_are_returned() -> None:
    sent = token(scope="payroll.read payroll.write")
    found = check(sent, KEYS, POLICY, NOW)
    assert (found.subject, found.client_id) == ("leave.leave-worker", "leave.leave-worker")
    assert found.scopes == {"payroll.read", "payroll.write"}
    assert (found.issuer, found.audience, found.expires_at) == (ISSUER, (AUDIENCE,), NOW + 600)
    assert found.claims["jti"] == "0"
    assert found.value == sent


def test_the_repr_does_not_show_the_token() -> None:
    sent = token()
    found = check(sent, KEYS, POLICY, NOW)
    assert sent not in repr(found)
    assert sent.split(".")[2] not in repr(found)
    assert "leave.leave-worker" in repr(found)


def test_a_token_cannot_be_changed_after_it_was_verified() -> None:
    found = check(token(), KEYS, POLICY, NOW)
    with pytest.raises(dataclasses.FrozenInstanceError):
        found.scopes = frozenset({"payroll.write"})  # type: ignore[misc]
    with pytest.raises(TypeError):
        found.claims["scope"] = "payroll.write"  # type: ignore[index]


@pytest.mark.parametrize(
    ("late", "expected"), [(0, None), (59.999, None), (60, Reason.EXPIRED), (60.001, Reason.EXPIRED)]
)
def test_token_is_accepted_until_sixty_seconds_after_exp(late: float, expected: Reason | None) -> None:
    assert refusal(token(exp=int(NOW)), now=NOW + late) is expected


@pytest.mark.parametrize("name", ["nbf", "iat"])
@pytest.mark.parametrize(("early", "expected"), [(60, None), (61, Reason.NOT_YET_VALID)])
def test_token_is_accepted_from_sixty_seconds_before_nbf_and_iat(
    name: str, early: int, expected: Reason | None
) -> None:
    start: dict[str, Any] = {name: int(NOW) + early}
    assert refusal(token(**start)) is expected


def test_times_are_exact_without_leeway() -> None:
    exact = Policy(ISSUER, AUDIENCE, leeway=0)
    assert refusal(token(exp=int(NOW) + 1), policy=exact) is None
    assert refusal(token(exp=int(NOW)), policy=exact) is Reason.EXPIRED
    assert refusal(token(nbf=int(NOW) + 1), policy=exact) is Reason.NOT_YET_VALID


@pytest.mark.parametrize("value", ["1800000600", True, -1, 1e300, 10**400, [], {}])
def test_exp_that_is_not_a_time_is_malformed(value: Any) -> None:
    assert refusal(token(exp=value)) is Reason.MALFORMED


@pytest.mark.parametrize("name", ["nbf", "iat"])
@pytest.mark.parametrize("value", ["1", False, -1, []])
def test_nbf_or_iat_that_is_not_a_time_is_malformed(name: str, value: Any) -> None:
    assert refusal(token(**{name: value})) is Reason.MALFORMED


@pytest.mark.parametrize("name", ["sub", "client_id", "aud"])
@pytest.mark.parametrize("value", [1, {}, [1]])
def test_sub_client_id_and_aud_of_a_wrong_type_are_malformed(name: str, value: Any) -> None:
    assert refusal(token(**{name: value})) is Reason.MALFORMED


@pytest.mark.parametrize("name", ["aud", "exp", "sub", "client_id"])
def test_missing_claim_is_named(name: str) -> None:
    missing: dict[str, Any] = {name: None}
    with pytest.raises(TokenRejected, match=f"The access token has no claim {name};") as refused:
        check(token(**missing), KEYS, POLICY, NOW)
    assert refused.value.reason is Reason.MISSING_CLAIM


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"scope": "a b"}, {"a", "b"}),
        ({"scope": ""}, set()),
        ({"scope": None}, set()),
        ({"scope": None, "scopes": ["a", "b"]}, {"a", "b"}),
        ({"scope": "a", "scopes": ["a", "b"]}, {"a"}),
        ({"scope": "", "scopes": ["a"]}, set()),
    ],
)
def test_scope_string_takes_precedence_over_the_list(changes: dict[str, Any], expected: set[str]) -> None:
    assert check(token(**changes), KEYS, POLICY, NOW).scopes == expected


@pytest.mark.parametrize(
    "changes",
    [{"scope": ["a"]}, {"scope": 1}, {"scope": "a  b"}, {"scope": "a\tb"}, {"scope": 'a"'}]
    + [{"scope": None, "scopes": value} for value in ("a", [1], ["a b"], [""], {"a": 1})],
)
def test_malformed_scopes_are_refused(changes: dict[str, Any]) -> None:
    assert refusal(token(**changes)) is Reason.MALFORMED


def test_refusal_for_a_missing_scope_lists_all_required_scopes() -> None:
    policy = Policy(ISSUER, AUDIENCE, scopes=frozenset({"payroll.read", "payroll.write"}))
    with pytest.raises(TokenRejected) as caught:
        check(token(), KEYS, policy, NOW)
    assert (caught.value.status, caught.value.error) == (403, "insufficient_scope")
    assert caught.value.scope == "payroll.read payroll.write"


def test_expired_malformed_and_under_scoped_tokens_get_different_descriptions() -> None:
    policy = Policy(ISSUER, AUDIENCE, scopes=frozenset({"payroll.write"}))
    descriptions = set()
    for sent in (token(exp=1), "x", token()):
        with pytest.raises(TokenRejected) as caught:
            check(sent, KEYS, policy, NOW)
        descriptions.add(caught.value.description)
    assert len(descriptions) == 3


@pytest.mark.parametrize("name", ["EdDSA", "Ed25519"])
def test_ed25519_is_accepted_under_both_algorithm_names(name: str) -> None:
    private = ed25519.Ed25519PrivateKey.generate()
    jwk = json.loads(jwt.algorithms.OKPAlgorithm.to_jwk(private.public_key())) | {"kid": "e", "alg": name}
    jws = jwt.PyJWS()
    jws.register_algorithm("Ed25519", jwt.algorithms.OKPAlgorithm())
    sent = jws.encode(json.dumps(claims()).encode(), private, name, {"typ": "at+jwt", "kid": "e"})
    assert refusal(sent, keys=KeySet.parse({"keys": [jwk]})) is None


@pytest.mark.parametrize(("issuer", "audience"), [("", "a"), ("a", ""), ('a"', "a"), ("a", "ä")])
def test_policy_with_characters_not_allowed_in_a_header_is_refused(issuer: str, audience: str) -> None:
    with pytest.raises(ValueError, match="printable ASCII"):
        Policy(issuer, audience)


@pytest.mark.parametrize(
    ("roles", "expected"),
    [
        (["payroll-manager", "auditor"], {"payroll-manager", "auditor"}),
        ([], set()),
        ("payroll-manager", set()),
        ([{"value": "payroll-manager"}], set()),
        (["payroll-manager", 7], set()),
        ({"payroll-manager": True}, set()),
    ],
)
def test_roles_are_a_list_of_strings_and_other_forms_give_none(roles: Any, expected: set[str]) -> None:
    assert check(token(roles=roles), KEYS, POLICY, NOW).roles == expected


def test_session_of_a_user_is_an_attribute_of_the_token() -> None:
    assert check(token(sid="session-1"), KEYS, POLICY, NOW).sid == "session-1"
    for sid in (7, None, ["session-1"]):
        assert check(token(sid=sid), KEYS, POLICY, NOW).sid is None
    assert check(token(), KEYS, POLICY, NOW).sid is None


def test_token_without_act_has_no_actor() -> None:
    found = check(token(), KEYS, POLICY, NOW)
    assert (found.actor, found.roles) == (None, frozenset())


def test_actors_of_an_exchanged_token_are_a_chain() -> None:
    act = {"sub": "leave.web", "act": {"sub": "portal", "client_id": "staff.portal", "act": {"client_id": "staff.app"}}}
    last = Actor("staff.app", "staff.app")
    expected = Actor("leave.web", None, Actor("portal", "staff.portal", last))
    assert check(token(act=act), KEYS, POLICY, NOW).actor == expected


@pytest.mark.parametrize(
    "act", ["leave.web", [], {}, {"sub": ""}, {"sub": 7}, {"sub": "a", "act": {}}, {"sub": "a", "client_id": None}]
)
def test_token_whose_actor_cannot_be_read_is_refused(act: Any) -> None:
    assert refusal(token(act=act)) is Reason.MALFORMED


def test_chain_of_more_than_ten_actors_is_refused() -> None:
    act: dict[str, Any] = {"sub": "a"}
    for _ in range(9):
        act = {"sub": "a", "act": act}
    assert refusal(token(act=act)) is None
    assert refusal(token(act={"sub": "a", "act": act})) is Reason.MALFORMED
