"""Tokens of a fake issuer are those of the real one, and `FakeIssuer.token` makes each kind that a test needs."""

import json
import time
from typing import Any

import jwt
import pytest

from scopewright import base64url
from scopewright.testing import FakeIssuer
from scopewright.verifier import Actor, Reason, TokenRejected
from scopewright.verifier.check import ALGORITHMS
from tests.harness.issuer import IssuerHarness
from tests.harness.samples import ISSUER
from tests.unit.issuer.users.logins import PAYROLL_ACCESS, running_logins
from tests.unit.issuer.users.test_user_exchange import MANAGER, install

PAYROLL, BANK = "https://payroll-api.payroll.svc", "https://bank-api.bank.svc"


@pytest.fixture
def issuer() -> FakeIssuer:
    return FakeIssuer()


def parts(token: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Header and claims, in the order of the token."""
    header, claims, _ = token.split(".")
    return json.loads(base64url.decode(header)), json.loads(base64url.decode(claims))


def refusal(issuer: FakeIssuer, token: str, **options: Any) -> Reason | None:
    try:
        issuer.verifier(**options).verify_sync(token)
    except TokenRejected as rejected:
        return rejected.reason
    return None


def shape(token: str) -> tuple[list[tuple[str, Any]], list[tuple[str, Any]]]:
    """Header and claims in order, without the values that differ from token to token."""
    header, claims = parts(token)
    assert all(isinstance(claims[name], int) for name in ("iat", "exp"))
    lifetime = round(claims["exp"] - claims["iat"], -1)  # a token may be exchanged a second later
    random = {"iat": 0, "exp": lifetime, "jti": len(claims["jti"])}
    for each in claims.get("scopewright_chain", ()):
        each |= {"iat": 0, "jti": len(each["jti"]), "kid": len(each["kid"])}
    return list((header | {"kid": len(header["kid"])}).items()), list((claims | random).items())


async def test_tokens_are_those_of_the_real_issuer() -> None:
    harness = IssuerHarness(can_write=True)
    harness.install_defaults()
    harness.install_services()
    async with harness.running():
        lifetime = (await harness.token(resource=PAYROLL, scope="payroll.read")).json()["expires_in"]
        real = await harness.access_token(resource=PAYROLL, scope="payroll.read")
        exchanged = (await harness.exchange(real, "payroll.payroll-service", BANK, scope="bank.pay")).json()
        metadata = (await harness.http.get("/.well-known/openid-configuration")).json()
    fake = FakeIssuer(metadata["issuer"], PAYROLL)
    mine = fake.token("payroll.read", client="leave.leave-worker", expires_in=lifetime)
    assert shape(mine) == shape(real)
    assert shape(fake.token("bank.pay", client="payroll.payroll-service", audience=BANK, on_behalf_of=mine)) == shape(
        exchanged["access_token"]
    )


async def test_tokens_of_users_are_those_of_the_real_issuer() -> None:
    async with running_logins() as logins:
        await install(logins)
        real = str((await logins.tokens(MANAGER, access=(PAYROLL_ACCESS,)))["access_token"])
        exchanged = await logins.harness.exchange(real, "payroll.payroll-service", BANK)
        jti_of_a_grant = len(parts(real)[1]["jti"])
    fake = FakeIssuer(ISSUER, PAYROLL)
    mine = fake.token(
        "payroll.read",
        "payroll.write",
        client="leave.leave-worker",
        subject=MANAGER.subject,
        roles=["manager"],
        sid=parts(real)[1]["sid"],
        claims={"auth_time": MANAGER.auth_time, "jti": "j" * jti_of_a_grant},
    )
    assert shape(mine) == shape(real)
    for_bank = fake.token(
        "bank.pay",
        "bank.look",
        client="payroll.payroll-service",
        roles=["teller"],
        audience=BANK,
        on_behalf_of=mine,
    )
    assert sorted(shape(for_bank)[1]) == sorted(shape(exchanged.json()["access_token"])[1])


@pytest.mark.parametrize("algorithm", sorted(ALGORITHMS))
def test_every_algorithm_of_the_verifier_is_verified(algorithm: str) -> None:
    issuer = FakeIssuer(algorithm=algorithm)
    token = issuer.token("payroll.read")
    assert parts(token)[0]["alg"] == algorithm
    assert refusal(issuer, token) is None
    if algorithm != "Ed25519":  # of RFC 9864, which PyJWT does not know
        [jwk] = issuer._tokens.jwks()["keys"]
        jwt.decode(token, jwt.PyJWK(jwk), algorithms=[algorithm], audience=issuer.audience)


def test_unknown_algorithm_is_refused() -> None:
    with pytest.raises(ValueError, match="algorithm must be one of ES256"):
        FakeIssuer(algorithm="HS256")


def test_arguments_become_claims(issuer: FakeIssuer) -> None:
    sent = issuer.token("a", "b", client="leave.worker", subject="alice", roles=["admin"], claims={"tenant": 7})
    token = issuer.verifier().verify_sync(sent)
    assert (token.client_id, token.subject) == ("leave.worker", "alice")
    assert (token.scopes, token.roles) == (frozenset({"a", "b"}), frozenset({"admin"}))
    assert (token.claims["tenant"], token.audience) == (7, (issuer.audience,))
    assert token.expires_at == pytest.approx(time.time() + 600, abs=2)


def test_token_with_a_session_is_one_of_a_user(issuer: FakeIssuer) -> None:
    sent = issuer.token("payroll.read", client="hr.hr-web", subject="u-ada", sid="session-1")
    verified = issuer.verifier().verify_sync(sent)
    assert (verified.subject, verified.client_id, verified.sid) == ("u-ada", "hr.hr-web", "session-1")
    assert verified.claims["auth_time"] == pytest.approx(time.time(), abs=2)
    for_bank = issuer.token("bank.pay", client="payroll.api", on_behalf_of=sent)
    exchanged = issuer.verifier().verify_sync(for_bank)
    assert (exchanged.subject, exchanged.sid) == ("u-ada", "session-1")
    assert exchanged.actor == Actor("payroll.api", actor=Actor("hr.hr-web"))
    assert issuer.verifier().verify_sync(issuer.token()).sid is None


def test_ended_session_revokes_its_tokens_and_no_others(issuer: FakeIssuer) -> None:
    def of_ada(sid: str) -> str:
        return issuer.token("payroll.read", subject="u-ada", sid=sid)

    ended, exchanged = of_ada("session-1"), issuer.token(client="api", on_behalf_of=of_ada("session-1"))
    others = [of_ada("session-2"), issuer.token(subject="u-eve", sid="session-3"), issuer.token()]
    issuer.end_session(ended)
    verifier = issuer.verifier(revocations=True)
    for revoked in (ended, of_ada("session-1"), exchanged):
        with pytest.raises(TokenRejected) as caught:
            verifier.verify_sync(revoked)
        assert caught.value.reason is Reason.REVOKED
    for other in others:
        assert verifier.verify_sync(other)


def test_session_without_a_user_is_refused(issuer: FakeIssuer) -> None:
    with pytest.raises(ValueError, match="pass subject= too"):
        issuer.token(sid="session-1")
    with pytest.raises(ValueError, match="pass subject= too"):
        issuer.token(sid="session-1", on_behalf_of=issuer.token())
    for not_of_a_user in (issuer.token(), FakeIssuer().token(subject="u-ada", sid="session-1")):
        with pytest.raises(ValueError, match="make one with sid="):
            issuer.end_session(not_of_a_user)


def test_one_role_may_be_a_string(issuer: FakeIssuer) -> None:
    assert issuer.verifier().verify_sync(issuer.token(roles="admin")).roles == {"admin"}


@pytest.mark.parametrize("wrong", [["payroll.read"], None, b"payroll.read"])
def test_scope_that_is_no_string_is_a_type_error_that_shows_the_form(issuer: FakeIssuer, wrong: Any) -> None:
    for make in (issuer.token, issuer.headers):
        with pytest.raises(TypeError, match=rf"each scope is an argument.*not a {type(wrong).__name__}"):
            make(wrong)


def test_headers_authenticate_a_request(issuer: FakeIssuer) -> None:
    scheme, _, token = issuer.headers("payroll.read", client="a.b")["Authorization"].partition(" ")
    assert scheme == "Bearer"
    assert issuer.verifier().verify_sync(token, scopes=["payroll.read"]).client_id == "a.b"


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"expires_in": -60}, Reason.EXPIRED),
        ({"expires_in": -55}, None),
        ({"audience": "https://other.test"}, Reason.AUDIENCE),
        ({"audience": ["https://other.test", "https://api.test"]}, None),
        ({"claims": {"iss": "https://other.test"}}, Reason.ISSUER),
        ({"claims": {"nbf": 2**40}}, Reason.NOT_YET_VALID),
        ({"claims": {"exp": None}}, Reason.MISSING_CLAIM),
        ({"header": {"typ": "JWT"}}, Reason.TYPE),
        ({"header": {"alg": "none"}}, Reason.ALGORITHM),
        ({"header": {"kid": "another"}}, Reason.UNKNOWN_KEY),
        ({"claims": {"cnf": {"jkt": "a"}}}, Reason.SENDER_CONSTRAINED),
    ],
)
def test_bad_tokens_are_refused_for_their_reason(
    issuer: FakeIssuer, arguments: dict[str, Any], reason: Reason | None
) -> None:
    assert refusal(issuer, issuer.token("payroll.read", **arguments)) is reason


def test_expired_token_was_issued_before_it_expired(issuer: FakeIssuer) -> None:
    claims = parts(issuer.token(expires_in=-3600))[1]
    assert claims["iat"] < claims["exp"] < time.time() - 3500


def test_token_of_another_fake_issuer_is_refused(issuer: FakeIssuer) -> None:
    assert refusal(issuer, FakeIssuer().token("payroll.read")) is Reason.UNKNOWN_KEY


def test_token_on_behalf_of_a_caller_has_its_subject_and_its_actors(issuer: FakeIssuer) -> None:
    caller = issuer.token("a", subject="alice", client="web.portal", expires_in=30)
    first = issuer.token("b", client="leave.service", on_behalf_of=caller)
    second = issuer.verifier().verify_sync(issuer.token("c", client="payroll.service", on_behalf_of=first))
    assert (second.subject, second.client_id, second.scopes) == ("alice", "payroll.service", frozenset({"c"}))
    assert second.actor == Actor("payroll.service", actor=Actor("leave.service"))
    assert second.expires_at == parts(caller)[1]["exp"]
    assert [each["client_id"] for each in second.claims["scopewright_chain"]] == ["web.portal", "leave.service"]


@pytest.mark.parametrize("token", ["", "a.b.c", FakeIssuer().token(), "expired", "revoked"])
def test_token_on_behalf_of_an_invalid_one_is_refused(issuer: FakeIssuer, token: str) -> None:
    if token == "expired":
        token = issuer.token(expires_in=-1)
    elif token == "revoked":
        token = issuer.token()
        issuer.revoke(token)
    with pytest.raises(ValueError, match="on_behalf_of= takes a token of this issuer that is valid now"):
        issuer.token(on_behalf_of=token)


def test_subject_and_caller_are_refused_together(issuer: FakeIssuer) -> None:
    with pytest.raises(ValueError, match="omit subject="):
        issuer.token(subject="alice", on_behalf_of=issuer.token())


def test_rotation_is_seen_by_a_verifier_that_has_keys(issuer: FakeIssuer) -> None:
    verifier = issuer.verifier()
    before = issuer.token()
    verifier.verify_sync(before)
    issuer.rotate()
    after = issuer.token()
    assert parts(before)[0]["kid"] != parts(after)[0]["kid"]
    verifier.verify_sync(after)
    assert refusal(issuer, before) is None


def test_published_keys_are_bounded(issuer: FakeIssuer) -> None:
    for _ in range(30):
        issuer.rotate()
    assert len(issuer._tokens.jwks()["keys"]) == 10
    assert refusal(issuer, issuer.token()) is None


def test_revoked_token_is_refused_where_revocations_are_checked(issuer: FakeIssuer) -> None:
    token, other = issuer.token(), issuer.token()
    exchanged = issuer.token(client="leave.service", on_behalf_of=token)
    issuer.revoke(token)
    assert refusal(issuer, token, revocations=True) is Reason.REVOKED
    assert refusal(issuer, exchanged, revocations=True) is Reason.REVOKED
    assert refusal(issuer, other, revocations=True) is None
    assert refusal(issuer, token) is None


def test_token_of_another_issuer_cannot_be_revoked(issuer: FakeIssuer) -> None:
    with pytest.raises(ValueError, match="revoke takes a token of this issuer"):
        issuer.revoke(FakeIssuer().token())


def test_repr_names_no_key(issuer: FakeIssuer) -> None:
    assert repr(issuer) == "FakeIssuer('https://issuer.test', 'https://api.test')"
    assert "private" not in repr(issuer._tokens._keys)
