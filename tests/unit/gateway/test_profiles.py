"""Each profile reads its own headers, each exactly once, and nothing else."""

import pytest

from scopewright.gateway.profiles import PROFILES, OriginalRequest, auth_route
from scopewright.gateway.refusals import GatewayReason, GatewayRefused
from tests.unit.gateway.support import HOST, Sent, parsed, question, request

WITH_HEADERS = sorted(name for name, profile in PROFILES.items() if not profile.reads_own_request)
FORGED = [
    ("Forwarded", "for=10.0.0.1;host=evil.example;proto=http"),
    ("X-Original-Method", "DELETE"),
    ("X-Original-URI", "/healthz"),
    ("X-Original-URL", "https://evil.example/healthz"),
    ("X-Original-Host", "evil.example"),
    ("X-Forwarded-Method", "DELETE"),
    ("X-Forwarded-Uri", "/healthz"),
    ("X-Forwarded-Host", "evil.example"),
    ("X-Rewrite-URL", "/healthz"),
]


def original(data: bytes) -> OriginalRequest:
    http = parsed(data)
    route = auth_route(http.target)
    assert route is not None
    return route.original(http)


def refused(data: bytes) -> GatewayRefused:
    with pytest.raises(GatewayRefused) as caught:
        original(data)
    return caught.value


@pytest.mark.parametrize("profile", sorted(PROFILES))
@pytest.mark.parametrize("target", ["/salaries/7", "/a,b?fields=a,b&x=%2F", "/%C3%A9/", "/", "//x/../y", "/?/auth/x"])
def test_method_and_raw_target_are_those_of_the_caller(profile: str, target: str) -> None:
    assert original(question(profile, target, "PUT")) == ("PUT", target.encode(), HOST)


@pytest.mark.parametrize("profile", sorted(PROFILES))
def test_headers_of_other_profiles_are_ignored(profile: str) -> None:
    known = PROFILES[profile]
    read = {known.method_header, known.target_header}
    others = [(name, value) for name, value in FORGED if name.lower().encode() not in read]
    pinned = [(name, value) for name, value in others if name.lower().encode() == known.hostname_header]
    assert len(others) >= len(FORGED) - 2
    assert original(question(profile, sent=others)) == ("GET", b"/salaries/7", HOST)
    assert len(pinned) == (profile not in {"envoy", "ingress-nginx"}), "a pinned hostname ignores its header"


@pytest.mark.parametrize("profile", WITH_HEADERS)
def test_header_that_is_sent_twice_is_refused(profile: str) -> None:
    for header in (PROFILES[profile].method_header, PROFILES[profile].target_header):
        refusal = refused(question(profile, sent=[(header.decode().upper(), "GET")]))
        assert (refusal.reason, refusal.status) == (GatewayReason.PROXY_HEADERS, 400)
        assert header.decode() in refusal.description


@pytest.mark.parametrize("profile", WITH_HEADERS)
def test_missing_header_is_refused_with_its_name(profile: str) -> None:
    for header in (PROFILES[profile].method_header, PROFILES[profile].target_header):
        lines = question(profile).split(b"\r\n")
        without = b"\r\n".join(line for line in lines if not line.startswith(header + b":"))
        assert header.decode() in refused(without).description


@pytest.mark.parametrize("profile", ["nginx", "haproxy", "traefik", "caddy", "envoy"])
def test_hyphen_reads_the_hostname_that_the_caller_sent(profile: str) -> None:
    assert original(question(profile, hostname="-")).hostname == HOST


@pytest.mark.parametrize("profile", ["nginx", "haproxy", "traefik", "caddy"])
def test_hostname_that_is_sent_twice_is_refused(profile: str) -> None:
    header = PROFILES[profile].hostname_header.decode()
    assert refused(question(profile, hostname="-", sent=[(header, HOST)])).reason is GatewayReason.PROXY_HEADERS
    assert original(question(profile, sent=[(header, HOST)])).hostname == HOST, "it is not read if one is pinned"


def test_ingress_nginx_needs_a_pinned_hostname() -> None:
    """Its X-Original-URL has `$http_host`, which is what the caller sent."""
    refusal = refused(question("ingress-nginx", hostname="-", sent=[("X-Original-Host", HOST)]))
    assert refusal.reason is GatewayReason.PROXY_HEADERS


@pytest.mark.parametrize("hostname", ["10.0.0.1", "payroll.hr.example.", "", "--", "_"])
def test_pinned_hostname_that_is_not_a_dns_name_is_refused(hostname: str) -> None:
    assert refused(question(hostname=hostname)).reason is GatewayReason.HOSTNAME


@pytest.mark.parametrize(
    ("url", "target"),
    [
        ("https://payroll.hr.example/a?b", "/a?b"),
        ("http://payroll.hr.example:8080/a", "/a"),
        ("https:///a", "/a"),  # HTTP/1.0 without Host
        ("https://[::1]:443/a", "/a"),
        ("https://10.0.0.1//evil", "//evil"),
    ],
)
def test_target_follows_the_host_of_a_url(url: str, target: str) -> None:
    assert original(ingress(url)).target == target.encode()


@pytest.mark.parametrize(
    "url", ["/a", "ftp://h/a", "https://h", "https://h?/a", "https://h#/a", "https://u@h/a", "https://h\\/a", "//h/a"]
)
def test_url_without_a_plain_host_and_a_path_is_refused(url: str) -> None:
    assert refused(ingress(url)).reason is GatewayReason.PROXY_HEADERS


def ingress(url: str) -> bytes:
    sent: Sent = [("Host", "gateway"), ("X-Original-Method", "GET"), ("X-Original-URL", url)]
    return request(f"GET /auth/ingress-nginx/{HOST}", sent)


@pytest.mark.parametrize(
    "target",
    [
        "/",
        "/auth",
        "/auth/",
        "/auth/nginx",
        "/auth/apache/payroll.hr.example",
        "/auth/NGINX/payroll.hr.example",
        "/auth/nginx/payroll.hr.example/",
        "/auth/nginx/payroll.hr.example/x",
        "/auth//nginx/payroll.hr.example",
        "//auth/nginx/payroll.hr.example",
        "/Auth/nginx/payroll.hr.example",
        "/%61uth/nginx/payroll.hr.example",
        "/auth/../auth/nginx/payroll.hr.example",
        "https://gateway/auth/nginx/payroll.hr.example",
        "/auth/envoy",
    ],
)
def test_other_paths_ask_for_no_decision(target: str) -> None:
    assert auth_route(target.encode()) is None


def test_profile_that_is_not_enabled_asks_for_no_decision() -> None:
    assert auth_route(b"/auth/nginx/payroll.hr.example", {"envoy": PROFILES["envoy"]}) is None


def test_query_of_a_request_by_headers_is_ignored() -> None:
    """Caddy appends the one of the caller."""
    route = auth_route(b"/auth/caddy/payroll.hr.example?page=2")
    assert route is not None
    assert route.hostname == HOST.encode()


@pytest.mark.parametrize(
    "target", ["/../../nginx/other.example/x", "//nginx", "/auth/envoy/other.example/x", "/%2e%2e"]
)
def test_target_of_envoy_does_not_change_the_route(target: str) -> None:
    route = auth_route(f"/auth/envoy/{HOST}{target}".encode())
    assert route is not None
    assert (route.profile.name, route.hostname, route.rest) == ("envoy", HOST.encode(), target.encode())
