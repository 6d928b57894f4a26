"""Which authorization requests are valid, which errors go to the client, and which stay on a page."""

from typing import Any
from urllib.parse import urlencode

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scopewright.core.records.client import RequestedAccess
from scopewright.core.records.issuer import IssuerRecord
from scopewright.issuer.protocol.request import decode_form
from scopewright.issuer.users.authorization_request import (
    AuthorizationRequest,
    RefusedRequest,
    UntrustedRequest,
    read,
)
from tests.harness.samples import ISSUER, PAYROLL, client_record, server_record
from tests.harness.users import (
    CHALLENGE,
    CLIENT_ID,
    REDIRECT_URI,
    delegating_record,
    parameters,
    registry_of,
    web_record,
)

BANK = "https://bank-api.bank.svc"
PAYROLL_ACCESS = RequestedAccess("payroll/payroll-api", ("payroll.read", "payroll.write"))
BANK_ACCESS = RequestedAccess("bank/bank-api", ("bank.pay", "payroll.read"))
LOOPBACK = "http://127.0.0.1/callback"


def two_apis(**changes: Any) -> Any:
    bank = server_record(namespace="bank", name="bank-api", uid="uid-3", audience=BANK, scopes=("bank.pay",))
    return registry_of(delegating_record(), bank, web_record(access=(PAYROLL_ACCESS, BANK_ACCESS), **changes))


def parsed(registry: Any = None, *, raw: str = "", hint: str | None = "u-ada", **changes: Any) -> AuthorizationRequest:
    """Read the request with these changes; `raw` is appended to its query."""
    form = decode_form((urlencode(parameters(**changes)) + raw).encode())
    return read(form, registry or registry_of(), lambda token: hint)


def refused(registry: Any = None, *, raw: str = "", **changes: Any) -> str:
    """The error that is sent to the client, with the state of the request."""
    with pytest.raises(RefusedRequest) as caught:
        parsed(registry, raw=raw, **changes)
    assert caught.value.target.redirect_uri == changes.get("redirect_uri", REDIRECT_URI)
    assert caught.value.description
    return caught.value.error


def untrusted(registry: Any = None, *, raw: str = "", **changes: Any) -> str:
    with pytest.raises(UntrustedRequest) as caught:
        parsed(registry, raw=raw, **changes)
    return caught.value.reason


def test_a_valid_request_is_read_in_full() -> None:
    request = parsed(max_age="60", login_hint="ada", prompt="login consent", dpop_jkt=CHALLENGE)
    assert (request.target.redirect_uri, request.target.state, request.nonce) == (
        REDIRECT_URI,
        "the-state",
        "the-nonce",
    )
    assert (request.scopes, request.access) == (("openid",), (RequestedAccess(*_of_payroll("payroll.read")),))
    assert (request.code_challenge, request.dpop_jkt) == (CHALLENGE, CHALLENGE)
    assert (request.max_age, request.login_hint, request.prompt) == (60, "ada", frozenset(("login", "consent")))
    assert request.interactive
    assert not request.is_native


def _of_payroll(*scopes: str) -> tuple[str, tuple[str, ...]]:
    return "payroll/payroll-api", scopes


# Errors that stay on a page


@pytest.mark.parametrize(
    ("changes", "raw", "reason"),
    [
        ({"client_id": None}, "", "client_id"),
        ({}, "&client_id=hr.hr-web", "client_id"),
        ({"client_id": "hr.unknown"}, "", "unknown_client"),
        ({"client_id": "leave.leave-worker"}, "", "no_login"),
        ({"redirect_uri": None}, "", "redirect_uri_missing"),
        ({"redirect_uri": ""}, "", "redirect_uri_missing"),
        ({}, "&redirect_uri=https%3A%2F%2Fhr.example%2Fcallback", "redirect_uri_missing"),
        ({"redirect_uri": "https://evil.example/"}, "", "redirect_uri_unregistered"),
    ],
)
def test_an_error_before_client_and_redirect_uri_are_certain_is_a_page(
    changes: dict[str, Any], raw: str, reason: str
) -> None:
    registry = registry_of(delegating_record(), web_record(), client_record())
    assert untrusted(registry, raw=raw, **changes) == reason


def test_a_disabled_client_gets_a_page() -> None:
    assert untrusted(registry_of(web_record(disabled=True))) == "disabled"


@pytest.mark.parametrize(
    "uri",
    [
        "https://hr.example/callback/",
        "https://hr.example/callback/../admin",
        "https://hr.example/callback?next=1",
        "https://hr.example/callback#fragment",
        "https://hr.example/callbac",
        "https://hr.example/Callback",
        "https://HR.example/callback",
        "HTTPS://hr.example/callback",
        "https://hr.example:443/callback",
        "https://hr.example/c%61llback",
        "https://hr.example//callback",
        "https://hr.example/callback%00",
        "https://hr.example/callback\n",
        " https://hr.example/callback",
        "https://hr.example.evil.example/callback",
        "https://evil.example/callback?https://hr.example/callback",
        "https://hr.example@evil.example/callback",
        "https://user@hr.example/callback",
        "https://evil.example\\@hr.example/callback",
        "//hr.example/callback",
        "http://hr.example/callback",
        "javascript:alert(1)//https://hr.example/callback",
        "data:text/html,https://hr.example/callback",
        "https://hr.example./callback",
        "https://sub.hr.example/callback",
    ],
)
@pytest.mark.parametrize("public", [False, True])
def test_a_redirect_uri_that_differs_in_a_character_is_never_used(uri: str, public: bool) -> None:
    assert untrusted(registry_of(web_record(public=public)), redirect_uri=uri) == "redirect_uri_unregistered"


@pytest.mark.parametrize(
    "uri",
    ["http://127.0.0.1:8123/callback", "http://127.0.0.1:65535/callback", "http://127.0.0.1/callback"],
)
def test_a_public_client_may_listen_on_any_port_of_its_loopback_address(uri: str) -> None:
    request = parsed(registry_of(web_record(public=True, redirect_uris=(LOOPBACK,))), redirect_uri=uri)
    assert request.target.redirect_uri == uri
    assert request.is_native


@pytest.mark.parametrize(
    "uri",
    [
        "http://127.0.0.1:0/callback",
        "http://127.0.0.1:80/callback",
        "http://127.0.0.1:08123/callback",
        "http://127.0.0.1:65536/callback",
        "http://127.0.0.1:8123/callback/../x",
        "http://127.0.0.1:8123@evil.example/callback",
        "http://127.0.0.1:8123",
        "http://127.0.0.1:8123/other",
        "http://127.0.0.1:8123/callback?x=1",
        "http://127.0.0.1:8123/callback#x",
        "http://127.0.0.2:8123/callback",
        "http://127.1:8123/callback",
        "http://127.0.0.1.evil.example:8123/callback",
        "http://2130706433:8123/callback",
        "http://0x7f000001:8123/callback",
        "http://localhost:8123/callback",
        "http://[::1]:8123/callback",
        "http://[::ffff:127.0.0.1]:8123/callback",
        "https://127.0.0.1:8123/callback",
        "http://127.0.0.1:8123\\callback",
    ],
)
def test_a_loopback_uri_may_differ_in_nothing_but_the_port(uri: str) -> None:
    registry = registry_of(web_record(public=True, redirect_uris=(LOOPBACK,)))
    assert untrusted(registry, redirect_uri=uri) == "redirect_uri_unregistered"


def test_a_confidential_client_has_exactly_one_loopback_port() -> None:
    registry = registry_of(web_record(redirect_uris=(LOOPBACK,)))
    assert untrusted(registry, redirect_uri="http://127.0.0.1:8123/callback") == "redirect_uri_unregistered"
    assert not parsed(registry, redirect_uri=LOOPBACK).is_native


def test_a_private_use_scheme_is_native() -> None:
    uri = "com.example.hr:/callback"
    registry = registry_of(web_record(public=True, redirect_uris=(uri,)))
    assert parsed(registry, redirect_uri=uri).is_native
    assert untrusted(registry, redirect_uri="com.example.hr:/callback/x") == "redirect_uri_unregistered"


# Errors that go to the client


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"response_type": None}, "invalid_request"),
        ({"response_type": "token"}, "unsupported_response_type"),
        ({"response_type": "code id_token"}, "unsupported_response_type"),
        ({"response_type": "none"}, "unsupported_response_type"),
        ({"response_mode": "fragment"}, "invalid_request"),
        ({"response_mode": "form_post"}, "invalid_request"),
        ({"request": "eyJhbGciOiJub25lIn0.e30."}, "request_not_supported"),
        ({"request_uri": "urn:example:1"}, "request_uri_not_supported"),
        ({"prompt": "create"}, "invalid_request"),
        ({"prompt": "none login"}, "invalid_request"),
        ({"max_age": "-1"}, "invalid_request"),
        ({"max_age": "1.5"}, "invalid_request"),
        ({"max_age": "1" * 20}, "invalid_request"),
        ({"max_age": "\N{ARABIC-INDIC DIGIT ONE}"}, "invalid_request"),
        ({"dpop_jkt": "short"}, "invalid_request"),
        ({"dpop_jkt": CHALLENGE + "A"}, "invalid_request"),
        ({"scope": "openid unknown.scope"}, "invalid_scope"),
        ({"scope": "openid", "resource": "https://unknown.example"}, "invalid_target"),
        ({"scope": "payroll.read", "resource": ISSUER}, "invalid_scope"),
    ],
)
def test_an_error_of_a_registered_client_is_sent_to_it(changes: dict[str, Any], error: str) -> None:
    assert refused(**changes) == error


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"scope": "openid payrol.read"}, "scope payrol.read is not"),
        ({"scope": "openid <script>"}, "a scope is not"),
        ({"scope": "a" * 101}, "a scope is not"),
        ({"resource": "https://unknown.example"}, "resource https://unknown.example is unknown"),
        ({"resource": "https://unknown.example/?<script>"}, "a resource is unknown"),
    ],
)
def test_an_error_names_the_unknown_value_unless_it_could_be_markup(changes: dict[str, Any], named: str) -> None:
    with pytest.raises(RefusedRequest) as caught:
        parsed(**changes)
    assert caught.value.description.startswith(named)


def test_the_audited_redirect_uri_is_bounded_and_has_no_query() -> None:
    with pytest.raises(UntrustedRequest) as caught:
        parsed(redirect_uri=f"https://evil.example/{'a' * 500}?code=1")
    assert caught.value.redirect_uri == f"https://evil.example/{'a' * 500}"[:200]


@pytest.mark.parametrize("name", ["state", "nonce", "scope", "code_challenge", "prompt", "response_type", "extra"])
def test_a_repeated_parameter_is_refused(name: str) -> None:
    assert refused(raw=f"&{name}=1&{name}=2") == "invalid_request"


def test_a_repeated_state_is_not_returned() -> None:
    with pytest.raises(RefusedRequest) as caught:
        parsed(raw="&state=other")
    assert caught.value.target.state == ""


def test_a_client_without_the_grant_type_is_refused() -> None:
    assert refused(registry_of(web_record(grant_types=("client_credentials",)))) == "unauthorized_client"


def test_a_client_that_must_push_its_requests_is_refused() -> None:
    assert refused(registry_of(web_record(pushed_requests_required=True))) == "invalid_request"


def test_a_hint_of_another_issuer_is_refused() -> None:
    with pytest.raises(RefusedRequest, match="invalid_request"):
        parsed(hint=None, id_token_hint="ey")
    assert parsed(hint=None).hinted_subject == ""
    assert parsed(id_token_hint="ey").hinted_subject == "u-ada"


# PKCE


@pytest.mark.parametrize(
    "changes",
    [
        {"code_challenge": None, "code_challenge_method": None},
        {"code_challenge": None},
        {"code_challenge_method": None},
        {"code_challenge_method": "plain"},
        {"code_challenge_method": "s256"},
        {"code_challenge": "v" * 42},
        {"code_challenge": "v" * 44},
        {"code_challenge": "v" * 42 + "="},
        {"code_challenge": "v" * 42 + "\n"},
    ],
)
def test_a_request_without_a_challenge_by_s256_is_refused(changes: dict[str, Any]) -> None:
    assert refused(**changes) == "invalid_request"
    assert refused(registry_of(web_record(public=True, pkce_required=False)), **changes) == "invalid_request"


def test_a_confidential_client_may_go_without_pkce_if_it_says_so() -> None:
    registry = registry_of(web_record(pkce_required=False))
    assert parsed(registry, code_challenge=None, code_challenge_method=None).code_challenge == ""
    assert parsed(registry).code_challenge == CHALLENGE
    assert refused(registry, code_challenge=None) == "invalid_request"
    assert refused(registry, code_challenge_method=None) == "invalid_request"
    assert refused(registry, code_challenge_method="plain") == "invalid_request"


@pytest.mark.parametrize("changes", [{}, {"public": True, "credentials": ()}, {"method": "ServiceAccount"}])
def test_the_profile_fapi2_logs_in_through_clients_with_private_key_jwt_only(changes: dict[str, Any]) -> None:
    """The answer is a page: the redirect URI of a client that the profile forbids may be one that it forbids too."""
    record = web_record(**changes)
    assert parsed(registry_of(record)).client.client_id == CLIENT_ID
    assert untrusted(registry_of(record, IssuerRecord(ISSUER, profile="FAPI2"))) == "profile"


def test_the_profile_fapi2_requires_pkce_whatever_the_record_says() -> None:
    """The record may be older than the profile."""
    record = web_record(method="PrivateKeyJWT", pkce_required=False)
    form = decode_form(urlencode(parameters(code_challenge=None, code_challenge_method=None)).encode())
    assert not read(form, registry_of(record), lambda token: None, pushed=True).code_challenge
    with pytest.raises(RefusedRequest, match="invalid_request"):
        read(form, registry_of(record, IssuerRecord(ISSUER, profile="FAPI2")), lambda token: None, pushed=True)


# Scopes and resources


@pytest.mark.parametrize(
    ("scope", "resources", "scopes", "access"),
    [
        ("openid", [], ("openid",), ()),
        ("openid email payroll.write", [], ("openid", "email"), (RequestedAccess(*_of_payroll("payroll.write")),)),
        (None, [], (), (PAYROLL_ACCESS, BANK_ACCESS)),
        ("openid", [PAYROLL], ("openid",), (PAYROLL_ACCESS,)),
        ("openid", [ISSUER], ("openid",), ()),
        ("openid", [ISSUER, BANK], ("openid",), (BANK_ACCESS,)),
        (None, [BANK, PAYROLL], (), (BANK_ACCESS, PAYROLL_ACCESS)),
        ("bank.pay", [BANK], (), (RequestedAccess("bank/bank-api", ("bank.pay",)),)),
        (
            "payroll.read",
            [],
            (),
            (RequestedAccess(*_of_payroll("payroll.read")), RequestedAccess("bank/bank-api", ("payroll.read",))),
        ),
    ],
)
def test_scopes_and_resources_select_from_the_manifest(
    scope: str | None, resources: list[str], scopes: tuple[str, ...], access: tuple[RequestedAccess, ...]
) -> None:
    request = parsed(two_apis(), scope=scope, raw="".join(f"&{urlencode({'resource': r})}" for r in resources))
    assert (request.scopes, request.access) == (scopes, access)


def test_a_scope_of_another_api_than_the_resource_is_refused() -> None:
    assert refused(two_apis(), scope="bank.pay", resource=PAYROLL) == "invalid_scope"


def test_offline_access_is_ignored_without_refresh_tokens() -> None:
    registry = registry_of(delegating_record(), web_record(grant_types=("authorization_code",)))
    assert parsed(registry, scope="openid offline_access").scopes == ("openid",)
    assert parsed(scope="openid offline_access").scopes == ("openid", "offline_access")


def test_a_request_for_nothing_is_refused() -> None:
    assert refused(registry_of(web_record(access=())), scope=None) == "invalid_scope"


# What is accepted


@pytest.mark.parametrize("name", ["display", "claims_locales", "claims", "extra"])
def test_parameters_without_effect_are_accepted(name: str) -> None:
    registry = registry_of()
    assert parsed(registry, raw=f"&{name}=page") == parsed(registry)


def test_what_is_for_the_provider_is_kept() -> None:
    request = parsed(acr_values="urn:mfa silver", ui_locales="el de")
    assert (request.acr_values, request.ui_locales) == ("urn:mfa silver", "el de")


@pytest.mark.parametrize("length", [128, 384, 1000])
def test_state_and_nonce_are_never_cut(length: int) -> None:
    state, nonce = "s+/=&\N{GREEK SMALL LETTER OMEGA}" + "s" * length, "n%~'" + "n" * length
    request = parsed(state=state, nonce=nonce)
    assert (request.target.state, request.nonce) == (state, nonce)


# Whatever is sent

NAMES = st.sampled_from(
    [*parameters(), "request", "request_uri", "prompt", "max_age", "resource", "response_mode", "x"]
)
URIS = st.sampled_from([REDIRECT_URI, LOOPBACK, "https://evil.example/"]) | st.builds(
    lambda base, more: base + more, st.sampled_from([REDIRECT_URI, LOOPBACK, "http://127.0.0.1:"]), st.text(max_size=20)
)
REGISTERED = (REDIRECT_URI, LOOPBACK)
REGISTRIES = {
    public: registry_of(delegating_record(), web_record(public=public, redirect_uris=REGISTERED))
    for public in (False, True)
}
VALUES = st.sampled_from([*parameters().values(), "none", ISSUER]) | URIS | st.text(max_size=40)


@settings(max_examples=300, deadline=None)
@given(
    changes=st.dictionaries(NAMES, VALUES, max_size=6),
    uri=URIS,
    more=st.lists(st.tuples(NAMES, VALUES), max_size=3),
    public=st.booleans(),
)
def test_no_request_is_answered_anywhere_but_at_a_registered_uri(
    changes: dict[str, str], uri: str, more: list[tuple[str, str]], public: bool
) -> None:
    query = urlencode([*{**parameters(redirect_uri=uri), **changes}.items(), *more], errors="surrogatepass")
    try:
        form = decode_form(query.encode())
    except Exception as error:
        assert type(error).__name__ == "OAuthError"  # noqa: PT017  # it is a page
        return
    try:
        target = read(form, REGISTRIES[public], lambda token: None).target
    except RefusedRequest as error:
        target = error.target
    except UntrustedRequest:
        return
    assert target.client.client_id == CLIENT_ID
    scheme, _, rest = target.redirect_uri.partition("127.0.0.1:")
    port, _, path = rest.partition("/")
    is_loopback = public and scheme == "http://" and port.isascii() and port.isdigit() and path == "callback"
    assert target.redirect_uri in REGISTERED or is_loopback
