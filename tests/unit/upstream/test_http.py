"""Requests to a provider: where they go, and the bounds of answers."""

import asyncio
import ipaddress
import itertools
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path
from unittest.mock import Mock

import pytest

from scopewright.upstream import MAX_ANSWER, FailureReason, UpstreamFailed
from scopewright.upstream.addresses import Address
from scopewright.upstream.bounded_stream import MAX_HEAD, MAX_HEAD_LINES, MAX_LINES
from scopewright.upstream.http import MAX_VALUES, UpstreamAnswer, UpstreamHttp, check_url
from tests.controlplane.certificates import Authority
from tests.harness.openid_replies import (
    Behaviour,
    Received,
    Reply,
    reply_gzip_bomb,
    reply_json,
    reply_large,
    reply_redirect,
    reply_slowly,
    replying,
)
from tests.harness.scripted_server import ScriptedServer
from tests.ports import free_port

LOOPBACK = ipaddress.ip_address("127.0.0.1")


class Names:
    """A DNS server: each question gets the next answer."""

    def __init__(self, *answers: str | tuple[str, ...]) -> None:
        self._answers = [(answer,) if isinstance(answer, str) else answer for answer in answers]
        self.questions: list[tuple[str, int]] = []

    async def __call__(self, host: str, port: int) -> tuple[Address, ...]:
        self.questions.append((host, port))
        return tuple(map(ipaddress.ip_address, self._answers.pop(0)))


class Script:
    """What the server answers, and what it has received."""

    def __init__(self) -> None:
        self.reply: Behaviour = replying(reply_json({"a": 1}))
        self.received: list[Received] = []

    def __call__(self, request: Received) -> Reply:
        self.received.append(request)
        return self.reply(request)


@pytest.fixture
def script() -> Script:
    return Script()


@pytest.fixture
def server(script: Script) -> Iterator[ScriptedServer]:
    with ScriptedServer(script) as server:
        yield server


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority.at(Path(tmp_path_factory.mktemp("ca")))


@pytest.fixture
def tls(script: Script, authority: Authority) -> Iterator[ScriptedServer]:
    with ScriptedServer(script, certificate=authority.server("login.example")) as server:
        yield server


@pytest.fixture
async def http() -> AsyncIterator[UpstreamHttp]:
    async with UpstreamHttp(allow_loopback=True) as http:
        yield http


async def failure(http: UpstreamHttp, url: str) -> UpstreamFailed:
    with pytest.raises(UpstreamFailed) as raised:
        await http.get(url)
    return raised.value


async def test_answer(http: UpstreamHttp, server: ScriptedServer) -> None:
    answer = await http.get(f"{server.origin}/path")
    assert (answer.status, answer.content_type, answer.json()) == (200, "application/json", {"a": 1})


async def test_form_is_posted(http: UpstreamHttp, server: ScriptedServer, script: Script) -> None:
    await http.post(f"{server.origin}/token", {"code": "a b&c"}, {"Authorization": "Basic x"})
    [request] = script.received
    assert (request.method, request.path, request.parameters) == ("POST", "/token", {"code": "a b&c"})
    assert request.headers["authorization"] == "Basic x"


# Where requests go


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "127.1", "0x7f.1", "2130706433", "0"])
async def test_loopback_is_refused_in_every_spelling(host: str) -> None:
    async with UpstreamHttp() as http:
        failed = await failure(http, f"https://{host}:{free_port()}/")
    assert failed.reason == "AddressNotAllowed"


@pytest.mark.parametrize("host", ["[::1]", "[::ffff:127.0.0.1]", "[fe80::1]", "169.254.169.254", "[fd00:ec2::254]"])
async def test_literal_address_is_checked(host: str) -> None:
    async with UpstreamHttp() as http:
        failed = await failure(http, f"https://{host}/latest/meta-data")
    assert failed.reason == "AddressNotAllowed"


async def test_no_request_reaches_a_refused_address(server: ScriptedServer, script: Script) -> None:
    async with UpstreamHttp(resolve=Names("127.0.0.1")) as http:
        failed = await failure(http, f"https://login.example:{server.port}/")
    assert failed.reason == "AddressNotAllowed"
    assert "login.example has the address 127.0.0.1, which is loopback" in failed.message
    assert script.received == []


async def test_one_refused_address_among_others_is_enough() -> None:
    async with UpstreamHttp(resolve=Names(("93.184.216.34", "169.254.169.254"))) as http:
        failed = await failure(http, "https://login.example/")
    assert failed.reason == "AddressNotAllowed"


async def test_the_order_of_the_addresses_does_not_change_the_message() -> None:
    """It is in the status of the IdentityProvider, which would be written at each check."""
    addresses = ("169.254.0.2", "93.184.216.34", "fe80::1", "169.254.0.1")
    messages = set()
    for order in itertools.permutations(addresses):
        async with UpstreamHttp(resolve=Names(order)) as http:
            messages.add((await failure(http, "https://login.example/")).message)
    assert messages == {"login.example has the address 169.254.0.1, which is link-local"}


async def test_checked_address_is_the_one_of_the_connection(
    tls: ScriptedServer, script: Script, authority: Authority
) -> None:
    """A DNS server that changes its answer is asked once: the second answer would be another host (DNS rebinding)."""
    names = Names("127.0.0.1", "169.254.169.254")
    async with UpstreamHttp(authority.pem.decode(), allow_loopback=True, resolve=names) as http:
        answer = await http.get(f"https://login.example:{tls.port}/")
    assert answer.status == 200
    assert names.questions == [("login.example", tls.port)]
    assert script.received[0].headers["host"] == f"login.example:{tls.port}"


async def test_address_that_refuses_connections_is_followed_by_the_next(server: ScriptedServer) -> None:
    names = Names(("127.0.0.2", "127.0.0.1"))
    async with UpstreamHttp(allow_loopback=True, resolve=names) as http:
        assert (await http.get(f"http://login.example:{server.port}/")).status == 200


async def test_plain_http_goes_to_loopback_only(server: ScriptedServer) -> None:
    async with UpstreamHttp(allow_loopback=True, resolve=Names(("127.0.0.1", "10.0.0.1"))) as http:
        failed = await failure(http, f"http://login.example:{server.port}/")
    assert failed.reason == "AddressNotAllowed"


async def test_plain_http_goes_nowhere_in_production() -> None:
    async with UpstreamHttp(resolve=Names("10.0.0.1")) as http:
        assert (await failure(http, "http://login.example/")).reason == "AddressNotAllowed"


async def test_name_that_does_not_exist() -> None:
    async def resolve(host: str, port: int) -> tuple[Address, ...]:
        raise OSError("no such name")

    async with UpstreamHttp(resolve=resolve) as http:
        assert (await failure(http, "https://login.example/")).reason == "Unreachable"


async def test_name_that_cannot_be_a_host_name() -> None:
    async with UpstreamHttp() as http:
        assert (await failure(http, f"https://{'a' * 64}.example/")).reason == "Unreachable"


async def test_nothing_listens(http: UpstreamHttp) -> None:
    failed = await failure(http, f"http://127.0.0.1:{free_port()}/")
    assert failed.reason == "Unreachable"
    assert "no connection to" in failed.message


async def test_proxies_of_the_environment_are_not_used(server: ScriptedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{free_port()}")
        monkeypatch.setenv(name.upper(), f"http://127.0.0.1:{free_port()}")
    async with UpstreamHttp(allow_loopback=True) as http:
        assert (await http.get(server.origin)).status == 200


# Certificates


@pytest.mark.parametrize("host", ["login.example", "127.0.0.1"])
async def test_private_authority(tls: ScriptedServer, authority: Authority, host: str) -> None:
    names = Names("127.0.0.1")
    async with UpstreamHttp(authority.pem.decode(), allow_loopback=True, resolve=names) as http:
        assert (await http.get(f"https://{host}:{tls.port}/")).status == 200


async def test_unknown_authority(tls: ScriptedServer) -> None:
    async with UpstreamHttp(allow_loopback=True, resolve=Names("127.0.0.1")) as http:
        failed = await failure(http, f"https://login.example:{tls.port}/")
    assert failed.reason == "CertificateInvalid"
    assert "check caCertificateRef" in failed.message


async def test_given_authority_replaces_those_of_the_system(
    tls: ScriptedServer, authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "system.pem").write_bytes(authority.pem)
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "system.pem"))
    (tmp_path / "other").mkdir()
    other = Authority.at(tmp_path / "other").pem.decode()
    async with UpstreamHttp(other, allow_loopback=True, resolve=Names("127.0.0.1")) as http:
        assert (await failure(http, f"https://login.example:{tls.port}/")).reason == "CertificateInvalid"


async def test_certificate_must_have_the_name_of_the_url(tls: ScriptedServer, authority: Authority) -> None:
    """Also after a connection to the same address by the right name: no connection serves two requests."""
    names = Names("127.0.0.1", "127.0.0.1")
    async with UpstreamHttp(authority.pem.decode(), allow_loopback=True, resolve=names) as http:
        assert (await http.get(f"https://login.example:{tls.port}/")).status == 200
        failed = await failure(http, f"https://other.example:{tls.port}/")
    assert failed.reason == "CertificateInvalid"


@pytest.mark.parametrize(
    "pem", ["not PEM", "é", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"], ids=["text", "é", "der"]
)
def test_certificates_that_are_not_pem(pem: str) -> None:
    with pytest.raises(UpstreamFailed) as raised:
        UpstreamHttp(pem)
    assert raised.value.reason == "CertificateInvalid"


# Answers


async def test_largest_answer(http: UpstreamHttp, server: ScriptedServer, script: Script) -> None:
    script.reply = reply_large(MAX_ANSWER)
    assert len((await http.get(server.origin)).body) == MAX_ANSWER


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (reply_large(MAX_ANSWER + 1), "AnswerTooLarge"),
        (replying(Reply(200, b"{}", {f"X-{number}": "a" for number in range(MAX_HEAD_LINES)})), "AnswerTooLarge"),
        (replying(Reply(200, b"{}", {"Set-Cookie2": ",a" * MAX_HEAD})), "AnswerTooLarge"),
        (replying(Reply(200, b"1\r\na\r\n" * MAX_LINES, {"Transfer-Encoding": "chunked"})), "AnswerTooLarge"),
        (replying(Reply(103)), "AnswerTooLarge"),
        (reply_gzip_bomb(64 << 20), "AnswerMalformed"),
        (reply_redirect("https://login.example/"), "Refused"),
        (replying(Reply(307, headers={"Location": "http://169.254.169.254/"})), "Refused"),
    ],
    ids=[
        "large",
        "many headers",
        "large header",
        "chunks of a byte",
        "interim response",
        "gzip bomb",
        "redirect",
        "redirect of a form",
    ],
)
async def test_answer_that_is_refused(
    http: UpstreamHttp, server: ScriptedServer, script: Script, reply: Behaviour, reason: FailureReason
) -> None:
    script.reply = reply
    assert (await failure(http, server.origin)).reason == reason
    assert len(script.received) == 1
    assert script.received[0].headers["accept-encoding"] == "identity"


@pytest.mark.parametrize(
    "reply", [reply_slowly(30), replying(replace(reply_json({"a": "b" * 50}), pause=0.1))], ids=["late", "by the byte"]
)
async def test_whole_request_has_one_limit(server: ScriptedServer, script: Script, reply: Behaviour) -> None:
    script.reply = reply
    async with UpstreamHttp(allow_loopback=True, seconds=0.3) as http, asyncio.timeout(2):
        failed = await failure(http, server.origin)
    assert failed.reason == "Unreachable"
    assert "within 0.3 s" in failed.message


async def test_slow_name_resolution_counts_too() -> None:
    async def resolve(host: str, port: int) -> tuple[Address, ...]:
        await asyncio.sleep(30)
        return ()

    async with UpstreamHttp(resolve=resolve, seconds=0.1) as http, asyncio.timeout(2):
        assert (await failure(http, "https://login.example/")).reason == "Unreachable"


async def test_answer_that_is_not_http(http: UpstreamHttp) -> None:
    async def respond(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"SSH-2.0-OpenSSH_9.9\r\n")
        writer.close()

    server = await asyncio.start_server(respond, "127.0.0.1", 0)
    async with server:
        failed = await failure(http, f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/")
    assert failed.reason == "Unreachable"
    assert "OpenSSH" not in failed.message


async def test_cookies_are_not_parsed(
    http: UpstreamHttp, server: ScriptedServer, script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The standard library parses Set-Cookie2 in quadratic time, before it asks a policy."""
    parse = Mock(return_value=[])
    monkeypatch.setattr("http.cookiejar.CookieJar.make_cookies", parse)
    script.reply = replying(Reply(200, b"{}", {"Set-Cookie": "a=b", "Set-Cookie2": ",a" * 1000}))
    await http.get(server.origin)
    parse.assert_not_called()


async def test_no_cookie_is_kept(http: UpstreamHttp, server: ScriptedServer, script: Script) -> None:
    script.reply = replying(Reply(200, b"{}", {"Set-Cookie": "session=1; Path=/"}))
    await http.get(server.origin)
    await http.get(server.origin)
    assert "cookie" not in script.received[1].headers


@pytest.mark.parametrize(
    ("status", "reason"), [(404, "Refused"), (204, "Refused"), (500, "Unreachable"), (503, "Unreachable")]
)
def test_status_that_is_not_200(status: int, reason: FailureReason) -> None:
    with pytest.raises(UpstreamFailed) as raised:
        UpstreamAnswer("https://login.example/", status, "", b"{}").require_ok()
    assert raised.value.reason == reason


@pytest.mark.parametrize(
    "body",
    [b"", b"<html>", b"[]", b'{"a": 1, "a": 2}', b'{"a": NaN}', b'{"a":' * 9_000, b'{"a": "\\ud800"}', b"\xff{}"],
    ids=["empty", "html", "list", "name twice", "NaN", "deep", "surrogate", "not UTF-8"],
)
def test_body_that_is_not_a_json_object(body: bytes) -> None:
    with pytest.raises(UpstreamFailed) as raised:
        UpstreamAnswer("https://login.example/", 200, "application/json", body).json()
    assert raised.value.reason == "AnswerMalformed"


@pytest.mark.parametrize("item", [b"{}", b"[]", b"1"])
def test_json_of_many_values(item: bytes) -> None:
    """A mebibyte of them would stop the event loop for up to 0.2 s."""
    body = b'{"a": [' + b",".join([item] * (MAX_VALUES + 1)) + b"]}"
    with pytest.raises(UpstreamFailed) as raised:
        UpstreamAnswer("https://login.example/", 200, "application/json", body).json()
    assert raised.value.reason == "AnswerTooLarge"


# URLs


@pytest.mark.parametrize(
    "url",
    [
        None,
        7,
        "",
        "login.example",
        "ftp://login.example/",
        "https://user@login.example/",
        "https://login.example/#a",
        "https://login.example\\@evil.example/",
        "https://login.exämple/",
        "https://login.example/a b",
        "https://login.example:99999/",
        "https://xn--a.example/",
        "https://xn--/",
        "https://256.256.256.256/",
        "https://login.example/" + "a" * 2048,
    ],
)
def test_url_that_clients_could_read_differently(url: object) -> None:
    with pytest.raises(UpstreamFailed) as raised:
        check_url(url, "jwks_uri", allow_loopback=False)
    assert raised.value.reason == "AnswerMalformed"
    assert raised.value.message.startswith("jwks_uri ")


@pytest.mark.parametrize(
    ("url", "is_allowed_in_development"), [("http://127.0.0.1:8080/jwks", True), ("http://login.example/", False)]
)
def test_plain_http_url(url: str, *, is_allowed_in_development: bool) -> None:
    with pytest.raises(UpstreamFailed) as raised:
        check_url(url, "jwks_uri", allow_loopback=False)
    assert raised.value.reason == "AddressNotAllowed"
    if is_allowed_in_development:
        assert check_url(url, "jwks_uri", allow_loopback=True) == url
    else:
        with pytest.raises(UpstreamFailed):
            check_url(url, "jwks_uri", allow_loopback=True)
