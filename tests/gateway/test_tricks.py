"""Tricks by which callers have passed gateways, one test each, through each proxy to each service.

A refused request never reaches the service. What reaches it is compared with the rules by what the service itself
routed (`Target.seen`), so a path that a proxy normalises for the gateway and the service alike may pass.
"""

import json

import pytest

from tests.gateway.proxies import HAPROXY, HOST, NGINX, OVER_HTTP2
from tests.gateway.target import Target
from tests.gateway.wire import ask_all, bearer, request

TO_ADMIN = {
    "two slashes at the start": "//admin/x",
    "two slashes in the middle": "/admin//x",
    "a dot segment": "/./admin/x",
    "a parent segment below a public path": "/assets/../admin/x",
    "a parent segment after two levels": "/assets/css/../../admin/x",
    "a parent segment at the end": "/admin/x/..",
    "encoded dots": "/assets/%2e%2e/admin/x",
    "encoded dots in upper case": "/assets/%2E%2E/admin/x",
    "one encoded dot": "/assets/.%2e/admin/x",
    "an encoded dot segment": "/%2e/admin/x",
    "an encoded slash": "/assets/..%2fadmin/x",
    "an encoded slash in upper case": "/assets/..%2Fadmin/x",
    "an encoded slash in the literal": "/admin%2fx",
    "an encoded backslash": "/assets/..%5cadmin/x",
    "a backslash": "/assets\\..\\admin\\x",
    "a backslash at the start": "/\\admin/x",
    "a path parameter": "/admin;a=b/x",
    "a path parameter in a parent segment": "/assets/..;/admin/x",
    "an encoded path parameter": "/admin%3ba=b/x",
    "dots encoded twice": "/assets/%252e%252e/admin/x",
    "a slash encoded twice": "/assets/..%252fadmin/x",
    "dots in overlong UTF-8": "/admin/%c0%ae%c0%ae/x",
    "a slash in overlong UTF-8": "/admin%c0%afx",
    "a null byte": "/admin/x%00.css",
    "a line feed": "/admin/x%0a",
    "a line feed before the path": "/%0a/admin/x",
    "a tab": "/admin/x%09",
    "a fragment": "/admin/x#/../../assets/a",
    "a fragment before the path": "/assets/a#/../../../admin",
    "an encoded fragment": "/admin/x%23",
    "an encoded question mark": "/admin/x%3f",
    "an encoded letter": "/%61dmin/x",
    "another case": "/ADMIN/x",
    "the Kelvin sign and others that change case to ASCII": "/admin/%e2%84%aa",
    "an escape that is not UTF-8": "/admin/%ff",
    "a bad escape": "/admin/%zz",
    "half an escape": "/admin/%4",
    "the unassigned %u escape": "/%u0061dmin/x",
    "a slash at the end": "/admin/x/",
    "two slashes at the end": "/admin/x//",
    "a query that has the public path": "/admin/x?/assets/a",
    "an encoded space at the end": "/admin%20/x",
    "a path that is not declared": "/internal/x",
    "a scheme-relative URL": "//open.hr.example/admin/x",
    "an absolute URL of the same host": "http://payroll.hr.example/admin/x",
    "an absolute URL of another host": "http://open.hr.example/admin/x",
    "an absolute URL with user information": "http://open.hr.example@payroll.hr.example/admin/x",
    "an absolute URL of a file": "file:///admin/x",
    "an asterisk": "*",
    "no slash at the start": "admin/x",
    "an authority": "payroll.hr.example:443",
    "a very long path": "/assets/" + "a" * 6000 + "/../../admin/x",
    "very many segments": "/assets" + "/a" * 1500 + "/.." * 1501 + "/admin/x",
}


@pytest.mark.parametrize("path", TO_ADMIN.values(), ids=TO_ADMIN)
def test_no_spelling_of_a_path_opens_what_needs_another_scope(target: Target, reader: str, path: str) -> None:
    target.refuses(request("GET", path, bearer(reader)))
    target.refuses(request("GET", path))


@pytest.mark.parametrize("octets", [b"/admin/\xff", b"/admin/\xc3\xa9", b"/admin/\x80x", b"/admin/\xc0\xae"])
def test_bytes_outside_of_ascii_in_the_target_open_nothing(target: Target, reader: str, octets: bytes) -> None:
    target.refuses(request("GET", octets, bearer(reader)))


@pytest.mark.parametrize("octets", [b"/admin/x\x00", b"/admin/x\x0b", b"/admin/x\x7f", b"/admin/\rx"])
def test_control_characters_in_the_target_open_nothing(target: Target, reader: str, octets: bytes) -> None:
    target.refuses(request("GET", octets, bearer(reader)))


def test_a_space_in_the_target_opens_nothing(target: Target, reader: str) -> None:
    target.refuses(request("GET", "/admin/x HTTP/1.1", bearer(reader)))


def test_a_more_specific_path_is_not_opened_by_the_scope_of_a_wildcard(target: Target, reader: str) -> None:
    assert target.passes(request("GET", "/salaries/7", bearer(reader))).route == "salary"
    for path in ("/salaries/export", "/salaries/export/", "/salaries/expor%74", "/salaries/export?id=7"):
        target.refuses(request("GET", path, bearer(reader)))


def test_an_encoded_letter_is_the_letter_for_gateway_and_service(target: Target, reader: str) -> None:
    assert target.passes(request("GET", "/%73alaries/%37", bearer(reader))).path == "/salaries/7"


def test_a_segment_that_is_not_ascii_is_decided_as_the_service_reads_it(target: Target, reader: str) -> None:
    assert target.passes(request("GET", "/salaries/caf%C3%A9", bearer(reader))).route == "salary"


# Methods


@pytest.mark.parametrize("method", ["get", "Get", "TRACE", "CONNECT", "PROPFIND", "PATCH", "DELETE", "POST", "GETX"])
def test_another_method_than_that_of_a_rule_is_refused(target: Target, reader: str, method: str) -> None:
    target.refuses(request(method, "/salaries/7", bearer(reader)))


def test_head_needs_what_get_needs(target: Target, reader: str) -> None:
    assert target.passes(request("HEAD", "/salaries/7", bearer(reader))).method == "HEAD"
    target.refuses(request("HEAD", "/salaries/export", bearer(reader)))
    target.refuses(request("HEAD", "/salaries/7"))


@pytest.mark.parametrize("name", ["X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override"])
def test_a_header_that_overrides_the_method_is_refused(target: Target, reader: str, name: str) -> None:
    for header in (name, name.lower()):
        target.refuses(request("GET", "/salaries/7", bearer(reader), (header, "PUT")))


@pytest.mark.parametrize(
    "name", ["X_HTTP_Method_Override", "X-HTTP_Method-Override", "X_HTTP_METHOD", "X-Method_Override"]
)
def test_an_override_with_underscores_does_not_reach_the_service(target: Target, reader: str, name: str) -> None:
    target.ask(request("GET", "/salaries/7", bearer(reader), (name, "PUT")))
    assert {routed.method for routed in target.seen()} <= {"GET"}


# Identity


FORGED = ("X-Auth-Subject", "x-auth-subject", "X-AUTH-SUBJECT", "X-Auth-Roles", "X-Auth-Scope", "X-Auth-Token-Id")


@pytest.mark.parametrize("name", FORGED)
def test_a_forged_identity_header_is_replaced(target: Target, reader: str, name: str) -> None:
    routed = target.passes(request("GET", "/salaries/7", (name, "root"), bearer(reader), (name, "root")))
    assert "root" not in str(routed)


@pytest.mark.parametrize("path", ["/healthz", "/greeting", "/assets/a"])
@pytest.mark.parametrize("name", FORGED)
def test_a_forged_identity_header_is_removed_on_paths_without_authentication(
    target: Target, path: str, name: str
) -> None:
    assert "root" not in str(target.passes(request("GET", path, (name, "root"), (name, "root"))))


@pytest.mark.parametrize("name", ["X_Auth_Subject", "X-Auth_Subject", "x_auth_roles", "X_AUTH-SCOPE"])
def test_an_identity_header_with_underscores_does_not_reach_the_service(target: Target, reader: str, name: str) -> None:
    for path in ("/salaries/7", "/healthz"):
        target.ask(request("GET", path, bearer(reader), (name, "root")))
        assert "root" not in str(target.seen())


@pytest.mark.parametrize("name", ["X-Auth-Subject", "X-Auth-Scope", "X-Auth-Roles", "Authorization"])
def test_a_connection_header_does_not_remove_what_the_gateway_set(target: Target, reader: str, name: str) -> None:
    answer = target.ask(request("GET", "/salaries/7", bearer(reader), ("Connection", f"close, {name}")))
    for routed in target.seen():
        assert routed.values("x-auth-client"), answer


@pytest.mark.parametrize("path", ["/salaries/7", "/greeting"])
def test_two_authorization_headers_are_refused(target: Target, reader: str, admin: str, path: str) -> None:
    target.refuses(request("GET", path, bearer(reader), bearer(admin)))
    target.refuses(request("GET", path, bearer(admin), bearer(reader)))
    target.refuses(request("GET", path, ("Authorization", "Basic eDp5"), bearer(reader)))
    target.refuses(request("GET", path, bearer(reader), ("authorization", "Basic eDp5")))
    target.refuses(request("GET", path, ("Authorization", f"Bearer {reader}, Bearer {admin}")))


@pytest.mark.parametrize("name", ["expired", "foreign", "forged"])
def test_a_token_that_is_not_valid_is_refused_with_a_challenge(target: Target, name: str) -> None:
    for path in ("/salaries/7", "/greeting", "/admin/x"):
        answer = target.refuses(request("GET", path, bearer(target.tokens[name])))
        assert answer is not None
        assert answer.status == 401
        assert 'error="invalid_token"' in answer.values("www-authenticate")[0]


def test_no_token_and_too_few_scopes_get_their_challenges(target: Target, reader: str) -> None:
    without = target.refuses(request("GET", "/salaries/7"))
    assert without is not None
    assert without.status == 401
    challenges = [challenge.partition(" ")[0] for challenge in without.values("www-authenticate")]
    # nginx before 1.23 passes on the first of several.
    assert challenges == (["Bearer"] if target.proxy.kind is NGINX else ["Bearer", "DPoP"])
    too_few = target.refuses(request("PUT", "/salaries/7", bearer(reader)))
    assert too_few is not None
    assert too_few.status == 403
    assert 'error="insufficient_scope"' in too_few.values("www-authenticate")[0]


def test_an_optional_token_gives_an_identity(target: Target, reader: str) -> None:
    assert target.passes(request("GET", "/greeting", bearer(reader))).values("x-auth-client")[0]


# Hosts and headers of proxies


@pytest.mark.parametrize(
    "host",
    ["open.hr.example", "payroll.hr.example.evil.example", "open.hr.example:8000", "127.0.0.1", "", "[::1]", None],
)
def test_another_host_is_refused(target: Target, reader: str, host: str | None) -> None:
    target.refuses(request("GET", "/salaries/7", bearer(reader), host=host))
    target.refuses(request("GET", "/admin/x", bearer(reader), host=host))


def test_two_hosts_are_refused(target: Target, reader: str) -> None:
    target.refuses(request("GET", "/salaries/7", bearer(reader), ("Host", "open.hr.example")))
    target.refuses(
        request("GET", "/salaries/7", bearer(reader), ("Host", "payroll.hr.example"), host="open.hr.example")
    )
    target.refuses(request("GET", "/salaries/7", bearer(reader), host="payroll.hr.example, open.hr.example"))


OF_PROXIES = {
    "X-Forwarded-Host": "open.hr.example",
    "X-Original-Host": "open.hr.example",
    "X-Forwarded-Server": "open.hr.example",
    "X-Host": "open.hr.example",
    "Forwarded": "host=open.hr.example;proto=https",
    "X-Original-URI": "/healthz",
    "X-Original-URL": "http://payroll.hr.example/healthz",
    "X-Rewrite-URL": "/healthz",
    "X-Forwarded-Uri": "/healthz",
    "X-Forwarded-Path": "/healthz",
    "X-Forwarded-Prefix": "/assets",
    "X-Envoy-Original-Path": "/healthz",
    "X-Original-Method": "OPTIONS",
    "X-Forwarded-Method": "OPTIONS",
    ":path": "/healthz",
    "X-Forwarded-For": "127.0.0.1",
    "X-Forwarded-Proto": "https",
    "X-Envoy-Internal": "true",
    "SCRIPT_NAME": "/admin",
    "Script-Name": "/admin",
}


@pytest.mark.parametrize("name", OF_PROXIES)
def test_headers_of_proxies_do_not_change_the_decision(target: Target, reader: str, name: str) -> None:
    header = (name, OF_PROXIES[name])
    target.refuses(request("GET", "/admin/x", bearer(reader), header))
    target.refuses(request("GET", "/admin/x", header, header))
    target.ask(request("GET", "/salaries/7", bearer(reader), header))
    assert {routed.path for routed in target.seen()} <= {"/salaries/7"}


@pytest.mark.parametrize("name", ["X-Original-URL", "x-rewrite-url"])
def test_a_header_by_which_some_services_route_does_not_reach_the_service(
    target: Target, reader: str, name: str
) -> None:
    routed = target.passes(request("GET", "/salaries/7", bearer(reader), (name, "/admin/x"), (name, "/admin/y")))
    assert not routed.values(name.lower())


def test_all_headers_of_proxies_together_do_not_change_the_decision(target: Target, reader: str) -> None:
    plain = [(name, text) for name, text in OF_PROXIES.items() if "_" not in name and ":" not in name]
    target.refuses(request("GET", "/admin/x", bearer(reader), *plain))


# Preflights, pipelining, smuggling, upgrades


def test_a_preflight_passes_where_a_rule_allows_options_and_nowhere_else(target: Target) -> None:
    preflight = (("Origin", "https://app.hr.example"), ("Access-Control-Request-Method", "PUT"))
    assert target.passes(request("OPTIONS", "/salaries/7", *preflight)).method == "OPTIONS"
    for path in ("/admin/x", "/salaries/export", "/reports"):
        target.refuses(request("OPTIONS", path, *preflight))
    target.ask(request("OPTIONS", "*", *preflight))  # Caddy answers this one itself
    assert target.seen() == []


def test_each_of_pipelined_requests_is_decided_by_itself(target: Target, reader: str) -> None:
    answers = ask_all(
        target.proxy.port,
        [
            request("GET", "/salaries/7", bearer(reader)),
            request("GET", "/salaries/7"),
            request("GET", "/healthz", ("X-Auth-Subject", "root")),
            request("GET", "/salaries/8", bearer(reader)),
            request("GET", "/admin/x", bearer(reader)),
        ],
    )
    assert [answer.status for answer in answers] == [200, 401, 200, 200, 403]
    assert sorted(routed.path for routed in target.seen()) == ["/healthz", "/salaries/7", "/salaries/8"]


SMUGGLED = b"GET /internal/x HTTP/1.1\r\nHost: payroll.hr.example\r\n\r\n"


@pytest.mark.parametrize(
    "headers",
    [
        (("Content-Length", "4"), ("Transfer-Encoding", "chunked")),
        (("Transfer-Encoding", "chunked"), ("Content-Length", "4")),
        (("Transfer-Encoding", "xchunked"),),
        (("Transfer-Encoding", "chunked, identity"),),
        (("Transfer-Encoding", "identity"), ("Content-Length", "0")),
        (("Transfer-Encoding", "chunked"), ("Transfer-Encoding", "identity")),
        (("Transfer-Encoding ", "chunked"),),
        (("Transfer_Encoding", "chunked"), ("Content-Length", "5")),
        (("Content-Length", "0"), ("Content-Length", "70")),
        (("Content-Length", "+0"),),
        (("Content-Length", "0, 70"),),
    ],
    ids=str,
)
def test_a_request_in_the_body_of_another_is_not_routed(
    target: Target, admin: str, headers: tuple[tuple[str, str], ...]
) -> None:
    """The service would see /internal/x, which no rule allows."""
    ask_all(target.proxy.port, [request("POST", "/reports", bearer(admin), *headers) + b"0\r\n\r\n" + SMUGGLED])
    assert {routed.path for routed in target.seen()} <= {"/reports"}


@pytest.mark.parametrize("protocol", ["h2c", "h2c, websocket", "websocket, h2c", "TLS/1.0", "foo", "connect-udp"])
def test_an_upgrade_to_anything_but_websocket_is_not_passed_on(target: Target, reader: str, protocol: str) -> None:
    headers = (("Connection", "Upgrade, HTTP2-Settings"), ("Upgrade", protocol), ("HTTP2-Settings", "AAMAAABkAAQAAP__"))
    answer = target.ask(request("GET", "/salaries/7", bearer(reader), *headers))
    assert all(not routed.values("upgrade") for routed in target.seen())
    assert answer is None or answer.status != 101


def test_a_websocket_needs_what_its_path_needs(target: Target) -> None:
    headers = (("Connection", "Upgrade"), ("Upgrade", "websocket"), ("Sec-WebSocket-Version", "13"))
    target.refuses(request("GET", "/salaries/7", *headers, ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==")))


def test_after_an_upgrade_that_the_service_ignored_requests_are_still_decided(target: Target, reader: str) -> None:
    """The service answers 200, not 101: a proxy that opened a tunnel all the same would pass on everything after it."""
    headers = (("Connection", "Upgrade"), ("Upgrade", "websocket"), ("Sec-WebSocket-Version", "7"))
    first = request("GET", "/salaries/7", bearer(reader), *headers)
    answers = ask_all(target.proxy.port, [first, SMUGGLED, SMUGGLED])
    assert all(answer.status != 101 for answer in answers)
    assert {routed.path for routed in target.seen()} <= {"/salaries/7"}


@pytest.mark.parametrize(
    "declared", [(), (("Trailer", "X-Auth-Subject, X-HTTP-Method-Override"),)], ids=["", "declared"]
)
def test_a_trailer_does_not_become_a_header(target: Target, admin: str, declared: tuple[tuple[str, str], ...]) -> None:
    """Servers such as Uvicorn with httptools add trailers to the headers (RFC 9110 §6.5.1 forbids it)."""
    chunked = request("POST", "/reports", bearer(admin), ("Transfer-Encoding", "chunked"), *declared)
    trailers = b"X-Auth-Subject: root\r\nX-HTTP-Method-Override: DELETE\r\n"
    answer = target.ask(chunked + b"5\r\nhello\r\n0\r\n" + trailers + b"\r\n")
    seen = target.seen()
    assert answer is not None
    assert answer.status == (411 if target.proxy.kind is HAPROXY else 200)
    assert not any(
        routed.values("x-http-method-override") or "root" in routed.values("x-auth-subject") for routed in seen
    )


def test_a_proxy_speaks_http2_only_if_it_drops_trailers(target: Target) -> None:
    if target.proxy.kind not in OVER_HTTP2:
        answer = target.ask(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        assert answer is None or answer.status >= 400


def test_a_body_reaches_the_service_once(target: Target, admin: str) -> None:
    routed = target.passes(request("POST", "/reports", bearer(admin), body=b"x" * 100_000))
    assert routed.values("content-length") == ["100000"]


def test_the_gateway_serves_the_metadata_that_its_challenges_name(target: Target) -> None:
    path = "/.well-known/oauth-protected-resource"
    challenged = target.refuses(request("GET", "/salaries/7"))
    assert challenged is not None
    assert f'resource_metadata="https://{HOST}{path}"' in challenged.values("www-authenticate")[0]
    answer = target.ask(request("GET", path))
    assert answer is not None
    assert answer.status == 200
    assert json.loads(answer.body)["resource"] == f"https://{HOST}"
    assert target.seen() == []
