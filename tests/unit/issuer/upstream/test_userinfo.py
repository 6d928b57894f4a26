"""When userinfo is asked, and whose it is (OpenID Connect Core §5.3)."""

from typing import Any

import pytest

from scopewright.core.records.identity_provider import ClaimMappings
from tests.harness.openid_replies import Reply, reply_json, replying
from tests.unit.issuer.upstream.support import LoginHarness


@pytest.mark.parametrize(
    ("mode", "missing", "questions"),
    [
        ("IfMissing", None, 0),
        ("IfMissing", "groups", 1),
        ("IfMissing", "preferred_username", 1),
        ("IfMissing", "name", 0),
        ("Always", None, 1),
        ("Never", "groups", 0),
    ],
)
async def test_mode(login: LoginHarness, mode: str, missing: str | None, questions: int) -> None:
    login.oidc["userinfo"] = mode
    if missing is not None:
        login.openid.id_token = {missing: None}
    user = await login.login()
    assert login.openid.count("userinfo") == questions
    assert user.groups == (() if mode == "Never" else ("hr-staff",))


async def test_claims_of_userinfo(login: LoginHarness) -> None:
    login.openid.claims_in_id_token = False
    login.openid.users["ada"] |= {"email": "ada@hr.example", "email_verified": True}
    user = await login.login()
    assert user.groups == ("hr-staff",)
    assert user.claims["email"] == "ada@hr.example"
    assert user.claims["email_verified"] is True


async def test_id_token_takes_precedence(login: LoginHarness) -> None:
    login.oidc["userinfo"] = "Always"
    login.openid.id_token = {"groups": ["hr-staff"], "name": "Ada"}
    login.openid.userinfo = {"groups": ["hr-board"], "name": "Eve", "acr": "gold", "auth_time": 1}
    login.claims = ClaimMappings(groups=("groups",), groups_allow=("*",), acr_allow=("gold",))
    user = await login.login()
    assert (user.groups, user.claims["name"]) == (("hr-staff",), "Ada")
    assert (user.acr, user.auth_time) == ("", int(login.clock()))


@pytest.mark.parametrize("subject", ["eve", "ADA", "", None, 7, ["ada"], "x" * 256])
async def test_userinfo_of_another_user(login: LoginHarness, subject: object) -> None:
    login.oidc["userinfo"] = "Always"
    login.openid.userinfo = {"sub": subject}
    assert (await login.refusal()).reason == "userinfo"


async def test_signed_userinfo(login: LoginHarness) -> None:
    login.oidc["userinfo"] = "Always"
    signed = Reply(200, b"a.b.c", {"Content-Type": "application/jwt; charset=utf-8"})
    login.openid.replies["userinfo"] = replying(signed)
    refused = await login.refusal()
    assert refused.reason == "userinfo"
    assert "userinfo_signed_response_alg" in refused.detail


@pytest.mark.parametrize("changes", [{"userinfo_endpoint": None}, {}])
async def test_userinfo_that_is_wanted_always(login: LoginHarness, changes: dict[str, Any]) -> None:
    """Without an endpoint, or without an access token for it."""
    login.oidc["userinfo"] = "Always"
    login.openid.metadata = changes
    if not changes:
        login.openid.token = {"access_token": None}
        login.openid.id_token = {"at_hash": None}
    assert (await login.refusal()).reason == "userinfo"


async def test_userinfo_that_is_not_there(login: LoginHarness) -> None:
    login.openid.id_token = {"groups": None}
    login.openid.metadata = {"userinfo_endpoint": None}
    assert (await login.login()).groups == ()


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (Reply(401), "Refused"),
        (reply_json({"error": "x"}, 503), "Unreachable"),
        (Reply(200, b"<html>", {"Content-Type": "text/html"}), "AnswerMalformed"),
        (Reply(200, b'{"sub": "ada", "groups": [], "groups": ["hr-board"]}'), "AnswerMalformed"),
    ],
)
async def test_userinfo_that_does_not_work(login: LoginHarness, reply: Reply, reason: str) -> None:
    login.oidc["userinfo"] = "Always"
    login.openid.replies["userinfo"] = replying(reply)
    assert (await login.failure()).reason == reason
    assert login.observed[-1][0] == "userinfo"
