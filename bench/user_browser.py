"""A browser and an application of `users`, which take as little CPU time as they can: they share the cores."""

import asyncio
import base64
import hashlib
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from secrets import token_urlsafe
from typing import Any, Final
from urllib.parse import parse_qs, quote, unquote, urlencode, urlsplit

import orjson

from bench.benchmark import BenchmarkError
from bench.token_clients import AUDIENCE, ISSUER, secret
from bench.user_records import REDIRECT_URI, SCOPES, SPA, client_id

TIMEOUT_SECONDS: Final = 15.0
_MAX_STEPS: Final = 8
_FIELD: Final = re.compile(r'<input type="hidden" name="(\w+)" value="([^"]*)"')
_FORM: Final = re.compile(r"<form[^>]*>.*?</form>", re.DOTALL)
_ACTION: Final = re.compile(r'action="([^"]*)"')
_HEADERS: Final = (
    b"Host: issuer.example.org\r\n"
    b"User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:145.0) Gecko/20100101 Firefox/145.0\r\n"
    b"Accept: text/html,application/json;q=0.9,*/*;q=0.8\r\nAccept-Encoding: gzip, deflate, br, zstd\r\n"
    b"Accept-Language: en-GB,en;q=0.5\r\nX-Forwarded-For: 10.244.3.17\r\nX-Forwarded-Proto: https\r\n"
)


@dataclass(frozen=True, slots=True)
class Response:
    status: int
    location: str
    cookies: tuple[str, ...]
    """`name=value` each."""
    body: bytes


class Connections:
    """Connections to one server, opened on demand and used again."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._free: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    @asynccontextmanager
    async def one(self) -> AsyncIterator["Connection"]:
        while self._free and self._free[-1][0].at_eof():  # the server has closed it
            self._free.pop()[1].close()
        reader, writer = self._free.pop() if self._free else await asyncio.open_connection("127.0.0.1", self._port)
        try:
            yield Connection(reader, writer)
        except BaseException:
            writer.close()
            raise
        self._free.append((reader, writer))

    def close(self) -> None:
        for _, writer in self._free:
            writer.close()
        self._free.clear()


@dataclass(frozen=True, slots=True)
class Connection:
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def request(self, method: str, target: str, more: bytes = b"", form: str = "") -> Response:
        """`more` are header lines."""
        body = form.encode()
        if method == "POST":
            more += b"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: %d\r\n" % len(body)
        request = b"%b %b HTTP/1.1\r\n%b%b\r\n%b" % (method.encode(), target.encode(), _HEADERS, more, body)
        return await self.exchange(request)

    async def exchange(self, request: bytes) -> Response:
        """Send the bytes of one request."""
        self.writer.write(request)
        async with asyncio.timeout(TIMEOUT_SECONDS):
            head = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            length, location, cookies = 0, "", []
            for line in head.split("\r\n"):
                name, _, value = line.partition(": ")
                match name.lower():
                    case "content-length":
                        length = int(value)
                    case "location":
                        location = value
                    case "set-cookie":
                        cookies.append(value.partition(";")[0])
            content = await self.reader.readexactly(length)
        return Response(int(head[9:12]), location, tuple(cookies), content)


@dataclass(frozen=True, slots=True)
class LoginRequest:
    """Of one login. `path` is that of the server's authorization endpoint."""

    path: str
    application: tuple[str, str]
    user: str
    verifier: str = field(default_factory=lambda: token_urlsafe(32))

    @property
    def target(self) -> str:
        challenge = base64.urlsafe_b64encode(hashlib.sha256(self.verifier.encode()).digest()).decode().rstrip("=")
        parameters = {
            "response_type": "code",
            "client_id": client_id(self.application),
            "redirect_uri": REDIRECT_URI,
            "scope": SCOPES,
            "resource": AUDIENCE,
            "state": token_urlsafe(16),
            "nonce": token_urlsafe(16),
            "code_challenge": challenge,
            "code_challenge_method": "S256",
        }
        return f"{self.path}?{urlencode(parameters)}"


async def log_in(connection: Connection, request: LoginRequest) -> dict[str, Any]:
    """A whole login in a new browser, to the tokens: five requests at either server. Returns the token response."""
    code = await _code(connection, request)
    form = {"grant_type": "authorization_code", "code": code, "redirect_uri": REDIRECT_URI}
    return await tokens(connection, request.application, form | {"code_verifier": request.verifier})


async def refresh(connection: Connection, application: tuple[str, str], refresh_token: str) -> dict[str, Any]:
    """Returns the token response."""
    return await tokens(connection, application, {"grant_type": "refresh_token", "refresh_token": refresh_token})


async def tokens(connection: Connection, application: tuple[str, str], form: dict[str, str]) -> dict[str, Any]:
    """The token response, which must have an ID token, to the request of an application."""
    name = client_id(application)
    form = {**form, "resource": AUDIENCE}
    if application == SPA:
        form["client_id"], header = name, b""
    else:
        header = b"Authorization: Basic %b\r\n" % base64.b64encode(f"{name}:{secret(name)}".encode())
    response = await connection.request("POST", "/token", header, urlencode(form))
    if response.status != 200:
        raise RefusedError("/token", response)
    content: dict[str, Any] = orjson.loads(response.body)
    if not content["id_token"] or content["access_token"].count(".") != 2:
        raise BenchmarkError("the token response has no ID token, or an opaque access token")
    return content


class RefusedError(BenchmarkError):
    """Another answer than that of a successful step."""

    def __init__(self, path: str, response: Response) -> None:
        super().__init__(f"{path}: {response.status} {response.location} {response.body[:300]!r}")


async def _code(connection: Connection, request: LoginRequest) -> str:
    cookies: dict[str, str] = {}
    method, target, form = "GET", request.target, ""
    for _ in range(_MAX_STEPS):
        sent = b"Cookie: %b\r\n" % "; ".join(f"{n}={v}" for n, v in cookies.items()).encode() if cookies else b""
        if method == "POST":
            sent += b"Origin: https://issuer.example.org\r\nSec-Fetch-Site: same-origin\r\n"
        response = await connection.request(method, target, sent, form)
        for cookie in response.cookies:
            name, _, value = cookie.partition("=")
            cookies[name] = value
        if response.location.startswith(REDIRECT_URI):
            found = parse_qs(urlsplit(response.location).query)
            if "code" not in found:
                raise RefusedError(target, response)
            return found["code"][0]
        if response.status == 200:
            method, (target, form) = "POST", _filled_in(response.body.decode(), target, request.user)
        elif response.status == 303 and response.location:
            method, target, form = "GET", response.location.removeprefix(ISSUER), ""
        else:
            raise RefusedError(target, response)
    raise BenchmarkError(f"{target}: a login has more than {_MAX_STEPS} steps")


def _filled_in(page: str, target: str, user: str) -> tuple[str, str]:
    """Target and content of the form with a password."""
    text = next(form for form in _FORM.findall(page) if 'type="password"' in form)
    action = _ACTION.search(text)
    fields = {name: unquote(value) for name, value in _FIELD.findall(text)}
    content = urlencode({**fields, "username": user, "password": "any"}, quote_via=quote)
    return (action[1] if action and action[1] else target).removeprefix(ISSUER), content
