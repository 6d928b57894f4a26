"""Hostnames: which namespace may serve which path of which host, and who keeps it."""

from typing import Any

import pytest

from scopewright.core.config import AudiencePrefix, Config
from scopewright.core.failures import Rejected
from scopewright.core.gateway_config import GatewayPolicy
from scopewright.core.hostnames import HostnameClaims, check_hostname, check_hostname_claim
from scopewright.core.records.names import hostname_claim_name
from scopewright.core.records.resource_server import HttpLocation

AUDIENCES = (
    AudiencePrefix(prefix="https://hr.example/api", namespaces=("payroll",)),
    AudiencePrefix(prefix="https://port.example:8443", namespaces=("payroll",)),
    AudiencePrefix(prefix="https://standard.example:443", namespaces=("payroll",)),
    AudiencePrefix(prefix="http://plain.example", namespaces=("payroll",)),
    AudiencePrefix(prefix="https://staff.example", namespaces=("staff",)),
)
HOSTNAMES = [
    {"hostname": "api.hr.example", "namespaces": ["platform"]},
    {"hostname": "api.hr.example", "pathPrefix": "/payroll", "namespaces": ["payroll"]},
    {"hostname": "shared.example", "namespaces": ["payroll", "staff"]},
    {"hostname": "shared.example", "pathPrefix": "/staff/leave", "namespaces": ["leave"]},
    {"hostname": "open.example", "namespaces": ["*"]},
    {"suffix": "apps.example", "perNamespace": True},
    {"hostname": "www.payroll.apps.example", "namespaces": ["platform"]},
]


def config(**gateway: Any) -> Config:
    given = {"hostnames": HOSTNAMES, **gateway}
    return Config(issuer="https://issuer.example", audiences=AUDIENCES, gateway=GatewayPolicy.model_validate(given))


def at(text: str) -> HttpLocation:
    hostname, slash, path = text.partition("/")
    return HttpLocation(hostname, f"/{path}" if slash else "/")


def refusal(location: str, namespace: str = "payroll", where: Config | None = None) -> str:
    """Why the namespace may not serve it; empty if it may."""
    try:
        check_hostname(at(location), namespace, where or config())
    except Rejected as why:
        return f"{why.reason}: {why.message}"
    return ""


@pytest.mark.parametrize(
    "location",
    [
        "hr.example/api",
        "hr.example/api/v1",
        "standard.example",
        "api.hr.example/payroll",
        "api.hr.example/payroll/v1",
        "shared.example",
        "shared.example/staff",
        "open.example/anything",
        "web.payroll.apps.example",
        "a.b.payroll.apps.example/v1",
        "payroll-api.payroll.svc",
        "another.payroll.svc.cluster.local/v1",
        "pod.service.payroll.svc",
    ],
)
def test_a_namespace_may_serve_what_the_platform_assigns_to_it(location: str) -> None:
    assert refusal(location) == ""


@pytest.mark.parametrize(
    "location",
    [
        "hr.example",
        "hr.example/apix",
        "hr.example/API",
        "sub.hr.example/api",
        "hr.example.evil.example/api",
        "port.example",
        "plain.example",
        "staff.example",
        "api.hr.example",
        "api.hr.example/payrolls",
        "api.hr.example/staff/payroll",
        "shared.example/staff/leave",
        "shared.example/staff/leave/payroll",
        "payroll.apps.example",
        "web.staff.apps.example",
        "payroll.web.apps.example",
        "web.payroll.apps.example.evil.example",
        "www.payroll.apps.example",
        "payroll-api.staff.svc",
        "payroll.staff.svc.cluster.local",
        "payroll.svc",
        "svc",
        "issuer.example",
        "kubernetes.default.svc",
        "10.0.0.1",
        "payroll.svc.10",
        "HR.example/api",
        "hr.example:443/api",
        "hr.example./api",
        "*.payroll.apps.example",
        "",
    ],
)
def test_a_namespace_may_serve_nothing_else(location: str) -> None:
    assert refusal(location).startswith("HostnameNotAllowed: ")


def test_a_longer_path_takes_a_part_from_the_namespace_around_it() -> None:
    assert refusal("api.hr.example/other", "platform") == ""
    assert refusal("api.hr.example/payroll/v1", "platform")
    assert refusal("shared.example/staff/leave", "leave") == ""
    assert refusal("shared.example/staff/leave", "staff")


def test_a_longer_path_is_taken_in_every_case() -> None:
    """A gateway refuses a path of two APIs that differ in case alone: one namespace would block the other's."""
    for path in ("/Payroll", "/PAYROLL/v1", "/payrolL/v1/x"):
        assert refusal(f"api.hr.example{path}", "platform")
        assert refusal(f"api.hr.example{path}", "payroll")
    assert refusal("api.hr.example/Payrolls", "platform") == ""
    both = [
        {"hostname": "api.hr.example", "pathPrefix": prefix, "namespaces": [namespace]}
        for prefix, namespace in (("/a", "payroll"), ("/A", "staff"))
    ]
    assert refusal("api.hr.example/A", "staff", config(hostnames=both)) == ""
    assert refusal("api.hr.example/a", "payroll", config(hostnames=both)) == ""
    assert refusal("api.hr.example/a", "staff", config(hostnames=both))


def test_a_hostname_is_taken_from_the_suffix_that_covers_it() -> None:
    assert refusal("www.payroll.apps.example", "platform") == ""


def test_the_longer_suffix_decides() -> None:
    nested = config(
        hostnames=[{"suffix": "example", "perNamespace": True}, {"suffix": "apps.example", "perNamespace": True}]
    )
    assert refusal("web.payroll.apps.example", "payroll", nested) == ""
    assert refusal("web.payroll.apps.example", "apps", nested)
    assert refusal("web.apps.example", "apps", nested) == ""


def test_the_host_of_the_issuer_is_reserved_although_a_prefix_allows_it() -> None:
    inside = Config(
        issuer="https://hr.example/issuer",
        audiences=(AudiencePrefix(prefix="https://hr.example", namespaces=("payroll",)),),
    )
    assert "reserved" in refusal("hr.example/payroll", "payroll", inside)
    in_cluster = Config(issuer="https://scopewright.payroll.svc:8443")
    assert "reserved" in refusal("scopewright.payroll.svc", "payroll", in_cluster)


def test_an_issuer_on_loopback_reserves_nothing() -> None:
    assert refusal("localhost", "payroll", Config(issuer="http://localhost:8080").for_dev()) == ""


def test_a_refusal_names_only_what_that_namespace_may_use() -> None:
    message = refusal("other.example")
    for own in ("https://hr.example/api", "https://api.hr.example/payroll", "hostnames below payroll.apps.example"):
        assert own in message
    assert "staff.example" not in message
    assert "platform" not in message.replace("the platform team", "")


def test_scopewright_dev_allows_every_hostname_that_nothing_assigns() -> None:
    dev = config().for_dev()
    assert refusal("payroll.example", "anybody", dev) == ""
    assert refusal("api.hr.example/payroll", "staff", dev)
    assert refusal("payroll-api.payroll.svc", "staff", dev)
    assert refusal("issuer.example", "staff", dev)


CLAIMS: HostnameClaims = {
    "shared.example": {at("shared.example/staff"): "staff/staff-api", at("shared.example/pay/slips"): "payroll/slips"},
    "other.example": {at("other.example"): "staff/staff-api"},
}


def conflicts(location: str, key: str, claims: HostnameClaims = CLAIMS) -> bool:
    try:
        check_hostname_claim(at(location), key, claims, config())
    except Rejected as why:
        return why.reason == "HostnameConflict" and "staff-api" not in why.message
    return False


def test_a_hostname_with_a_base_path_belongs_to_one_resource_server() -> None:
    assert not conflicts("shared.example/staff", "staff/staff-api")
    assert conflicts("shared.example/staff", "staff/another")
    assert conflicts("shared.example/staff", "payroll/staff-api")


def test_one_namespace_may_nest_base_paths_at_one_host() -> None:
    assert not conflicts("shared.example/staff/v1", "staff/another")
    assert not conflicts("shared.example", "staff/another", {"shared.example": {at("shared.example/staff"): "staff/x"}})


def test_another_namespace_has_no_path_below_a_claimed_one() -> None:
    """Gateways decide by the longest base path: its rules would open what the service around it protects."""
    assert conflicts("shared.example/staff/salaries", "payroll/payroll-api")
    assert not conflicts("shared.example/staffing", "payroll/payroll-api")


def test_another_namespace_has_no_path_around_a_claimed_one() -> None:
    """Nobody claims a path in advance, to decide later about requests to the service around it."""
    assert conflicts("shared.example/pay", "staff/staff-api")
    assert not conflicts("shared.example/pay/roll", "staff/staff-api")


def test_another_namespace_has_no_claimed_path_in_another_case() -> None:
    """A gateway would refuse the requests of both."""
    for path in ("STAFF", "Staff/v1"):
        assert conflicts(f"shared.example/{path}", "payroll/payroll-api")
        assert not conflicts(f"shared.example/{path}", "staff/another")
    assert conflicts("shared.example/PAY", "staff/staff-api")


def test_the_namespace_around_keeps_its_path_when_two_claims_were_created_at_once() -> None:
    both = {"shared.example": {at("shared.example/a"): "staff/x", at("shared.example/a/b"): "payroll/y"}}
    assert not conflicts("shared.example/a", "staff/x", both)
    assert conflicts("shared.example/a/b", "payroll/y", both)


def test_the_platform_separates_two_namespaces_at_one_host() -> None:
    claims = {"shared.example": {at("shared.example/staff"): "staff/staff-api"}}
    assert not conflicts("shared.example/staff/leave", "leave/leave-api", claims)
    assert not conflicts("shared.example/staff/leave/v1", "leave/leave-api", claims)
    below = {"shared.example": {at("shared.example/staff/leave"): "leave/leave-api"}}
    assert not conflicts("shared.example/staff", "staff/staff-api", below)


def test_the_name_of_a_claim_tells_hostnames_and_base_paths_apart() -> None:
    names = {
        hostname_claim_name(*at(text)) for text in ("a.example", "a.example/b", "a.example/B", "a.exampl", "b.example")
    }
    assert len(names) == 5
    assert all(name.startswith("hostname.") and len(name) < 64 for name in names)


@pytest.mark.parametrize(
    ("entry", "advice"),
    [
        ({}, "either hostname or suffix"),
        ({"hostname": "a.example", "suffix": "b.example"}, "either hostname or suffix"),
        ({"hostname": "a.example"}, "name those that may use it"),
        ({"hostname": "a.example", "namespaces": []}, "name those that may use it"),
        ({"hostname": "a.example", "namespaces": ["payroll"], "perNamespace": True}, "remove it"),
        ({"suffix": "apps.example"}, "write perNamespace: true"),
        ({"suffix": "apps.example", "perNamespace": False}, "write perNamespace: true"),
        ({"suffix": "apps.example", "perNamespace": True, "namespaces": ["payroll"]}, "remove them"),
        ({"suffix": "apps.example", "perNamespace": True, "pathPrefix": "/a"}, "remove them"),
        ({"suffix": ".apps.example", "perNamespace": True}, "in lower case, without scheme, port"),
        ({"suffix": "*.apps.example", "perNamespace": True}, "in lower case, without scheme, port"),
        ({"hostname": "https://a.example", "namespaces": ["payroll"]}, "in lower case, without scheme, port"),
        ({"hostname": "a.example:443", "namespaces": ["payroll"]}, "in lower case, without scheme, port"),
        ({"hostname": "A.example", "namespaces": ["payroll"]}, "in lower case, without scheme, port"),
        ({"hostname": "10.0.0.1", "namespaces": ["payroll"]}, "an IP address is not one"),
        ({"hostname": "payroll.hr.svc", "namespaces": ["payroll"]}, "belongs to its namespace: remove the entry"),
        ({"suffix": "svc.cluster.local", "perNamespace": True}, "belongs to its namespace: remove the entry"),
        ({"hostname": "a.example", "namespaces": ["payroll"], "pathPrefix": "/a/*"}, "write /payroll"),
        ({"hostname": "a.example", "namespaces": ["payroll"], "pathPrefix": "a"}, "begins with a slash"),
        ({"hostname": "a.example", "namespaces": ["Payroll"]}, "write its name"),
        ({"hostname": "issuer.example", "namespaces": ["payroll"]}, "the host of the issuer"),
    ],
)
def test_a_wrong_entry_is_refused_with_what_to_write(entry: dict[str, Any], advice: str) -> None:
    with pytest.raises(ValueError, match=advice):
        Config.model_validate({"issuer": "https://issuer.example", "gateway": {"hostnames": [entry]}})


@pytest.mark.parametrize("pattern", ["healthz", "/**/x", "/a%2Fb", "/a//b", ""])
def test_a_wrong_pattern_of_unauthenticated_paths_is_refused(pattern: str) -> None:
    with pytest.raises(ValueError, match="path pattern"):
        Config.model_validate({"issuer": "https://issuer.example", "gateway": {"unauthenticatedPaths": [pattern]}})


def test_no_configuration_file_allows_every_hostname() -> None:
    assert not config().gateway.allows_any_hostname
    for name in ("anyHostname", "allowsAnyHostname", "allows_any_hostname"):
        with pytest.raises(ValueError, match=name):
            GatewayPolicy.model_validate({name: True})
