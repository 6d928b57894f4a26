"""What spec.http asks for, with its defaults, and the rules of a record."""

from typing import Any

import pytest

from scopewright.api import KINDS, ResourceServer
from scopewright.api.http_rules import is_hostname
from scopewright.api.validation import validate
from scopewright.core.http_rules import http_access, path_at_host, rules_of, unauthenticated
from scopewright.core.records.resource_server import HttpAccess, HttpRule
from scopewright.verifier.rules import Rules, RulesInvalid
from tests.cases.crd_rules import CASES, Case, manifest
from tests.cases.http_rules import HTTP_RULES

AUDIENCE = "https://payroll.hr.example/v1"


def server(http: dict[str, Any] | None, audience: str | None = AUDIENCE) -> ResourceServer:
    spec = ({"audience": audience} if audience else {}) | ({"http": http} if http is not None else {})
    return ResourceServer.model_validate(manifest("ResourceServer", spec, "payroll"))


def test_without_spec_http_an_api_has_neither_hostnames_nor_rules() -> None:
    assert http_access(server(None)) == HttpAccess()


@pytest.mark.parametrize(
    ("audience", "hostnames", "base_path"),
    [
        ("https://payroll.hr.example/v1", ("payroll.hr.example",), "/v1"),
        ("https://payroll.hr.example", ("payroll.hr.example",), "/"),
        ("https://payroll.hr.example:8443/a/b", ("payroll.hr.example",), "/a/b"),
        ("http://payroll.hr.example", ("payroll.hr.example",), "/"),
        (None, ("payroll.default.svc",), "/"),
        ("api://payroll/v1", (), "/"),
        ("https://10.0.0.1/v1", (), "/v1"),
    ],
)
def test_hostname_and_base_path_default_to_those_of_the_audience(
    audience: str | None, hostnames: tuple[str, ...], base_path: str
) -> None:
    asked = http_access(server({}, audience))
    assert (asked.hostnames, asked.base_path, asked.case_sensitive, asked.rules) == (hostnames, base_path, True, ())


def test_every_field_of_a_rule_is_in_the_record() -> None:
    rule = {
        "name": "write",
        "paths": ["/salaries/**", "/bonus/"],
        "methods": ["PUT", "POST"],
        "authentication": "Required",
        "scopes": ["payroll.read"],
        "anyScope": ["payroll.write", "payroll.admin"],
        "roles": ["payroll-manager"],
    }
    http = {"hostnames": ["a.example", "b.example"], "basePath": "/pay", "caseSensitive": False, "rules": [rule]}
    asked = http_access(server(http))
    assert asked == HttpAccess(
        ("a.example", "b.example"),
        "/pay",
        False,
        (
            HttpRule(
                "write",
                ("/salaries/**", "/bonus/"),
                ("PUT", "POST"),
                "Required",
                ("payroll.read",),
                ("payroll.write", "payroll.admin"),
                ("payroll-manager",),
            ),
        ),
    )
    found = rules_of(asked, AUDIENCE)
    assert (found.audience, found.base_path, found.case_sensitive) == (AUDIENCE, "/pay", False)
    assert found.document()["rules"] == [
        {
            "name": "write",
            "methods": ["POST", "PUT"],
            "paths": ["/salaries/**", "/bonus"],
            "scopes": ["payroll.read"],
            "anyScope": ["payroll.write", "payroll.admin"],
            "roles": ["payroll-manager"],
        }
    ]


_STRICTER_THAN_THE_VERIFIER = ("hostnames-are-dns-names", "hostnames-are-not-addresses", "rule-states-what-it-needs")


@pytest.mark.parametrize("case", [c for c in CASES if c.rule in HTTP_RULES], ids=str)
def test_the_verifier_accepts_the_rules_of_every_valid_manifest(case: Case) -> None:
    """CEL and the verifier have one grammar of patterns, methods and base paths."""
    asked = http_access(ResourceServer.model_validate(case.manifest))
    if case.path is None:
        rules_of(asked, AUDIENCE)
    elif case.rule not in _STRICTER_THAN_THE_VERIFIER and asked.base_path != "/payroll/":
        with pytest.raises(RulesInvalid):
            rules_of(asked, AUDIENCE)


def test_rules_that_contradict_each_other_are_refused() -> None:
    rules = [{"name": name, "paths": ["/a"], "scopes": [name]} for name in ("one", "two")]
    with pytest.raises(RulesInvalid) as error:
        rules_of(http_access(server({"rules": rules})), AUDIENCE)
    assert (error.value.reason, error.value.rule) == ("RuleConflict", "two")
    assert validate(manifest("ResourceServer", {"http": {"rules": rules}})) == []


def test_audience_with_a_wildcard_in_its_path_is_no_base_path() -> None:
    asked = http_access(server({}, "https://payroll.hr.example/a/*"))
    with pytest.raises(RulesInvalid, match="basePath must be a path of literal segments"):
        rules_of(asked, "https://payroll.hr.example/a/*")


def test_paths_without_a_token_are_listed_as_they_are_at_the_hostname() -> None:
    rules = [
        {"name": "health", "paths": ["/healthz", "/"], "authentication": "None"},
        {"name": "hooks", "paths": ["/hooks/*"], "methods": ["POST", "GET"], "authentication": "Optional"},
        {"name": "read", "paths": ["/salaries/**"], "authentication": "Required"},
    ]
    assert unauthenticated(http_access(server({"rules": rules}))) == (
        "* /v1/healthz",
        "* /v1",
        "GET,POST /v1/hooks/*",
    )
    assert unauthenticated(http_access(server({"rules": rules[:1]}, None))) == ("* /healthz", "* /")


@pytest.mark.parametrize(
    ("base_path", "pattern", "expected"),
    [("/", "/", "/"), ("/", "/a/", "/a"), ("/v1", "/", "/v1"), ("/v1", "/a/**", "/v1/a/**"), ("/v1/", "/a", "/v1/a")],
)
def test_path_at_the_hostname_is_that_of_the_rules_with_their_base_path(
    base_path: str, pattern: str, expected: str
) -> None:
    assert path_at_host(base_path, pattern) == expected
    document = {"basePath": base_path, "rules": [{"name": "a", "paths": [pattern], "authentication": "None"}]}
    [rule] = Rules.parse(document).with_base_path().document()["rules"]
    assert rule["paths"] == [expected]


def test_hostnames_are_those_that_manifests_may_have() -> None:
    for case in CASES:
        if case.rule.startswith("hostnames-"):
            http = KINDS["ResourceServer"].model_validate(case.manifest).to_dict()["spec"]["http"]
            assert all(map(is_hostname, http.get("hostnames", ()))) is (case.path is None)
