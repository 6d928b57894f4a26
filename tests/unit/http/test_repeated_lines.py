"""A repeated request line, whose parts are kept, is parsed as if they were not, however requests are split."""

from dataclasses import replace
from itertools import pairwise
from unittest.mock import patch

from hypothesis import example, given
from hypothesis import strategies as st

from scopewright.http import HttpLimits, HttpRequest
from scopewright.http.parser import RequestParser, RequestRefused
from tests.unit.http.served import GET, post

LIMITS = HttpLimits(target=200, headers=600, header_count=6, body=100, pipelined=3)

lines = st.sampled_from(
    [
        b"GET /a HTTP/1.1",
        b"POST /token HTTP/1.1",
        b"POST /a%2Fb?c=d HTTP/1.1",
        b"GET /a HTTP/1.0",
        b"GET http://x/a HTTP/1.1",
        b"GET /a#b HTTP/1.1",
        b"GET  /a HTTP/1.1",
        b"OPTIONS * HTTP/1.1",
        b"CONNECT /a HTTP/1.1",
        b"HEAD /%s HTTP/1.1" % (b"a" * 190),
        b"\r\nGET /a HTTP/1.1",
        b"BREW /a HTTP/1.1",
        b"GET /a HTTP/2.0",
    ]
)
headers = st.lists(
    st.sampled_from(
        [
            b"Host: x",
            b"host: y",
            b"Host: x y",
            b"Authorization: Basic a",
            b"authorization: Basic b",
            b"X-Name:  a value \t",
            b"X-Empty:",
            b"Connection: keep-alive",
            b"Connection: close",
            b"Connection: Upgrade",
            b"Upgrade: h2c",
            b"Expect: 100-continue",
            b"Content-Length: 5",
            b"Content-Length: 0005",
            b"Content-Length: 5, 5",
            b"Content-Length: 99999999999",
            b"Transfer-Encoding: chunked",
            b" folded",
            b"X-Feed: a\nb",
            b"X-Return: a\rb",
            b"X-Zero: \x00",
            b"X-Long: " + b"a" * 250,
        ]
    ),
    max_size=7,
)
bodies = st.sampled_from([b"", b"hello", b"he\r\n\r", b"\r\n\r\nx", b"hello, you", b"5\r\nhello\r\n0\r\nX: y\r\n\r\n"])
ends = st.sampled_from([b"\r\n", b"\r\n", b"\r\n", b"\r\n", b"\n", b"\r"])


@st.composite
def messages(draw: st.DrawFn) -> bytes:
    """Mostly valid: a Host, and a length that is that of the body."""
    end, body = draw(ends), draw(bodies)
    line = draw(lines | st.just(b"POST /token HTTP/1.1"))
    sent = draw(headers)
    if draw(st.integers(0, 4)):
        sent = [b"Host: x", *sent]
        if body and draw(st.integers(0, 4)):
            sent.append(b"Content-Length: %d" % len(body))
    return end.join([line, *sent, b"", body])


Seen = tuple[list[HttpRequest], bool, bool, str]


def seen(parser: RequestParser, pieces: list[bytes]) -> list[Seen]:
    """What the parser shows after each piece."""
    requests: list[HttpRequest] = []
    shown: list[Seen] = []
    for piece in pieces:
        refused = ""
        try:
            parser.feed(piece)
        except RequestRefused as error:
            refused = f"{error.status} {error}"
        requests += [replace(request) for request in parser.requests]
        parser.requests.clear()
        shown.append(([*requests], parser.partial, parser.awaits_continue, refused))
        if refused or (requests and not requests[-1].persists):
            break
    return shown


@given(st.lists(messages(), min_size=1, max_size=4), st.lists(st.integers(1, 400), max_size=6), st.booleans())
@example([GET, GET.replace(b"/a", b"/ab"), GET], [], True)
@example([post(b"a"), post(b"b"), GET], [], True)
def test_requests_are_parsed_as_if_no_line_was_kept(sent: list[bytes], cuts: list[int], cut_between: bool) -> None:
    whole = b"".join(sent)
    ends = {sum(map(len, sent[:n])) for n in range(1, len(sent))} if cut_between else set()
    at = sorted({0, len(whole), *ends, *(cut for cut in cuts if cut < len(whole))})
    pieces = [whole[start:end] for start, end in pairwise(at)]
    kept = seen(RequestParser(LIMITS, "10.0.0.1"), pieces)
    with patch("scopewright.http.parser._MAX_KEPT_LINE", 0):
        assert kept == seen(RequestParser(LIMITS, "10.0.0.1"), pieces)


def test_request_line_with_a_query_is_not_kept() -> None:
    """It may have a secret, and the connection may stay idle."""
    parser = RequestParser(HttpLimits())
    for target in (b"/a", b"/b?secret", b"/a"):
        parser.feed(GET.replace(b"/a", target))
        assert parser.requests.pop().target == target
        kept = [value for name, value in vars(parser).items() if name in ("_line", "_line_parts")]
        assert "secret" not in repr(kept)
        assert "/" in repr(kept)
