"""Hostnames and rules in force: those of the manifest, or the last good ones that the platform still allows."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scopewright.api import ResourceServer
from scopewright.core.config import Config
from scopewright.core.failures import Rejected
from scopewright.core.gateway_config import GatewayPolicy
from scopewright.core.http_in_force import HttpPolicy, http_in_force, unclaimed
from scopewright.core.http_rules import audience_is_its_url, http_access, rules_of, unauthenticated
from scopewright.core.records.resource_server import HttpAccess, HttpLocation, HttpRule
from tests.harness.samples import ISSUER
from tests.unit.core.builders import server

AUDIENCE = "https://payroll-api.payroll.svc"
HOST = "payroll.hr.example"
READ = {"name": "read", "methods": ["GET"], "paths": ["/salaries/**"], "scopes": ["read"]}
HEALTH = {"name": "health", "paths": ["/healthz"], "authentication": "None"}
CONFLICT = {"name": "again", "paths": ["/salaries/**"], "scopes": ["read"]}


def api(*rules: dict[str, Any], **http: Any) -> ResourceServer:
    return server(scopes=[{"name": "read"}], http={"hostnames": [HOST], "rules": list(rules), **http})


def policy(*unauthenticated_paths: str, owner: str = "payroll", **more: Any) -> HttpPolicy:
    gateway = {
        "hostnames": [{"hostname": HOST, "namespaces": [owner]}],
        "unauthenticatedPaths": list(unauthenticated_paths) or ["/**"],
    }
    return HttpPolicy(claims={}, config=Config(issuer=ISSUER, gateway=GatewayPolicy.model_validate(gateway)), **more)


def reason(
    declared: ResourceServer, where: HttpPolicy, current: HttpAccess | None = None, audience: str = AUDIENCE
) -> str:
    refusal = http_in_force(declared, current, audience, where)[1]
    return refusal.reason if refusal else ""


def test_the_rules_of_the_manifest_are_in_force() -> None:
    declared = api(READ, HEALTH)
    assert http_in_force(declared, None, AUDIENCE, policy()) == (http_access(declared), None)


def test_without_spec_http_nothing_is_in_force() -> None:
    assert http_in_force(server(), http_access(api(READ)), AUDIENCE, policy()) == (None, None)


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        (CONFLICT, "RuleConflict"),
        ({"name": "all", "paths": ["/**"], "authentication": "None"}, "PublicCoversProtected"),
        ({"name": "write", "paths": ["/write"], "scopes": ["read", "write"]}, "UnknownScope"),
        ({"name": "write", "paths": ["/write"], "anyScope": ["read", "write"]}, "UnknownScope"),
        ({"name": "write", "paths": ["/write"], "roles": ["writer"]}, "UnknownRole"),
        ({"name": "pattern", "paths": ["/a%2Fb"], "authentication": "Required"}, "InvalidRule"),
    ],
)
def test_a_refused_rule_leaves_the_last_good_ones_in_force(rule: dict[str, Any], expected: str) -> None:
    current = http_access(api(READ, HEALTH))
    kept, refusal = http_in_force(api(READ, HEALTH, rule), current, AUDIENCE, policy())
    assert kept == current
    assert refusal is not None
    assert refusal.reason == expected


def test_the_first_rules_are_not_in_force_while_one_is_refused() -> None:
    assert http_in_force(api(READ, CONFLICT), None, AUDIENCE, policy())[0] is None


@pytest.mark.parametrize("authentication", ["None", "Optional"])
@pytest.mark.parametrize(
    ("path", "allowed", "is_allowed"),
    [
        ("/healthz", ["/healthz"], True),
        ("/healthz/", ["/healthz"], True),
        ("/healthz", ["/livez", "/*"], True),
        ("/healthz", ["/**"], True),
        ("/healthz", ["/healthz/**"], True),
        ("/healthz/**", ["/healthz"], False),
        ("/*", ["/healthz"], False),
        ("/Healthz", ["/healthz"], False),
        ("/api/healthz", ["/healthz"], False),
        ("/", ["/healthz"], False),
        ("/**", ["/*"], False),
    ],
)
def test_a_path_needs_a_token_unless_the_platform_allows_it_without(
    authentication: str, path: str, allowed: list[str], is_allowed: bool
) -> None:
    declared = api({"name": "open", "paths": [path], "authentication": authentication})
    assert reason(declared, policy(*allowed)) == ("" if is_allowed else "PublicNotAllowed")


def test_unauthenticated_paths_are_compared_with_the_base_path() -> None:
    declared = api(HEALTH, basePath="/payroll")
    assert reason(declared, policy("/healthz")) == "PublicNotAllowed"
    assert reason(declared, policy("/payroll/healthz")) == ""


def test_unauthenticated_paths_are_compared_without_case_where_the_service_ignores_it() -> None:
    declared = api({"name": "open", "paths": ["/Healthz"], "authentication": "None"}, caseSensitive=False)
    assert reason(declared, policy("/healthz")) == ""
    assert reason(declared, policy("/HEALTHZ")) == ""


def test_a_path_that_the_platform_no_longer_allows_is_refused_at_once() -> None:
    everything = {"name": "all", "paths": ["/**"], "scopes": ["read"]}
    health = {**HEALTH, "paths": ["/healthz", "/livez"], "methods": ["GET"]}
    declared = api(everything, health)
    kept, refusal = http_in_force(declared, http_access(declared), AUDIENCE, policy("/livez"))
    assert refusal is not None
    assert refusal.reason == "PublicNotAllowed"
    assert kept is not None
    assert unauthenticated(kept) == ("GET /livez",)
    rules = rules_of(kept, AUDIENCE)
    assert rules.find("GET", ("healthz",)) is None
    assert rules.find("POST", ("healthz",)) is None, "a wider rule decides, and the owner's rule allows GET alone"
    assert rules.find("GET", ("livez",))
    assert rules.find("GET", ("other",))
    assert http_in_force(declared, kept, AUDIENCE, policy("/livez"))[0] == kept
    assert http_in_force(declared, kept, AUDIENCE, policy())[0] == http_access(declared)


_SEGMENTS = st.lists(st.sampled_from(["a", "b", "*"]), max_size=3)
_PATTERNS = st.builds(
    lambda segments, rest: "/" + "/".join([*segments, *(["**"] if rest else [])]), _SEGMENTS, st.booleans()
)


@given(
    paths=st.lists(st.tuples(_PATTERNS, st.sampled_from([(), ("GET",), ("POST",)])), unique=True, max_size=5),
    allowed=st.lists(_PATTERNS, max_size=2),
    method=st.sampled_from(["GET", "POST"]),
    path=st.lists(st.sampled_from(["a", "b", "c"]), max_size=4),
)
def test_narrowing_never_allows_a_request_that_was_refused(
    paths: list[tuple[str, tuple[str, ...]]], allowed: list[str], method: str, path: list[str]
) -> None:
    rules = tuple(
        HttpRule(f"r{index}", (pattern,), methods, "None" if index % 2 else "Required")
        for index, (pattern, methods) in enumerate(paths)
    )
    current = HttpAccess((HOST,), rules=rules)
    try:
        before = rules_of(current, AUDIENCE)
    except ValueError:
        return  # not rules that are ever in force
    declared = api({"name": "wrong", "paths": ["/"], "scopes": ["undeclared"]})
    where = policy()
    narrowed = where.config.gateway.model_copy(update={"unauthenticated_paths": tuple(allowed)})
    where = replace(where, config=where.config.model_copy(update={"gateway": narrowed}))
    kept = http_in_force(declared, current, AUDIENCE, where)[0]
    assert kept is not None
    rule = rules_of(kept, AUDIENCE).find(method, tuple(path))
    former = before.find(method, tuple(path))
    assert rule is None or (former is not None and former.name == rule.name)


def test_a_hostname_that_the_platform_no_longer_allows_leaves_the_record() -> None:
    declared = api(READ, hostnames=[HOST, "payroll-api.payroll.svc"])
    current = http_access(declared)
    kept, refusal = http_in_force(declared, current, AUDIENCE, policy(owner="staff"))
    assert kept == replace(current, hostnames=("payroll-api.payroll.svc",))
    assert refusal is not None
    assert refusal.reason == "HostnameNotAllowed"


def test_a_hostname_that_another_has_claimed_since_leaves_the_record() -> None:
    declared = api(READ)
    where = replace(policy(), claims={HOST: {HttpLocation(HOST, "/"): "payroll/another"}})
    kept, refusal = http_in_force(declared, http_access(declared), AUDIENCE, where)
    assert kept is not None
    assert kept.hostnames == ()
    assert refusal is not None
    assert refusal.reason == "HostnameConflict"


def test_without_an_audience_no_rule_is_in_force() -> None:
    """No token could be verified. The hostname stays: its requests do not fall to the API around it."""
    declared = api(READ, HEALTH)
    kept, refusal = http_in_force(declared, http_access(declared), "", policy())
    assert kept is not None
    assert (kept.hostnames, kept.rules, refusal) == ((HOST,), (), None)


def test_beyond_the_limits_of_its_namespace_only_what_was_in_force_stays() -> None:
    beyond = policy(beyond_limits=Rejected("NamespaceLimit", "too many"))
    current = http_access(api(READ))
    assert http_in_force(api(READ, HEALTH), current, AUDIENCE, beyond)[0] == current
    assert http_in_force(api(READ, HEALTH), None, AUDIENCE, beyond)[0] is None
    assert reason(api(READ), beyond) == "NamespaceLimit"


def test_each_hostname_needs_a_claim() -> None:
    claims = {HOST: {HttpLocation(HOST, "/v1"): "payroll/payroll-api"}}
    declared = api(READ, hostnames=[HOST, "payroll.payroll.svc"], basePath="/v1")
    assert unclaimed(http_access(declared), claims) == (HttpLocation("payroll.payroll.svc", "/v1"),)
    assert unclaimed(None, claims) == ()


def test_a_namespace_cannot_claim_hostnames_without_end() -> None:
    """Claims outlive their ResourceServers: other names are no way around the limit."""
    config = Config.model_validate({"issuer": ISSUER, "limits": {"objectsPerNamespace": 3}})
    hosts = [f"h{n}.payroll.svc" for n in range(3)]
    claims = {host: {HttpLocation(host, "/"): f"payroll/former-{host}"} for host in hosts[:2]}
    others = {
        "x.staff.svc": {HttpLocation("x.staff.svc", "/"): "staff/x", HttpLocation("x.staff.svc", "/v1"): "staff/x"}
    }
    declared = api(READ, hostnames=["new.payroll.svc"])
    assert reason(declared, HttpPolicy({**claims, **others}, config)) == ""
    full = {**claims, hosts[2]: {HttpLocation(hosts[2], "/"): "payroll/another"}}
    assert reason(declared, HttpPolicy(full, config)) == "HostnameNotAllowed"
    in_force = {**full, "new.payroll.svc": {HttpLocation("new.payroll.svc", "/"): "payroll/payroll-api"}}
    assert reason(declared, HttpPolicy(in_force, config)) == "", "a claimed hostname needs no room"


@pytest.mark.parametrize(
    ("audience", "is_url"),
    [
        (f"https://{HOST}", True),
        (f"https://{HOST}/api", True),
        (f"http://{HOST}:8080/api", True),
        (f"https://api.{HOST}", False),
        (f"https://{HOST}.evil.example", False),
        ("https://payroll-api.payroll.svc", False),
        (f"https://{HOST}/o'hara", False),  # metadata cannot name it
        (f"api://{HOST}", False),
        (f"urn:{HOST}", False),
    ],
)
def test_clients_find_the_issuer_only_where_the_audience_is_a_url_of_the_api(audience: str, is_url: bool) -> None:
    assert audience_is_its_url(HttpAccess((HOST,)), audience) is is_url
