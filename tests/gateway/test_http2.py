"""Tricks over HTTP/2, through Envoy and HAProxy to each service: what HTTP/1.1 cannot express, and what it can."""

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pytest

from tests.gateway.apis import SERVERS
from tests.gateway.conftest import TargetOf, target_name
from tests.gateway.proxies import HOST, OVER_HTTP2
from tests.gateway.sending import send_http2
from tests.gateway.target import Target
from tests.gateway.test_tricks import FORGED, OF_PROXIES, TO_ADMIN

Header = tuple[bytes, bytes]


@dataclass(frozen=True)
class Frames:
    """A request as the headers of its HEADERS frame, in order, and its body."""

    headers: tuple[Header, ...]
    body: bytes = b""

    def http2(self) -> Sequence[Header]:
        return self.headers


@pytest.fixture(params=[(kind, service) for kind in OVER_HTTP2 for service in SERVERS], ids=target_name)
def target(request: pytest.FixtureRequest, target_of: TargetOf) -> Iterator[Target]:
    found = target_of(*request.param)
    found.seen()
    yield found
    found.seen()


def frames(
    path: str | bytes,
    *headers: Header,
    token: str = "",
    method: bytes = b"GET",
    authority: str = HOST,
    body: bytes = b"",
) -> Frames:
    pseudo = (
        (b":method", method),
        (b":scheme", b"http"),
        (b":authority", authority.encode()),
        (b":path", path.encode() if isinstance(path, str) else path),
    )
    authorization = ((b"authorization", f"Bearer {token}".encode()),) if token else ()
    return Frames((*pseudo, *authorization, *headers), body)


def statuses(target: Target, *requests: Frames) -> list[int]:
    return asyncio.run(send_http2(target.proxy.port, requests))


def refuses(target: Target, *requests: Frames) -> None:
    """Asserts that each request is refused with 4xx, or its stream is reset, and that none is passed on."""
    answered = statuses(target, *requests)
    assert target.seen() == []
    assert all(status == 0 or 400 <= status < 500 for status in answered), answered


def test_a_request_over_http2_is_decided_like_one_over_http1(target: Target, reader: str) -> None:
    allowed = frames("/salaries/7", token=reader)
    assert statuses(target, allowed, frames("/salaries/7"), frames("/admin/x", token=reader)) == [200, 401, 403]
    (routed,) = target.seen()
    assert (routed.path, routed.values("x-auth-client")) == ("/salaries/7", ["payroll.reader"])


def test_no_spelling_of_a_path_opens_what_needs_another_scope(target: Target, reader: str) -> None:
    refuses(target, *(frames(path, token=reader) for path in TO_ADMIN.values()))
    refuses(target, *(frames(path) for path in TO_ADMIN.values()))


@pytest.mark.parametrize(
    "path",
    [
        b"",
        b" /admin/x",
        b"/admin/x HTTP/1.1\r\nX-Auth-Subject: root\r\n",
        b"/admin/\xff",
        b"/admin/x\x00",
        b"\n/admin/x",
    ],
)
def test_a_path_that_http1_cannot_express_opens_nothing(target: Target, reader: str, path: bytes) -> None:
    refuses(target, frames(path, token=reader))


@pytest.mark.parametrize(
    "method", [b"get", b"", b"GET /internal/x HTTP/1.1\r\nA: b", b"G ET", b"GET\n", b"CONNECT", b"PRI", b"PATCH"]
)
def test_a_method_that_no_rule_has_opens_nothing(target: Target, reader: str, method: bytes) -> None:
    refuses(target, frames("/salaries/7", token=reader, method=method))


@pytest.mark.parametrize("name", [b":method", b":path", b":authority", b":scheme", b":status", b":protocol"])
def test_a_second_or_unknown_pseudo_header_opens_nothing(target: Target, reader: str, name: bytes) -> None:
    values = {b":method": b"PUT", b":path": b"/admin/x", b":authority": b"open.hr.example"}
    statuses(target, frames("/salaries/7", (name, values.get(name, b"200")), token=reader))
    assert {(routed.method, routed.path) for routed in target.seen()} <= {("GET", "/salaries/7")}


def test_another_authority_is_refused_and_a_host_header_does_not_replace_it(target: Target, reader: str) -> None:
    for authority in ("open.hr.example", "", "payroll.hr.example@open.hr.example", "open.hr.example:8000"):
        refuses(target, frames("/salaries/7", token=reader, authority=authority))
    statuses(target, frames("/admin/x", (b"host", b"open.hr.example"), token=reader))
    assert target.seen() == []


@pytest.mark.parametrize(
    "header",
    [
        (b"connection", b"x-auth-client"),
        (b"transfer-encoding", b"chunked"),
        (b"upgrade", b"h2c"),
        (b"upgrade", b"websocket"),
        (b"proxy-connection", b"keep-alive"),
        (b"keep-alive", b"1"),
        (b"te", b"chunked"),
        (b"X-Auth-Subject", b"root"),
        (b"x_auth_subject", b"root"),
        (b"x-auth-subject: root\r\nx-a", b"b"),
        (b"a", b"b\r\nx-auth-subject: root"),
        (b"a", b"b\r\n\r\nGET /internal/x HTTP/1.1\r\nhost: payroll.hr.example\r\n\r\n"),
        (b"a", b"b\nx-auth-subject: root"),
        (b"a", b"b\x00"),
        (b"", b"root"),
        (b" x-auth-subject", b"root"),
        (b"x-auth-subject ", b"root"),
        (b"content-length", b"5"),
        (b"content-length", b"0\r\n\r\nGET /internal/x HTTP/1.1"),
        (b"cookie", b"a=b"),
    ],
    ids=str,
)
def test_a_header_that_http1_reads_otherwise_changes_nothing(target: Target, reader: str, header: Header) -> None:
    statuses(target, frames("/salaries/7", header, token=reader), frames("/healthz", header))
    seen = target.seen()
    assert {routed.path for routed in seen} <= {"/salaries/7", "/healthz"}
    assert "root" not in str(seen)


def test_forged_identity_headers_are_replaced(target: Target, reader: str) -> None:
    for name in sorted({name.lower().encode() for name in FORGED}):
        forged = ((name, b"root"), (name, b"root"))
        assert statuses(target, frames("/salaries/7", *forged, token=reader), frames("/healthz", *forged)) == [200, 200]
        seen = target.seen()
        assert len(seen) == 2
        assert "root" not in str(seen)


def test_two_authorization_headers_are_refused(target: Target, reader: str, admin: str) -> None:
    second = (b"authorization", f"Bearer {admin}".encode())
    refuses(target, frames("/salaries/7", second, token=reader), frames("/greeting", second, token=reader))


def test_headers_of_proxies_do_not_change_the_decision(target: Target, reader: str) -> None:
    headers = [(name.lower().encode(), text.encode()) for name, text in OF_PROXIES.items() if name[0] != ":"]
    refuses(target, *(frames("/admin/x", header, token=reader) for header in headers))


def test_a_body_does_not_become_a_request(target: Target, admin: str) -> None:
    body = b"0\r\n\r\nGET /internal/x HTTP/1.1\r\nHost: payroll.hr.example\r\n\r\n"
    assert statuses(target, frames("/reports", token=admin, method=b"POST", body=body)) == [200]
    assert [routed.path for routed in target.seen()] == ["/reports"]
