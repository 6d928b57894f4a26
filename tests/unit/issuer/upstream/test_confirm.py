"""What a provider says of a user after the login."""

from dataclasses import replace

import pytest

from scopewright.core.records.identity_provider import ClaimMappings
from scopewright.issuer.upstream.authenticated_user import AuthenticatedUser, UpstreamTokens
from scopewright.issuer.upstream.login import CheckFailed, LoginEnded, LoginRefused, LoginUnconfirmable
from scopewright.upstream import FailureReason, UpstreamFailed
from tests.harness.openid_replies import Reply, reply_json, replying
from tests.unit.issuer.upstream.support import LoginHarness


async def without_refresh_token(login: LoginHarness) -> AuthenticatedUser:
    login.openid.with_refresh_token = False
    return await login.login()


async def failure(login: LoginHarness, user: AuthenticatedUser) -> UpstreamFailed:
    with pytest.raises(UpstreamFailed) as raised:
        await login.confirm(user)
    return raised.value


async def test_groups_and_claims_as_they_are_now(login: LoginHarness) -> None:
    user = await login.login()
    login.openid.users["ada"] |= {"groups": ["hr-board"], "name": "Ada King"}
    confirmed = await login.confirm(user)
    assert confirmed.groups == ("hr-board",)
    assert confirmed.claims["name"] == "Ada King"
    assert (confirmed.subject, confirmed.provider_uid) == (user.subject, user.provider_uid)


async def test_refresh_token_that_rotates(login: LoginHarness) -> None:
    user = await login.login()
    first = await login.confirm(user)
    assert first.upstream != user.upstream
    assert (await login.confirm(first)).subject == user.subject
    with pytest.raises(LoginEnded):
        await login.confirm(user)


async def test_refresh_token_that_stays(login: LoginHarness) -> None:
    user = await login.login()
    login.openid.token = {"refresh_token": None}
    assert (await login.confirm(user)).upstream == user.upstream


async def test_refresh_authenticates_the_client(login: LoginHarness) -> None:
    user = await login.login()
    await login.confirm(user)
    request = login.openid.last("token")
    assert request.parameters["grant_type"] == "refresh_token"
    assert request.headers["authorization"].startswith("Basic ")


async def test_login_that_the_provider_has_ended(login: LoginHarness) -> None:
    user = await login.login()
    login.openid.end_grants()
    with pytest.raises(LoginEnded):
        await login.confirm(user)


async def test_last_group_is_withdrawn(login: LoginHarness) -> None:
    """A provider may omit the claim of a user who has no groups."""
    user = await login.login()
    del login.openid.users["ada"]["groups"]
    assert (await login.confirm(user)).groups == ()


async def test_answer_without_claims_asks_userinfo(login: LoginHarness) -> None:
    user = await login.login()
    login.openid.claims_in_id_token = False
    assert (await login.confirm(user)).groups == ("hr-staff",)


async def test_answer_without_id_token_asks_userinfo(login: LoginHarness) -> None:
    user = await login.login()
    login.openid.token = {"id_token": None}
    assert (await login.confirm(user)).groups == ("hr-staff",)
    assert login.openid.count("userinfo") == 1


async def test_answer_that_says_nothing_of_the_user(login: LoginHarness) -> None:
    login.oidc["userinfo"] = "Never"
    user = await login.login()
    login.openid.token = {"id_token": None}
    failed = await failure(login, user)
    assert isinstance(failed, LoginUnconfirmable)
    assert failed.tokens.refresh_token in login.openid.tokens.refresh


async def test_access_token_for_userinfo(login: LoginHarness) -> None:
    user = await without_refresh_token(login)
    login.openid.users["ada"]["groups"] = ["hr-board"]
    confirmed = await login.confirm(user)
    assert (confirmed.groups, confirmed.upstream) == (("hr-board",), user.upstream)
    assert login.openid.count("token") == 1


async def test_access_token_that_has_expired(login: LoginHarness) -> None:
    """The login may go on at the provider, so the session does not end at once."""
    user = await without_refresh_token(login)
    login.openid.end_grants()
    failed = await failure(login, user)
    assert isinstance(failed, LoginUnconfirmable)
    assert failed.tokens == user.upstream


@pytest.mark.parametrize(
    ("status", "is_final"), [(400, True), (401, True), (403, True), (404, False), (429, False), (503, False)]
)
async def test_userinfo_that_does_not_answer_the_access_token(login: LoginHarness, status: int, is_final: bool) -> None:
    user = await without_refresh_token(login)
    login.openid.replies["userinfo"] = replying(Reply(status))
    assert isinstance(await failure(login, user), LoginUnconfirmable) == is_final


async def test_userinfo_that_refuses_a_token_which_a_refresh_gave(login: LoginHarness) -> None:
    """The next refresh gives another one."""
    user = await login.login()
    login.openid.token = {"id_token": None}
    login.openid.replies["userinfo"] = replying(Reply(401))
    failed = await failure(login, user)
    assert isinstance(failed, CheckFailed)
    assert not isinstance(failed, LoginUnconfirmable)


async def test_access_token_when_userinfo_is_not_used_any_more(login: LoginHarness) -> None:
    user = await without_refresh_token(login)
    login.oidc["userinfo"] = "Never"
    assert isinstance(await failure(login, user), LoginUnconfirmable)


@pytest.mark.parametrize("error", ["interaction_required", "login_required", "consent_required"])
async def test_provider_that_wants_to_see_the_user(login: LoginHarness, error: str) -> None:
    user = await login.login()
    login.openid.replies["token"] = replying(reply_json({"error": error}, 400))
    failed = await failure(login, user)
    assert isinstance(failed, LoginUnconfirmable)
    assert failed.tokens == user.upstream


async def test_no_token_to_ask_with(login: LoginHarness) -> None:
    """Nobody has to be there to know it."""
    user = replace(await login.login(), upstream=UpstreamTokens())
    login.openid.replies["metadata"] = replying(Reply(503))
    failed = await failure(login, user)
    assert isinstance(failed, LoginUnconfirmable)
    assert "offline_access" in failed.message


async def test_id_token_of_another_user(login: LoginHarness) -> None:
    user = await login.login()
    login.openid.id_token = {"sub": "eve"}
    with pytest.raises(LoginEnded):
        await login.confirm(user)


async def test_userinfo_of_another_user(login: LoginHarness) -> None:
    user = await without_refresh_token(login)
    login.openid.userinfo = {"sub": "eve"}
    with pytest.raises(LoginEnded):
        await login.confirm(user)


@pytest.mark.parametrize("subject", [None, "", 7, "x" * 256])
async def test_userinfo_without_a_sub(login: LoginHarness, subject: object) -> None:
    """Also where the subject is another claim."""
    login.openid.users["ada"]["oid"] = "7f3a"
    login.claims = ClaimMappings(subject=("oid",))
    user = await without_refresh_token(login)
    login.openid.userinfo = {"sub": subject}
    assert (await failure(login, user)).reason == "AnswerMalformed"


@pytest.mark.parametrize("changes", [{"aud": "another-client"}, {"iss": "https://evil.example"}, {"exp": 1}])
async def test_id_token_is_verified(login: LoginHarness, changes: dict[str, object]) -> None:
    user = await login.login()
    login.openid.id_token = changes
    assert (await failure(login, user)).reason == "AnswerMalformed"


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (reply_json({"error": "invalid_client"}, 401), "Refused"),
        (reply_json({"error": "invalid_request"}, 400), "Refused"),
        (reply_json({"error": "invalid_grant"}, 503), "Unreachable"),
        (Reply(400, b"invalid_grant"), "Refused"),
    ],
)
async def test_only_invalid_grant_ends_a_session(login: LoginHarness, reply: Reply, reason: FailureReason) -> None:
    user = await login.login()
    login.openid.replies["token"] = replying(reply)
    failed = await failure(login, user)
    assert failed.reason == reason
    assert not isinstance(failed, LoginUnconfirmable)


async def test_too_many_groups_now(login: LoginHarness) -> None:
    user = await login.login()
    login.openid.users["ada"]["groups"] = [f"hr-{number}" for number in range(201)]
    with pytest.raises(LoginRefused) as raised:
        await login.confirm(user)
    assert raised.value.reason == "too_many_groups"
    assert raised.value.tokens is not None
    assert raised.value.tokens.refresh_token in login.openid.tokens.refresh


@pytest.mark.parametrize("broken", ["userinfo", "id_token", "mapping"])
async def test_replaced_tokens_outlive_the_failure(login: LoginHarness, broken: str) -> None:
    """The provider has ended the earlier refresh token: without the new one, the next check would end the session."""
    user = await login.login()
    if broken == "userinfo":
        login.openid.claims_in_id_token = False
        login.openid.replies["userinfo"] = replying(Reply(503))
    elif broken == "id_token":
        login.openid.id_token = {"exp": 1}
    else:
        login.claims = ClaimMappings(subject=("oid",))
    failed = await failure(login, user)
    assert isinstance(failed, CheckFailed)
    login.openid.replies.clear()
    login.openid.id_token = {}
    login.claims = ClaimMappings()
    assert (await login.confirm(user, failed.tokens)).subject == user.subject
