"""The metadata of a provider."""

from typing import Any

import pytest

from scopewright.upstream import FailureReason, UpstreamFailed
from scopewright.upstream.discovery import ProviderMetadata, metadata_url, parse_metadata

ISSUER = "https://login.example/realms/hr"
DOCUMENT: dict[str, Any] = {
    "issuer": ISSUER,
    "authorization_endpoint": "https://login.example/authorize?tenant=1",
    "token_endpoint": "https://login.example/token",
    "jwks_uri": "https://keys.example/jwks",
    "response_types_supported": ["code", "id_token"],
    "id_token_signing_alg_values_supported": ["HS256", "none", "ES256", "RS256"],
}


def parse(algorithms: tuple[str, ...] = ("RS256", "PS256", "ES256"), **changes: Any) -> ProviderMetadata:
    """Of DOCUMENT with these changes; None removes a member."""
    document = {name: value for name, value in {**DOCUMENT, **changes}.items() if value is not None}
    return parse_metadata(document, ISSUER, algorithms, allow_loopback=False)


def failure(**changes: Any) -> UpstreamFailed:
    with pytest.raises(UpstreamFailed) as raised:
        parse(**changes)
    return raised.value


@pytest.mark.parametrize(
    ("issuer", "url"),
    [
        ("https://login.example", "https://login.example/.well-known/openid-configuration"),
        ("https://login.example/", "https://login.example/.well-known/openid-configuration"),
        (ISSUER, "https://login.example/realms/hr/.well-known/openid-configuration"),
        ("https://login.example/a/", "https://login.example/a/.well-known/openid-configuration"),
    ],
)
def test_url_of_the_metadata(issuer: str, url: str) -> None:
    assert metadata_url(issuer) == url


def test_smallest_document() -> None:
    assert parse() == ProviderMetadata(
        issuer=ISSUER,
        authorization_endpoint="https://login.example/authorize?tenant=1",
        token_endpoint="https://login.example/token",
        jwks_uri="https://keys.example/jwks",
        signing_algorithms=("RS256", "ES256"),
        secret_method="client_secret_basic",
        userinfo_endpoint="",
        sends_iss=False,
    )


def test_optional_members() -> None:
    metadata = parse(
        userinfo_endpoint="https://login.example/userinfo",
        authorization_response_iss_parameter_supported=True,
        code_challenge_methods_supported=["plain", "S256"],
        prompt_values_supported=["none", "login"],
    )
    assert metadata.prompts == ("none", "login")
    assert metadata.userinfo_endpoint == "https://login.example/userinfo"
    assert metadata.sends_iss


@pytest.mark.parametrize(
    "issuer", [None, "", ISSUER + "/", ISSUER.upper(), "https://login.example", "https://evil.example", 7, [ISSUER]]
)
def test_metadata_of_another_issuer(issuer: object) -> None:
    assert failure(issuer=issuer).reason == "IssuerMismatch"


def test_text_of_the_provider_is_cut_and_escaped() -> None:
    message = failure(issuer="\n" + "x" * 10_000).message
    assert "\n" not in message
    assert len(message) < 500


@pytest.mark.parametrize("name", ["authorization_endpoint", "token_endpoint", "jwks_uri"])
@pytest.mark.parametrize(
    ("url", "reason"),
    [
        (None, "AnswerMalformed"),
        (["https://login.example/"], "AnswerMalformed"),
        ("/token", "AnswerMalformed"),
        ("javascript:alert(1)", "AnswerMalformed"),
        ("http://login.example/", "AddressNotAllowed"),
        ("http://127.0.0.1/", "AddressNotAllowed"),
    ],
)
def test_endpoint_that_is_needed(name: str, url: object, reason: FailureReason) -> None:
    failed = failure(**{name: url})
    assert failed.reason == reason
    assert name in failed.message


def test_endpoint_that_is_optional() -> None:
    assert failure(userinfo_endpoint="http://login.example/").reason == "AddressNotAllowed"
    assert failure(userinfo_endpoint="").reason == "AnswerMalformed"


def test_endpoint_that_is_not_used_is_not_checked() -> None:
    assert parse(end_session_endpoint="http://login.example/")


@pytest.mark.parametrize(
    "changes",
    [
        {"response_types_supported": ["id_token"]},
        {"response_types_supported": None},
        {"code_challenge_methods_supported": ["plain"]},
        {"id_token_signing_alg_values_supported": ["HS256", "none"]},
        {"id_token_signing_alg_values_supported": None},
        {"token_endpoint_auth_methods_supported": ["private_key_jwt", "tls_client_auth"]},
    ],
)
def test_provider_that_does_not_support_what_is_needed(changes: dict[str, Any]) -> None:
    assert failure(**changes).reason == "AlgorithmNotSupported"


@pytest.mark.parametrize(
    "changes",
    [
        {"response_types_supported": "code"},
        {"code_challenge_methods_supported": [7]},
        {"id_token_signing_alg_values_supported": ["RS256"] * 201},
        {"token_endpoint_auth_methods_supported": {"none": 1}},
        {"prompt_values_supported": "login"},
    ],
)
def test_list_of_another_shape(changes: dict[str, Any]) -> None:
    assert failure(**changes).reason == "AnswerMalformed"


@pytest.mark.parametrize(
    ("methods", "expected"),
    [
        (["client_secret_post", "client_secret_basic"], "client_secret_basic"),
        (["private_key_jwt", "client_secret_post"], "client_secret_post"),
        (["none", "private_key_jwt"], None),
    ],
)
def test_authentication_with_a_secret(methods: list[str], expected: str | None) -> None:
    assert parse(token_endpoint_auth_methods_supported=methods).secret_method == expected
