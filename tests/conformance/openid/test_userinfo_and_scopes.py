"""Basic OP: userinfo, and what each scope adds to it."""

import httpx

from tests.conformance.openid.suite import Suite


def test_oidcc_userinfo_get(suite: Suite) -> None:
    tokens = suite.log_in(scope="openid profile")
    claims = suite.userinfo(tokens)
    assert claims["sub"] == tokens.claims["sub"]
    for name in {"name", "given_name", "family_name", "preferred_username", "picture", "locale"} & claims.keys():
        assert isinstance(claims[name], str)
    assert isinstance(claims.get("updated_at", 0), int)


def test_oidcc_userinfo_post_header(suite: Suite) -> None:
    tokens = suite.log_in()
    assert suite.userinfo(tokens, "POST") == suite.userinfo(tokens)


def test_oidcc_userinfo_post_body(suite: Suite) -> None:
    """RFC 6750 §2.2; a token in the URL (§2.3) is refused."""
    tokens = suite.log_in()
    url = suite.client.metadata()["userinfo_endpoint"]
    in_body = httpx.post(url, data={"access_token": tokens.access_token})
    assert (in_body.status_code, in_body.json()) == (200, suite.userinfo(tokens))
    in_url = httpx.get(url, params={"access_token": tokens.access_token})
    assert in_url.status_code == 401
    assert in_url.headers["WWW-Authenticate"].startswith("Bearer")


def test_oidcc_scope_profile(suite: Suite) -> None:
    """The suite warns of the standard claims that a user of `users.yaml` does not have."""
    tokens = suite.log_in(scope="openid profile")
    claims = suite.userinfo(tokens)
    assert claims["name"] == "Ada Lovelace"
    assert "email" not in claims
    assert "groups" not in claims


def test_oidcc_scope_email(suite: Suite) -> None:
    tokens = suite.log_in(scope="openid email")
    claims = suite.userinfo(tokens)
    assert claims["email"] == "ada@hr.example"
    assert isinstance(claims["email_verified"], bool)
    assert "name" not in claims


def test_oidcc_scope_address(suite: Suite) -> None:
    """No user of `users.yaml` has an address: the scope is granted and empty, which the suite warns of."""
    assert suite.userinfo(suite.log_in(scope="openid address")).keys() == {"sub"}


def test_oidcc_scope_phone(suite: Suite) -> None:
    """As for addresses."""
    assert suite.userinfo(suite.log_in(scope="openid phone")).keys() == {"sub"}


def test_oidcc_scope_all(suite: Suite) -> None:
    tokens = suite.log_in(scope="openid profile email address phone groups")
    claims = suite.userinfo(tokens)
    assert (claims["name"], claims["email"]) == ("Ada Lovelace", "ada@hr.example")
    assert set(claims["groups"]) == {"hr-staff", "hr-managers"}


def test_every_scope_of_the_metadata_is_accepted(suite: Suite) -> None:
    metadata = suite.client.metadata()
    openid = {"openid", "profile", "email", "address", "phone", "groups"}
    suite.log_in(scope=" ".join(sorted(openid & set(metadata["scopes_supported"]))))
