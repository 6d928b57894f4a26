"""Which bytes are parsed as a request, over raw sockets."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from scopewright.http import HttpLimits
from scopewright.http.parser import RequestParser
from tests.harness.waiting import until
from tests.unit.http.served import GET, Served, post, serving

LIMITS = HttpLimits(target=200, headers=600, header_count=10, body=1000, pipelined=20)


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    async with serving(LIMITS) as running:
        yield running


async def test_request_sent_byte_by_byte_is_parsed(served: Served) -> None:
    wire = await served.connect()
    for byte in b"POST /a%20b?c=d HTTP/1.1\r\nHost: x\r\nX-Name: a value \r\nContent-Length: 5\r\n\r\nhello" + GET:
        wire.send(bytes([byte]))
        await asyncio.sleep(0)
    assert (await wire.reply()).body == b"hello"
    assert (await wire.reply()).headers["x-path"] == "/a"
    first = served.seen[0]
    assert (first.method, first.path, first.query, first.body) == ("POST", "/a b", b"c=d", b"hello")
    assert dict(first.headers)[b"x-name"].strip() == b"a value"
    assert first.peer == "127.0.0.1"


async def test_connection_is_kept_and_each_response_has_length_and_date(served: Served) -> None:
    wire = await served.connect()
    for n in range(3):
        wire.send(post(b"%d" % n))
        reply = await wire.reply()
        assert reply.body == b"%d" % n
        assert "connection" not in reply.headers
        assert reply.headers["date"].endswith("GMT")


async def test_pipelined_requests_are_answered_in_order(served: Served) -> None:
    wire = await served.connect()
    wire.send(post(b"1") + post(b"2", b"/slow") + post(b"3") + post(b"4"))
    assert (await wire.reply()).body == b"1"
    await asyncio.sleep(0.05)
    assert len(served.seen) == 2, "requests after one that waits are not started"
    wire.send(post(b"5"))
    served.gate.set()
    assert [(await wire.reply()).body for _ in range(4)] == [b"2", b"3", b"4", b"5"]


async def test_too_many_pipelined_requests_get_429_and_close(served: Served) -> None:
    wire = await served.connect()
    wire.send(GET * 500)
    for _ in range(LIMITS.pipelined):
        assert (await wire.reply()).status == 200
    last = await wire.reply()
    assert (last.status, last.headers["connection"]) == (429, "close")
    assert await wire.ended() == b""
    assert len(served.seen) == LIMITS.pipelined


async def test_head_response_has_the_length_of_the_body_and_no_body(served: Served) -> None:
    wire = await served.connect()
    wire.send(b"HEAD /large HTTP/1.1\r\nHost: x\r\n\r\n" + GET)
    assert (await wire.reply(bodiless=True)).headers["content-length"] == "1000000"
    assert (await wire.reply()).headers["x-path"] == "/a"


async def test_304_response_has_no_length(served: Served) -> None:
    wire = await served.connect()
    wire.send(GET.replace(b"/a", b"/same"))
    assert "content-length" not in (await wire.reply()).headers


async def test_expect_100_continue_gets_100_or_a_refusal(served: Served) -> None:
    wire = await served.connect()
    wire.send(b"POST /echo HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n")
    assert (await wire.reply()).status == 100
    wire.send(b"ok")
    assert (await wire.reply()).body == b"ok"
    wire.send(b"POST /echo HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 999999\r\n\r\n")
    assert (await wire.reply()).status == 413


async def test_chunked_body_is_read_and_its_trailers_are_ignored(served: Served) -> None:
    wire = await served.connect()
    wire.send(b"POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
    wire.send(b"3;a=b\r\nabc\r\n2\r\nde\r\n0\r\nAuthorization: Basic x\r\n\r\n")
    assert (await wire.reply()).body == b"abcde"
    assert b"authorization" not in served.seen[0].headers


async def test_values_of_a_repeated_header_are_joined_and_its_name_recorded(served: Served) -> None:
    wire = await served.connect()
    wire.send(b"POST /echo HTTP/1.1\r\nHost: x\r\nA: 1\r\nB: 2\r\na: 3\r\nTransfer-Encoding: chunked\r\n\r\n")
    wire.send(b"0\r\nB: 4\r\nB: 5\r\n\r\n")
    await wire.reply()
    [http] = served.seen
    assert (http.headers[b"a"], http.headers[b"b"], [*http.repeated]) == (b"1, 3", b"2", [b"a"])


@pytest.mark.parametrize("chunked", [False, True])
async def test_body_above_the_limit_is_truncated_one_byte_above_it(served: Served, chunked: bool) -> None:
    wire = await served.connect()
    body = b"x" * 3000
    if chunked:
        wire.send(b"POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        wire.send(b"".join(b"64\r\n" + body[:100] + b"\r\n" for _ in range(30)) + b"0\r\n\r\n")
    else:
        wire.send(post(body))
    assert len((await wire.reply()).body) == LIMITS.body + 1


async def test_http_1_0_connection_is_closed_unless_keep_alive_is_sent(served: Served) -> None:
    wire = await served.connect()
    wire.send(b"GET /a HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
    assert (await wire.reply()).headers["connection"] == "keep-alive"
    wire.send(b"GET /a HTTP/1.0\r\n\r\n")
    assert (await wire.reply()).headers["connection"] == "close"
    assert await wire.ended() == b""


async def test_requests_after_connection_close_are_ignored(served: Served) -> None:
    wire = await served.connect()
    wire.send(b"GET /a HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n" + GET)
    assert (await wire.reply()).headers["connection"] == "close"
    assert await wire.ended() == b""
    assert len(served.seen) == 1


async def test_upgrade_to_http_2_is_ignored_and_the_body_is_read(served: Served) -> None:
    """Java's HttpClient sends it without TLS."""
    wire = await served.connect()
    upgrade = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAEAAEAAAAIAAAAB\r\n"
    for _ in range(2):
        wire.send(b"POST /echo HTTP/1.1\r\nHost: x\r\n" + upgrade + b"Content-Length: 6\r\n\r\nabc")
        await asyncio.sleep(0.01)
        wire.send(b"def" + post(b"next"))
        assert (await wire.reply()).body == b"abcdef"
        assert (await wire.reply()).body == b"next"


async def test_invalid_request_after_an_upgrade_does_not_lose_the_response_before_it(
    served: Served, caplog: pytest.LogCaptureFixture
) -> None:
    wire = await served.connect()
    wire.send(b"GET /a HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\nGET /b HTTP/1.1\r\n\r\n")
    assert (await wire.reply()).headers["x-path"] == "/a"
    assert (await wire.reply()).status == 400
    assert await wire.ended() == b""
    assert not caplog.text


H2C = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAEAAEAAAAIAAAAB\r\n"


@pytest.mark.parametrize("upgrade", [b"", H2C])
async def test_request_with_an_upgrade_header_is_parsed_as_without_it(served: Served, upgrade: bytes) -> None:
    wire = await served.connect()
    head = b"POST /a%2Fb?c=%20 HTTP/1.1\r\nHost: x\r\nAuthorization: 1\r\nauthorization: 2\r\nA: 1, 2\r\n"
    wire.send(
        head + upgrade + b"Transfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\nHost: t\r\nA: t\r\n\r\n" + GET
    )
    assert (await wire.reply()).body == b"abc"
    assert (await wire.reply()).status == 200
    first = served.seen[0]
    assert (first.method, first.path, first.query, first.target) == ("POST", "/a/b", b"c=%20", b"/a%2Fb?c=%20")
    assert [*first.repeated] == [b"authorization"]
    assert (first.headers[b"authorization"], first.headers[b"a"], first.headers[b"host"]) == (b"1, 2", b"1, 2", b"x")


@pytest.mark.parametrize("upgrade", [b"Connection: Upgrade, ", b"Upgrade: h2c\r\nConnection: Upgrade, "])
@pytest.mark.parametrize(
    ("version", "wish", "persists"),
    [
        (b"1.0", b"x", False),
        (b"1.0", b"keep-alive", True),
        (b"1.0", b"keep-alive, close", False),
        (b"1.1", b"x", True),
        (b"1.1", b"Close", False),
        (b"1.1", b"keep-alive, close", False),
    ],
)
async def test_upgrade_header_changes_neither_version_nor_persistence(
    served: Served, upgrade: bytes, version: bytes, wish: bytes, persists: bool
) -> None:
    wire = await served.connect()
    wire.send(b"POST /echo HTTP/%b\r\nHost: x\r\n%b%b\r\nContent-Length: 3\r\n\r\nabc" % (version, upgrade, wish))
    reply = await wire.reply()
    assert reply.body == b"abc"
    assert reply.headers.get("connection") == ("close" if not persists else None if version == b"1.1" else "keep-alive")
    wire.send(GET)
    if persists:
        assert (await wire.reply()).status == 200
    else:
        assert await wire.ended() == b""


async def test_expect_100_continue_with_an_upgrade_header_gets_100(served: Served) -> None:
    wire = await served.connect()
    wire.send(b"POST /echo HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n" + H2C + b"Content-Length: 2\r\n\r\n")
    assert (await wire.reply()).status == 100
    wire.send(b"ok")
    assert (await wire.reply()).body == b"ok"


async def test_http_1_0_client_gets_no_100(served: Served) -> None:
    """It would treat the 100 as the response (RFC 9110 §10.1.1)."""
    wire = await served.connect()
    wire.send(b"POST /echo HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n")
    await asyncio.sleep(0.05)
    wire.send(b"ok")
    assert (await wire.reply()).body == b"ok"


async def test_expect_100_continue_behind_a_slow_response_gets_100_after_it(served: Served) -> None:
    wire = await served.connect()
    wire.send(post(b"1", b"/slow"))
    await until(lambda: served.seen)
    wire.send(b"POST /echo HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n")
    await asyncio.sleep(0.05)
    served.gate.set()
    assert (await wire.reply()).body == b"1"
    assert (await wire.reply()).status == 100
    wire.send(b"ok")
    assert (await wire.reply()).body == b"ok"


@pytest.mark.parametrize(
    ("target", "path", "query"),
    [
        (b"/a%2Fb%20c?d=%2F&e", "/a/b c", b"d=%2F&e"),
        (b"//a/../b;c", "//a/../b;c", b""),
        (b"/a?b?c", "/a", b"b?c"),
        (b"http://issuer.example/a%20b?c", "/a b", b"c"),
        (b"HTTPS://[::1]:8443", "/", b""),
        (b"http://issuer.example?a=/b", "/", b"a=/b"),
    ],
)
async def test_target_is_kept_unchanged(served: Served, target: bytes, path: str, query: bytes) -> None:
    wire = await served.connect()
    wire.send(b"GET %b HTTP/1.1\r\nHost: x\r\n\r\n" % target)
    await wire.reply()
    [http] = served.seen
    assert (http.target, http.path, http.query) == (target, path, query)


async def test_options_accepts_an_asterisk_as_target(served: Served) -> None:
    wire = await served.connect()
    wire.send(b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n")
    await wire.reply()
    assert served.seen[0].path == "*"


async def test_content_length_may_have_leading_zeros() -> None:
    """Python parses no number of more than 4,300 digits."""
    async with serving(HttpLimits()) as running:
        wire = await running.connect()
        wire.send(b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: %b3\r\n\r\nabc" % (b"0" * 5_000))
        assert (await wire.reply()).body == b"abc"


async def test_trailers_take_no_memory() -> None:
    parser = RequestParser(HttpLimits(body=64 * 1024))
    parser.feed(b"POST /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n")
    parser.feed(b"".join(b"%d:\r\n" % n for n in range(10_000)))
    assert parser.partial
    assert not parser._headers


@pytest.mark.parametrize(
    "piece",
    [b"GET /" + b"a" * 7_000, GET[:-2] + b"X: " + b"a" * 30_000, post(b"a" * 16_000)[:-1], GET[:-2] + b"X:\r\n" * 60],
)
async def test_bytes_held_by_a_request_are_counted(piece: bytes) -> None:
    parser = RequestParser(HttpLimits())
    parser.feed(GET)
    assert parser.bytes_used == 0
    parser.requests.clear()
    parser.feed(piece)
    assert len(piece) <= parser.bytes_used <= len(piece) + 64 * 400


async def test_absolute_form_of_the_target_is_accepted(served: Served) -> None:
    wire = await served.connect()
    wire.send(b"GET http://issuer.example/a/b?c HTTP/1.1\r\nHost: x\r\n\r\n")
    assert (await wire.reply()).headers["x-path"] == "/a/b"


async def test_half_closed_client_still_gets_its_response(served: Served) -> None:
    wire = await served.connect()
    wire.send(post(b"1", b"/slow"))
    wire.writer.write_eof()
    await asyncio.sleep(0.05)
    served.gate.set()
    assert (await wire.reply()).body == b"1"
    assert await wire.ended() == b""


async def test_client_that_ends_its_side_with_the_request_gets_its_response(served: Served) -> None:
    """The end may be read while the response is held for its audit line."""
    for _ in range(20):
        wire = await served.connect()
        wire.send(GET + GET)
        wire.writer.write_eof()
        await wire.reply()
        assert (await wire.reply()).headers["x-path"] == "/a"
        assert await wire.ended() == b""


async def test_expect_100_continue_behind_other_requests_of_the_same_read_gets_100_after_them(served: Served) -> None:
    wire = await served.connect()
    head = b"POST /echo HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n"
    wire.send(GET * 6 + head)
    for _ in range(6):
        assert (await wire.reply()).headers["x-path"] == "/a"
    assert (await wire.reply()).status == 100
    wire.send(b"ok")
    assert (await wire.reply()).body == b"ok"


async def test_exception_of_the_handler_is_500_and_the_connection_is_kept(
    served: Served, caplog: pytest.LogCaptureFixture
) -> None:
    wire = await served.connect()
    wire.send(GET.replace(b"/a", b"/bug") + GET)
    assert (await wire.reply()).status == 500
    assert (await wire.reply()).status == 200
    assert "a bug" in caplog.text


CHUNKS = b"3\r\nabc\r\n0\r\n\r\n"


@pytest.mark.parametrize(
    ("status", "request_"),
    [
        (400, b"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n" + CHUNKS),
        (400, b"POST /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n" + CHUNKS),
        (400, b"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd"),
        (400, b"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n"),
        (400, b"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: %s\r\n\r\n" % (b"9" * 200)),
        (501, b"POST /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip, chunked\r\n\r\n" + CHUNKS),
        (501, b"POST /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip\r\n\r\n" + CHUNKS),
        (400, b"POST /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n"),
        (400, b"GET /a HTTP/1.1\r\n\r\n"),
        (400, b"GET /a HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n"),
        (400, b"GET /a HTTP/1.1\r\nHost : x\r\n\r\n"),
        (400, b"GET /a HTTP/1.1\r\nHost: x\r\n folded\r\n\r\n"),
        (400, b"GET /a HTTP/1.1\nHost: x\n\n"),
        (400, b"GET /a HTTP/1.1\r\nHost: x\r\nX: \x00\r\n\r\n"),
        (400, b"GET /\xfc HTTP/1.1\r\nHost: x\r\n\r\n"),
        (400, b"POST /a HTTP/1.0\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n" + CHUNKS),
        (400, b"POST /a HTTP/1.0\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n" + CHUNKS),
        (400, b"POST /a HTTP/1.1\r\nHost: x\r\n" + H2C + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n"),
        (501, b"POST /a HTTP/1.1\r\nHost: x\r\n" + H2C + b"Transfer-Encoding: gzip\r\n\r\n" + CHUNKS),
        (400, b"GET /a HTTP/1.1\r\nHost: x\r\nHost: y\r\n" + H2C + b"\r\n"),
        (400, b"GET /a HTTP/1.1\r\n" + H2C + b"\r\n"),
        (400, b"GET /a HTTP/1.0\r\nHost: x\r\nHost: x\r\n\r\n"),
        (400, b"GET /a HTTP/1.1\r\nHost: x y\r\n\r\n"),
        (400, b"GET /a HTTP/1.1\r\nHost: user@x\r\n\r\n"),
        (400, b"GET /a HTTP/1.1\r\nHost: http://x/\r\n\r\n"),
        (400, b"GET /a HTTP/1.1\r\nHost: x:y\r\n\r\n"),
        (400, b"GET * HTTP/1.1\r\nHost: x\r\n\r\n"),
        (400, b"GET ftp://x/a HTTP/1.1\r\nHost: x\r\n\r\n"),
        (400, b"GET http://user@x/a HTTP/1.1\r\nHost: x\r\n\r\n"),
        (400, b"GET /a#b HTTP/1.1\r\nHost: x\r\n\r\n"),
        (501, b"CONNECT x:80 HTTP/1.1\r\nHost: x\r\n" + H2C + b"\r\n"),
        (501, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"),
        (501, b"\x00" * 100),
        (501, b"BREW /a HTTP/1.1\r\nHost: x\r\n\r\n"),
        (501, b"CONNECT x:80 HTTP/1.1\r\nHost: x\r\n\r\n"),
        (501, b"CONNECT /a HTTP/1.1\r\nHost: x\r\n\r\n"),
        (501, b"CONNECT http://x/a HTTP/1.1\r\nHost: x\r\n\r\n"),
        (400, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
        (505, b"GET /a HTTP/2.0\r\nHost: x\r\n\r\n"),
        (505, b"GET /a\r\n\r\n"),
        (414, b"GET /%s HTTP/1.1\r\nHost: x\r\n\r\n" % (b"a" * 300)),
        (431, b"GET /a HTTP/1.1\r\nHost: x\r\nX: %s\r\n\r\n" % (b"a" * 700)),
        (431, b"GET /a HTTP/1.1\r\nHost: x\r\n" + b"X: y\r\n" * 11 + b"\r\n"),
        (413, b"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 00000%d\r\n\r\nx" % (LIMITS.message + 1)),
        (413, b"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\nx" % (LIMITS.message + 1)),
        (413, b"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n" + b"x" * 500_000),
    ],
)
async def test_invalid_request_is_refused_and_the_connection_closed(
    served: Served, status: int, request_: bytes
) -> None:
    for piece in (len(request_), 1000, 7):
        wire = await served.connect()
        for start in range(0, min(len(request_), 20_000), piece):
            wire.send(request_[start : start + piece])
        wire.send(GET)
        reply = await wire.reply()
        assert (reply.status, reply.headers["connection"]) == (status, "close")
        assert await wire.ended() == b""
    assert served.seen == []


@pytest.mark.parametrize(
    "endless",
    [
        b"X: " + b"a" * 50_000,
        b"X: y\r\n" * 10_000,
        b"Transfer-Encoding: chunked\r\n\r\n" + b"1;" + b"e" * 50_000,
        b"Transfer-Encoding: chunked\r\n\r\n0\r\n" + b"X: y\r\n" * 10_000,
        b"Transfer-Encoding: chunked\r\n\r\n" + b"1\r\nx\r\n" * 10_000,
    ],
)
async def test_endless_request_is_refused(served: Served, endless: bytes) -> None:
    wire = await served.connect()
    wire.send(b"POST /a HTTP/1.1\r\nHost: x\r\n")
    for start in range(0, len(endless), 500):
        wire.send(endless[start : start + 500])
        await asyncio.sleep(0)
    assert (await wire.reply()).status in (413, 431)
    assert served.seen == []
