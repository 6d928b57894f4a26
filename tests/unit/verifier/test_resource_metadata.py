"""Protected resource metadata (RFC 9728): the document, its URL, and which requests are for it."""

import json
from typing import Any

import pytest

from scopewright.verifier import AnyIssuer, ResourceMetadata, Verifier
from scopewright.verifier.resource_metadata import metadata_of
from tests.unit.verifier.support import AUDIENCE, ISSUER

WELL_KNOWN = "/.well-known/oauth-protected-resource"


def members(metadata: ResourceMetadata) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(metadata.document())
    return document


@pytest.mark.parametrize(
    ("audience", "path"),
    [
        ("https://payroll.hr.example", WELL_KNOWN),
        ("https://payroll.hr.example/", WELL_KNOWN),
        ("https://hr.example:8443/payroll", f"{WELL_KNOWN}/payroll"),
        ("https://hr.example/payroll/v1", f"{WELL_KNOWN}/payroll/v1"),
        ("https://hr.example/payroll/", f"{WELL_KNOWN}/payroll/"),
        ("https://hr.example/p%C3%A9", f"{WELL_KNOWN}/p%C3%A9"),
        ("http://127.0.0.1:8080/mcp", f"{WELL_KNOWN}/mcp"),
        ("http://[::1]:8080/mcp", f"{WELL_KNOWN}/mcp"),
    ],
)
def test_well_known_path_is_inserted_between_host_and_path(audience: str, path: str) -> None:
    metadata = ResourceMetadata.of(audience, ISSUER)
    assert metadata.path == path
    origin = "/".join(audience.split("/")[:3])
    assert metadata.url == origin + path


@pytest.mark.parametrize(
    "audience",
    [
        "payroll",
        "urn:payroll",
        "",
        "ftp://hr.example/",
        "https://",
        "https:///payroll",
        "https://hr.example/payroll?tenant=a",
        "https://hr.example/payroll#a",
        "https://user@hr.example/payroll",
        "https://hr.example:0/payroll",
        "https://hr.example/../payroll",
        "https://hr.example/a/%2e%2E/payroll",
        "https://hr.example/a%2Fb",
        "https://hr.example/ä",
        'https://hr.example/"',
        "https://hr.example/a b",
        "https://hr.example\\payroll",
    ],
)
def test_audience_that_no_client_could_compare_with_a_url_is_refused(audience: str) -> None:
    with pytest.raises(ValueError, match="has no protected resource metadata"):
        ResourceMetadata.of(audience, ISSUER)


def test_document_has_the_audience_and_the_issuer_unchanged() -> None:
    """Both are compared as strings (§3.3, RFC 8414 §3.3)."""
    metadata = ResourceMetadata.of("https://HR.example/Payroll", "https://Issuer.example/")
    assert members(metadata) == {
        "resource": "https://HR.example/Payroll",
        "authorization_servers": ["https://Issuer.example/"],
        "bearer_methods_supported": ["header"],
    }


def test_document_has_all_members_that_were_passed() -> None:
    metadata = ResourceMetadata.of(
        AUDIENCE,
        [ISSUER, "https://other.example"],
        scopes=["payroll.write", "payroll.read", "payroll.read"],
        bearer_methods=["query", "header"],
        dpop_bound_access_tokens_required=True,
        dpop_signing_alg_values_supported=["EdDSA", "ES256"],
        resource_name="Payroll",
        resource_documentation="https://docs.hr.example/payroll",
    )
    assert members(metadata) == {
        "resource": AUDIENCE,
        "authorization_servers": [ISSUER, "https://other.example"],
        "scopes_supported": ["payroll.read", "payroll.write"],
        "bearer_methods_supported": ["header", "query"],
        "dpop_signing_alg_values_supported": ["ES256", "EdDSA"],
        "dpop_bound_access_tokens_required": True,
        "resource_name": "Payroll",
        "resource_documentation": "https://docs.hr.example/payroll",
    }


@pytest.mark.parametrize(
    "wrong",
    [
        {"issuer": []},
        {"issuer": "https://issuer.example?x=1"},
        {"scopes": ["a b"]},
        {"bearer_methods": ["cookie"]},
        {"dpop_signing_alg_values_supported": ["HS256"]},
    ],
)
def test_members_that_the_standard_does_not_know_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"issuer|scope|bearer_methods|dpop_signing"):
        ResourceMetadata.of(AUDIENCE, **{"issuer": ISSUER} | wrong)


def test_response_is_json_that_every_origin_may_read() -> None:
    metadata = ResourceMetadata.of(AUDIENCE, ISSUER)
    assert dict(metadata.headers()) == {
        "Content-Type": "application/json",
        "Content-Length": str(len(metadata.document())),
        "Cache-Control": "public, max-age=300",
        "Access-Control-Allow-Origin": "*",
    }


@pytest.mark.parametrize(
    ("method", "path", "expected"),
    [
        ("GET", f"{WELL_KNOWN}/p\N{LATIN SMALL LETTER E WITH ACUTE}", True),
        ("HEAD", f"{WELL_KNOWN}/p\N{LATIN SMALL LETTER E WITH ACUTE}/", True),
        ("POST", f"{WELL_KNOWN}/p\N{LATIN SMALL LETTER E WITH ACUTE}", False),
        ("OPTIONS", f"{WELL_KNOWN}/p\N{LATIN SMALL LETTER E WITH ACUTE}", False),
        ("GET", WELL_KNOWN, False),
        ("GET", f"{WELL_KNOWN}/P\N{LATIN SMALL LETTER E WITH ACUTE}", False),
        ("GET", f"{WELL_KNOWN}/p\N{LATIN SMALL LETTER E WITH ACUTE}//", False),
        ("GET", f"{WELL_KNOWN}/p\N{LATIN SMALL LETTER E WITH ACUTE}/salaries", False),
        ("GET", f"/x{WELL_KNOWN}/p\N{LATIN SMALL LETTER E WITH ACUTE}", False),
        ("GET", None, False),
    ],
)
def test_only_get_and_head_of_the_exact_path_are_for_the_document(
    method: str, path: str | None, expected: bool
) -> None:
    metadata = ResourceMetadata.of("https://hr.example/p%C3%A9", ISSUER)
    assert metadata.answers(method, path) is expected


def test_true_describes_the_verifier() -> None:
    verifier = Verifier(ISSUER, AUDIENCE, scopes=["hr"])
    metadata = metadata_of(True, verifier, scopes=["payroll.read"], dpop_algorithms=["ES256"], dpop_required=True)
    assert metadata is not None
    assert members(metadata) == {
        "resource": AUDIENCE,
        "authorization_servers": [ISSUER],
        "scopes_supported": ["hr", "payroll.read"],
        "bearer_methods_supported": ["header"],
        "dpop_signing_alg_values_supported": ["ES256"],
        "dpop_bound_access_tokens_required": True,
    }


def test_true_names_every_issuer_whose_tokens_are_accepted() -> None:
    verifier = AnyIssuer(Verifier(ISSUER, AUDIENCE), Verifier("https://other.example", AUDIENCE))
    metadata = metadata_of(True, verifier)
    assert metadata is not None
    assert metadata.authorization_servers == (ISSUER, "https://other.example")


@pytest.mark.parametrize(
    "verifier",
    [
        Verifier(ISSUER, [AUDIENCE, "https://leave.hr.example"]),
        AnyIssuer(Verifier(ISSUER, AUDIENCE), Verifier("https://other.example", "https://leave.hr.example")),
    ],
)
def test_true_is_refused_for_several_audiences(verifier: object) -> None:
    with pytest.raises(ValueError, match=r"several audiences.* pass resource_metadata=ResourceMetadata\.of"):
        metadata_of(True, verifier)


def test_metadata_that_leads_to_refused_tokens_is_refused() -> None:
    verifier = Verifier(ISSUER, [AUDIENCE, "https://leave.hr.example"])
    chosen = ResourceMetadata.of("https://leave.hr.example", ISSUER)
    assert metadata_of(chosen, verifier) is chosen
    with pytest.raises(ValueError, match="not an audience of the verifier"):
        metadata_of(ResourceMetadata.of("https://time.hr.example", ISSUER), verifier)
    with pytest.raises(ValueError, match="whose tokens the verifier refuses"):
        metadata_of(ResourceMetadata.of(AUDIENCE, "https://other.example"), verifier)


@pytest.mark.parametrize("argument", ["https://payroll.hr.example", ResourceMetadata, 1])
def test_an_argument_of_another_type_is_refused(argument: Any) -> None:
    with pytest.raises(TypeError, match="resource_metadata= takes True or a ResourceMetadata"):
        metadata_of(argument, Verifier(ISSUER, AUDIENCE))


def test_true_is_refused_for_a_verifier_that_names_no_audience() -> None:
    with pytest.raises(ValueError, match="does not name its audience"):
        metadata_of(True, object())
