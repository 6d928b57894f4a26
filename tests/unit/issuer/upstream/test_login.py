"""A login at a provider: the authorization request, the code, and the user."""

from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from scopewright.core.users import subject_of
from scopewright.issuer.upstream.authenticated_user import AuthenticatedUser
from scopewright.issuer.upstream.response import MAX_CODE
from scopewright.upstream import UpstreamFailed
from tests.harness.openid_replies import Reply, reply_json, replying
from tests.unit.issuer.upstream.support import REDIRECT_URI, LoginHarness, new_request

CHALLENGE = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"
VERIFIER = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
"""Of RFC 7636, Appendix B."""


async def parameters_of(login: LoginHarness, **request: Any) -> dict[str, str]:
    query = parse_qs(urlsplit(await login.url(**request)).query, strict_parsing=True)
    assert all(len(values) == 1 for values in query.values())
    return {name: values[0] for name, values in query.items()}


# The authorization request


async def test_authorization_request(login: LoginHarness) -> None:
    login.oidc["scopes"] = ("profile", "openid", "groups")
    parameters = await parameters_of(login, state="s", nonce="n", code_verifier=VERIFIER)
    assert parameters == {
        "response_type": "code",
        "client_id": login.openid.client_id,
        "redirect_uri": REDIRECT_URI,
        "scope": "openid profile groups",
        "state": "s",
        "nonce": "n",
        "code_challenge": CHALLENGE,
        "code_challenge_method": "S256",
        "max_age": "315360000",
    }


async def test_optional_parameters(login: LoginHarness) -> None:
    optional = {"login_hint": "ada@hr.example", "acr_values": "a b", "ui_locales": "de fr"}
    parameters = await parameters_of(login, max_age=60, prompt=("select_account",), **optional)
    assert parameters.items() >= {**optional, "max_age": "60", "prompt": "select_account"}.items()


async def test_max_age_of_zero_is_sent(login: LoginHarness) -> None:
    assert (await parameters_of(login, max_age=0))["max_age"] == "0"


@pytest.mark.parametrize("prompt", [(), ("select_account",), ("login", "select_account")])
async def test_fresh_login_asks_the_user_again(login: LoginHarness, prompt: tuple[str, ...]) -> None:
    sent = (await parameters_of(login, fresh=True, prompt=prompt))["prompt"].split()
    assert sorted(sent) == sorted({"login", *prompt})


@pytest.mark.parametrize(
    ("supported", "fresh", "prompt", "max_age"),
    [
        (["none", "consent", "select_account"], True, "select_account", "0"),
        (["none", "consent", "select_account"], False, "select_account", "315360000"),
        (["none"], True, None, "0"),
        (["none", "login"], True, "login", "315360000"),
    ],
)
async def test_prompt_has_only_what_the_provider_accepts(
    login: LoginHarness, supported: list[str], fresh: bool, prompt: str | None, max_age: str
) -> None:
    """A login for another user, who need not be fresh, is asked for by prompt=login too."""
    login.openid.metadata = {"prompt_values_supported": supported}
    parameters = await parameters_of(login, fresh=fresh, prompt=("login",))
    assert (parameters.get("prompt"), parameters["max_age"]) == (prompt, max_age)


async def test_login_at_a_provider_without_prompt_login_must_be_proven_as_fresh(login: LoginHarness) -> None:
    login.openid.metadata = {"prompt_values_supported": ["none", "select_account"]}
    assert (await login.login(fresh=True)).auth_time == int(login.clock())
    login.openid.auth_time = int(login.clock()) - 3600
    assert (await login.refusal(fresh=True)).reason == "login_too_old"


async def test_trusted_provider_is_not_asked_for_auth_time(login: LoginHarness) -> None:
    login.oidc["reauthentication"] = "Trusted"
    assert "max_age" not in await parameters_of(login)


@pytest.mark.parametrize("fresh", [False, True])
async def test_refresh_token_is_asked_for_as_google_wants(login: LoginHarness, fresh: bool) -> None:
    login.oidc["offline_access"] = "AccessType"
    parameters = await parameters_of(login, fresh=fresh)
    assert parameters["access_type"] == "offline"
    assert parameters["prompt"] == ("login consent" if fresh else "consent")


async def test_consent_of_the_provider_is_its_own_matter_by_default(login: LoginHarness) -> None:
    assert not {"access_type", "prompt"} & (await parameters_of(login)).keys()


async def test_query_of_the_endpoint_stays(login: LoginHarness) -> None:
    login.openid.metadata = {"authorization_endpoint": f"{login.openid.issuer}/authorize?tenant=a%20b"}
    parameters = await parameters_of(login)
    assert parameters["tenant"] == "a b"
    assert parameters["response_type"] == "code"


# The user


async def test_user_of_a_login(login: LoginHarness) -> None:
    user = await login.login()
    assert user == AuthenticatedUser(
        subject=subject_of("https://company.example", "ada"),
        provider="company",
        provider_uid="uid-of-company",
        groups=("hr-staff",),
        auth_time=int(login.clock()),
        claims={"name": "Ada Lovelace", "preferred_username": "ada"},
        upstream=user.upstream,
    )
    assert user.upstream is not None
    assert user.upstream.refresh_token in login.openid.tokens.refresh


async def test_secrets_are_not_in_texts(login: LoginHarness) -> None:
    user = await login.login()
    assert user.upstream is not None
    shown = repr(user) + repr(login.provider) + repr(new_request(login.clock, code_verifier=VERIFIER))
    assert user.upstream.refresh_token not in shown
    assert VERIFIER not in shown
    assert login.openid.client_secret not in shown


@pytest.mark.parametrize("methods", [["client_secret_basic"], ["client_secret_post"]])
async def test_authentication_with_the_client_secret(login: LoginHarness, methods: list[str]) -> None:
    login.openid.metadata = {"token_endpoint_auth_methods_supported": methods}
    await login.login()
    request = login.openid.last("token")
    is_basic = methods == ["client_secret_basic"]
    assert ("authorization" in request.headers) == is_basic
    assert ("client_secret" in request.parameters) == (not is_basic)


async def test_public_client(login: LoginHarness) -> None:
    login.openid.client_secret = ""
    await login.login()
    request = login.openid.last("token")
    assert "authorization" not in request.headers
    assert "client_secret" not in request.parameters
    assert request.parameters["client_id"] == login.openid.client_id


async def test_client_secret_that_the_provider_does_not_accept(login: LoginHarness) -> None:
    login.openid.metadata = {"token_endpoint_auth_methods_supported": ["none"]}
    assert (await login.failure()).reason == "Refused"
    assert login.openid.count("token") == 0


async def test_wrong_client_secret(login: LoginHarness) -> None:
    request = new_request(login.clock)
    answer = login.openid.answer(await login.logins.authorization_url(login.provider, request))
    provider = login.provider
    login.openid.client_secret = "another"
    with pytest.raises(UpstreamFailed) as raised:
        await login.logins.redeem(provider, request, answer)
    assert raised.value.reason == "Refused"
    assert "client secret" in raised.value.message
    assert ("token", "Refused") in login.observed


# The authorization response


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        ("access_denied", "provider_denied"),
        ("login_required", "provider_denied"),
        ("server_error", "provider_error"),
        ("invalid_scope", "provider_error"),
        ("x" * 10_000, "provider_error"),
    ],
)
async def test_error_of_the_provider(login: LoginHarness, error: str, reason: str) -> None:
    login.openid.response = {"error": error, "code": None}
    refused = await login.refusal()
    assert refused.reason == reason
    assert len(refused.detail) < 200
    assert login.openid.count("token") == 0


async def test_control_characters_of_an_error_do_not_reach_the_log(login: LoginHarness) -> None:
    login.openid.response = {"error": "a\r\nuser=admin\x1b[0m"}
    assert (await login.refusal()).detail.isprintable()


@pytest.mark.parametrize("issuer", [None, "", "https://evil.example", "http://127.0.0.1"])
async def test_response_of_another_provider(login: LoginHarness, issuer: str | None) -> None:
    """Mix-up (RFC 9207): the code of another provider is not sent to this one."""
    login.openid.response = {"iss": issuer}
    assert (await login.refusal()).reason == "response_iss"
    assert login.openid.count("token") == 0


async def test_iss_of_an_error_is_checked_too(login: LoginHarness) -> None:
    login.openid.response = {"iss": "https://evil.example", "error": "access_denied"}
    assert (await login.refusal()).reason == "response_iss"


async def test_provider_that_sends_no_iss(login: LoginHarness) -> None:
    login.openid.metadata = {"authorization_response_iss_parameter_supported": None}
    login.openid.response = {"iss": None}
    assert (await login.login()).provider == "company"


async def test_wrong_iss_of_a_provider_that_need_not_send_it(login: LoginHarness) -> None:
    login.openid.metadata = {"authorization_response_iss_parameter_supported": None}
    login.openid.response = {"iss": "https://evil.example"}
    assert (await login.refusal()).reason == "response_iss"


@pytest.mark.parametrize("code", [None, "", "x" * (MAX_CODE + 1), "unknown"])
async def test_wrong_code(login: LoginHarness, code: str | None) -> None:
    login.openid.response = {"code": code}
    assert (await login.refusal()).reason == "code"


async def test_code_is_bound_to_the_browsers_attempt(login: LoginHarness) -> None:
    """A code of another attempt is not redeemed, because the verifier differs (PKCE)."""
    stolen = login.openid.answer(await login.url())
    login.openid.response = {"code": stolen["code"]}
    assert (await login.refusal()).reason == "code"


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (reply_json({"error": "invalid_request"}, 400), "Refused"),
        (Reply(403, b"<html>"), "Refused"),
        (reply_json({"error": "x"}, 500), "Unreachable"),
        (Reply(200, b"<html>"), "AnswerMalformed"),
        (Reply(200, b'{"id_token": "a", "id_token": "b"}'), "AnswerMalformed"),
        (Reply(302, headers={"Location": "/"}), "Refused"),
    ],
)
async def test_token_endpoint_that_does_not_work(login: LoginHarness, reply: Reply, reason: str) -> None:
    login.openid.replies["token"] = replying(reply)
    assert (await login.failure()).reason == reason
    assert login.openid.client_secret not in (await login.failure()).message


# Tokens that are kept


async def test_access_token_is_kept_for_userinfo(login: LoginHarness) -> None:
    login.openid.with_refresh_token = False
    user = await login.login()
    assert user.upstream is not None
    assert user.upstream.refresh_token == ""
    assert user.upstream.access_token in login.openid.tokens.access


@pytest.mark.parametrize("without", [{"userinfo_endpoint": None}, "Never"])
async def test_access_token_without_userinfo_is_not_kept(login: LoginHarness, without: Any) -> None:
    login.openid.with_refresh_token = False
    if without == "Never":
        login.oidc["userinfo"] = "Never"
    else:
        login.openid.metadata = without
    user = await login.login()
    assert user.upstream is not None
    assert (user.upstream.refresh_token, user.upstream.access_token) == ("", "")


@pytest.mark.parametrize("token", ["x" * 4097, "a b", "a\r\nb", "", 7, "é"])
@pytest.mark.parametrize("name", ["refresh_token", "access_token"])
async def test_token_that_cannot_be_stored_or_sent(login: LoginHarness, name: str, token: object) -> None:
    login.openid.with_refresh_token = False
    login.openid.token = {name: token}
    login.openid.id_token = {"at_hash": None}
    user = await login.login()
    assert user.upstream is not None
    assert getattr(user.upstream, name) == ""


async def test_token_that_is_not_a_bearer_token_is_not_sent(login: LoginHarness) -> None:
    login.openid.with_refresh_token = False
    login.openid.token = {"token_type": "DPoP"}
    login.openid.id_token = {"at_hash": None}
    user = await login.login()
    assert user.upstream is not None
    assert user.upstream.access_token == ""
