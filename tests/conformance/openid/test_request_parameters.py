"""Basic OP: parameters of the authorization request that are used, ignored or refused."""

import json
from base64 import urlsafe_b64encode

from tests.conformance.openid.suite import Suite
from tests.harness.login_issuer import LoginIssuer

ELSEWHERE = "https://elsewhere.hr.example/callback"


def unsigned(claims: dict[str, str]) -> str:
    """A request object with the algorithm `none` (RFC 9101)."""
    parts = ({"alg": "none"}, claims)
    return ".".join(urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode() for part in parts) + "."


def test_oidcc_response_type_missing(suite: Suite) -> None:
    assert suite.error(response_type=None) == "invalid_request"


def test_other_response_types_are_refused(suite: Suite) -> None:
    """Nothing is returned in a fragment: no implicit and no hybrid flow."""
    for response_type in ("token", "id_token", "code id_token", "none"):
        assert suite.error(response_type=response_type) == "unsupported_response_type"


def test_oidcc_display_page(suite: Suite) -> None:
    suite.log_in(display="page")


def test_oidcc_display_popup(suite: Suite) -> None:
    suite.log_in(display="popup")


def test_oidcc_login_hint(suite: Suite) -> None:
    suite.log_in(login_hint="buffy@suite.hr.example")


def test_oidcc_ui_locales(suite: Suite) -> None:
    suite.log_in(ui_locales="se")


def test_oidcc_claims_locales(suite: Suite) -> None:
    suite.log_in(claims_locales="se")


def test_oidcc_ensure_request_with_acr_values_succeeds(suite: Suite) -> None:
    """The developer login has no `acr`, which the suite warns of."""
    assert "acr" not in suite.log_in(acr_values="1 2").claims


def test_oidcc_claims_essential(suite: Suite) -> None:
    """`claims` is not supported and ignored. The suite warns that userinfo has no `name`."""
    tokens = suite.log_in(claims='{"userinfo":{"name":{"essential":true}}}')
    assert "name" not in tokens.claims
    assert "name" not in suite.userinfo(tokens)


def test_oidcc_unsigned_request_object_supported_correctly_or_rejected_as_unsupported(suite: Suite) -> None:
    """The suite skips the module after this error."""
    request = unsigned(suite.client.request().parameters)
    assert suite.error(request=request) == "request_not_supported"


def test_oidcc_request_uri_unsigned_supported_correctly_or_rejected_as_unsupported(suite: Suite) -> None:
    """A module for registered clients only; `request_uri` is kept for pushed requests (RFC 9126)."""
    assert suite.error(request_uri=f"{ELSEWHERE}/request.jwt") == "request_uri_not_supported"


def test_oidcc_ensure_registered_redirect_uri(suite: Suite) -> None:
    page = suite.error_page(suite.client.request(redirect_uri=ELSEWHERE).url)
    assert "redirect_uri" in page.texts["error-description"]


def test_dev_prints_what_an_error_page_hides(suite: Suite, provider: LoginIssuer) -> None:
    """The page has an id; beside it, the terminal has the reason and the URI, on one line."""
    page = suite.error_page(suite.client.request(redirect_uri=f"{ELSEWHERE}\n\x1b[31m").url)
    [line] = [line for line in provider.printed().splitlines() if page.texts["error-id"] in line]
    assert 'reason "redirect_uri_unregistered", client "hr.suite"' in line
    assert f'redirect_uri "{ELSEWHERE}??[31m"' in line


def test_oidcc_ensure_request_object_with_redirect_uri(suite: Suite) -> None:
    """The URI beside the request object is what counts, and is not registered."""
    request = unsigned(suite.client.request().parameters)
    page = suite.error_page(suite.client.request(redirect_uri=ELSEWHERE, request=request).url)
    assert "redirect_uri" in page.texts["error-description"]
