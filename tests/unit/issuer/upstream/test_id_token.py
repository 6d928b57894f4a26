"""ID tokens of a provider that are not acceptable (OpenID Connect Core §3.1.3.7)."""

from typing import Any

import pytest
from joserfc.jwk import ECKey, KeyParameters, RSAKey

from scopewright.issuer.upstream.id_token import MAX_ID_TOKEN, parse_id_token
from scopewright.issuer.upstream.login import LoginRefused
from tests.harness.openid_replies import reply_json, replying, signed_with_public_key, unsigned
from tests.unit.issuer.upstream.support import LoginHarness

CLIENT = "scopewright"
NOW = "NOW"
"""In claims: the time of the clock, to which the second of a pair is added."""


def claim(login: LoginHarness, value: Any) -> Any:
    return int(login.clock()) + value[1] if isinstance(value, tuple) and value[0] is NOW else value


async def refused(login: LoginHarness, **request: Any) -> str:
    """The detail of the refusal of an ID token."""
    refusal = await login.refusal(**request)
    assert refusal.reason == "id_token"
    assert refusal.detail.isprintable()
    return refusal.detail


# Claims


@pytest.mark.parametrize(
    "changes",
    [
        {"iss": "https://evil.example"},
        {"iss": None},
        {"iss": ["https://evil.example"]},
        {"aud": "another-client"},
        {"aud": None},
        {"aud": []},
        {"aud": ["another-client"]},
        {"aud": {CLIENT: 1}},
        {"aud": f"{CLIENT} another-client"},
        {"aud": [CLIENT, "another-client"]},
        {"aud": [CLIENT, "another-client"], "azp": "another-client"},
        {"azp": "another-client"},
        {"azp": [CLIENT]},
        {"exp": None},
        {"exp": (NOW, -60)},
        {"exp": "2026-11-30"},
        {"exp": True},
        {"exp": float("1e300")},
        {"iat": None},
        {"iat": (NOW, 61)},
        {"iat": "now"},
        {"nbf": (NOW, 61)},
        {"nbf": "now"},
        {"auth_time": (NOW, 61)},
        {"auth_time": "yesterday"},
        {"nonce": None},
        {"nonce": "another"},
        {"nonce": ["n"]},
        {"nonce": "é"},
        {"at_hash": "another"},
        {"at_hash": 7},
        {"sub": None},
        {"sub": ""},
        {"sub": 7},
        {"sub": "x" * 256},
    ],
    ids=str,
)
async def test_claims_that_are_refused(login: LoginHarness, changes: dict[str, Any]) -> None:
    login.openid.id_token = {name: claim(login, value) for name, value in changes.items()}
    assert await refused(login)


@pytest.mark.parametrize(
    "changes",
    [
        {"aud": [CLIENT]},
        {"aud": [CLIENT], "azp": CLIENT},
        {"aud": [CLIENT, "another-client"], "azp": CLIENT},
        {"exp": (NOW, -59)},
        {"iat": (NOW, 60)},
        {"nbf": (NOW, 60)},
        {"at_hash": None},
        {"auth_time": None},
    ],
    ids=str,
)
async def test_claims_that_are_accepted(login: LoginHarness, changes: dict[str, Any]) -> None:
    login.openid.id_token = {name: claim(login, value) for name, value in changes.items()}
    assert (await login.login()).groups == ("hr-staff",)


# Signature and header


@pytest.mark.parametrize("value", [None, "", 7, "a.b.c", "a.b", "a.b.c.d.e", "x" * (MAX_ID_TOKEN + 1)])
async def test_text_that_is_not_an_id_token(login: LoginHarness, value: object) -> None:
    login.openid.token = {"id_token": value}
    assert await refused(login)


async def test_algorithm_none(login: LoginHarness) -> None:
    login.openid.sign = unsigned
    assert "algorithm" in await refused(login)


async def test_hmac_with_the_public_key(login: LoginHarness) -> None:
    login.openid.sign = signed_with_public_key(login.openid.keys[0])
    assert "algorithm" in await refused(login)


@pytest.mark.parametrize("algorithms", [("ES256", "HS256"), ("ES256", "none")])
async def test_settings_cannot_allow_them(login: LoginHarness, algorithms: tuple[str, ...]) -> None:
    """A record with such an algorithm, which no manifest can have."""
    login.oidc["signing_algorithms"] = algorithms
    login.openid.sign = unsigned if "none" in algorithms else signed_with_public_key(login.openid.keys[0])
    assert "does not publish" in await refused(login)


async def test_algorithm_that_the_settings_do_not_accept(login: LoginHarness) -> None:
    """The provider announces RS256 too, and signs with ES256."""
    login.openid.metadata = {"id_token_signing_alg_values_supported": ["RS256", "ES256"]}
    login.oidc["signing_algorithms"] = ("RS256",)
    assert "signingAlgorithms" in await refused(login)


async def test_key_that_is_not_published(login: LoginHarness) -> None:
    await login.login()
    published = login.openid.keys
    stranger = ECKey.generate_key("P-256", {"kid": str(published[0].kid), "alg": "ES256"}, private=True)

    def sign(header: dict[str, Any], claims: dict[str, Any]) -> str:
        login.openid.keys = [stranger]
        token = login.openid.signed(header, claims)
        login.openid.keys = published
        return token

    login.openid.sign = sign
    assert "signature" in await refused(login)


async def test_changed_claims(login: LoginHarness) -> None:
    def sign(header: dict[str, Any], claims: dict[str, Any]) -> str:
        signed = login.openid.signed(header, claims)
        other = login.openid.signed(header, {**claims, "groups": ["hr-board"]})
        return ".".join([signed.split(".")[0], other.split(".")[1], signed.split(".")[2]])

    login.openid.sign = sign
    assert "signature" in await refused(login)


@pytest.mark.parametrize(
    "header",
    [
        {"typ": "at+jwt"},
        {"typ": "application/at+jwt"},
        {"typ": "logout+jwt"},
        {"typ": "dpop+jwt"},
        {"kid": "unknown"},
        {"kid": ""},
    ],
    ids=str,
)
async def test_header_that_is_refused(login: LoginHarness, header: dict[str, Any]) -> None:
    """As an access token or a logout token of the same provider, which has the same keys."""
    login.openid.header = header
    assert await refused(login)


# Without a kid (OpenID Connect Core §10.1)


def publish(login: LoginHarness, *jwks: dict[str, Any]) -> None:
    login.openid.header = {"kid": None}
    login.openid.replies["jwks"] = replying(reply_json({"keys": list(jwks)}))


def public(key: ECKey | RSAKey, *, has_kid: bool = True) -> dict[str, Any]:
    return {name: value for name, value in key.as_dict(private=False).items() if has_kid or name != "kid"}


def stranger(algorithm: str = "ES256") -> ECKey | RSAKey:
    parameters: KeyParameters = {"kid": "stranger", "alg": algorithm, "use": "sig"}
    if algorithm == "ES256":
        return ECKey.generate_key("P-256", parameters, private=True)
    return RSAKey.generate_key(2048, parameters, private=True)


@pytest.mark.parametrize("has_kid", [True, False])
async def test_token_without_a_kid_is_of_the_only_key(login: LoginHarness, has_kid: bool) -> None:
    publish(login, public(login.openid.keys[0], has_kid=has_kid))
    assert (await login.login()).groups == ("hr-staff",)


async def test_keys_for_other_algorithms_and_uses_do_not_count(login: LoginHarness) -> None:
    key = public(login.openid.keys[0])
    publish(login, public(stranger("RS256")), public(stranger()) | {"use": "enc"}, key)
    assert (await login.login()).groups == ("hr-staff",)


@pytest.mark.parametrize("has_kid", [True, False])
@pytest.mark.parametrize("is_first", [True, False])
async def test_token_without_a_kid_is_refused_if_two_keys_fit(
    login: LoginHarness, has_kid: bool, is_first: bool
) -> None:
    keys = [public(login.openid.keys[0], has_kid=has_kid), public(stranger(), has_kid=has_kid)]
    publish(login, *(keys if is_first else reversed(keys)))
    assert "does not publish" in await refused(login)


@pytest.mark.parametrize("has_kid", [True, False])
async def test_token_without_a_kid_of_another_key(login: LoginHarness, has_kid: bool) -> None:
    publish(login, public(stranger(), has_kid=has_kid))
    assert "does not publish" in await refused(login)


async def test_empty_kid_is_not_that_of_a_key_without_one(login: LoginHarness) -> None:
    publish(login, public(login.openid.keys[0], has_kid=False))
    login.openid.header = {"kid": ""}
    assert "kid" in await refused(login)


async def test_key_without_a_kid_is_fetched_again_when_it_was_replaced(login: LoginHarness) -> None:
    publish(login, public(login.openid.keys[0], has_kid=False))
    await login.login()
    login.openid.rotate()
    publish(login, public(login.openid.keys[0], has_kid=False))
    assert (await login.login()).groups == ("hr-staff",)


@pytest.mark.parametrize("typ", ["JWT", "jwt", "application/jwt"])
async def test_typ_of_an_id_token(login: LoginHarness, typ: str) -> None:
    login.openid.header = {"typ": typ}
    assert (await login.login()).provider == "company"


@pytest.mark.parametrize(
    ("header", "problem"),
    [
        ({"crit": ["exp"], "exp": 1}, "crit"),
        ({"crit": []}, "crit"),
        ({"b64": True}, "b64"),
        ({"typ": 7}, "typ"),
        ({"kid": 7}, "kid"),
    ],
)
def test_header_of_another_meaning(header: dict[str, Any], problem: str) -> None:
    with pytest.raises(LoginRefused, match=problem):
        parse_id_token(unsigned({"kid": "a", **header}, {}), ("none",))


@pytest.mark.parametrize("algorithm", ["RS256", "PS256", "ES256"])
async def test_algorithms(login: LoginHarness, algorithm: str) -> None:
    login.openid.algorithm = algorithm
    login.openid.rotate()
    assert (await login.login()).provider == "company"


# Whose login, and when


@pytest.mark.parametrize(
    ("auth_time", "is_accepted"), [(0, True), (-59, True), (-60, True), (-61, False), (-86400, False), (None, False)]
)
@pytest.mark.parametrize("max_age", [None, 1_000_000])
async def test_fresh_login(
    login: LoginHarness, auth_time: int | None, max_age: int | None, *, is_accepted: bool
) -> None:
    login.openid.id_token = {"auth_time": None if auth_time is None else int(login.clock()) + auth_time}
    if is_accepted:
        assert (await login.login(fresh=True, max_age=max_age)).auth_time == int(login.clock()) + (auth_time or 0)
    else:
        assert (await login.refusal(fresh=True, max_age=max_age)).reason == "login_too_old"


@pytest.mark.parametrize(("auth_time", "is_accepted"), [(-300, True), (-360, True), (-361, False), (None, False)])
async def test_max_age(login: LoginHarness, auth_time: int | None, *, is_accepted: bool) -> None:
    login.openid.id_token = {"auth_time": None if auth_time is None else int(login.clock()) + auth_time}
    if is_accepted:
        await login.login(max_age=300)
    else:
        assert (await login.refusal(max_age=300)).reason == "login_too_old"


async def test_trusted_provider_need_not_say_when(login: LoginHarness) -> None:
    login.oidc["reauthentication"] = "Trusted"
    login.openid.id_token = {"auth_time": None}
    assert (await login.login(fresh=True, max_age=0)).auth_time == int(login.clock())


async def test_trusted_provider_that_says_it_was_long_ago(login: LoginHarness) -> None:
    login.oidc["reauthentication"] = "Trusted"
    login.openid.auth_time = int(login.clock()) - 3600
    assert (await login.refusal(fresh=True)).reason == "login_too_old"


async def test_login_of_unknown_time_meets_no_max_age(login: LoginHarness) -> None:
    login.openid.id_token = {"auth_time": None}
    assert (await login.login()).auth_time == 0


async def test_login_is_not_from_the_future(login: LoginHarness) -> None:
    login.openid.auth_time = int(login.clock()) + 30
    assert (await login.login()).auth_time == int(login.clock())
