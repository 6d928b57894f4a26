"""Requests made from a seed: valid ones, and ones with mutated paths, methods and headers."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from tests.gateway.proxies import HOST
from tests.gateway.services.routes import METHODS

_PATHS: Final = (
    "/healthz",
    "/assets/site.css",
    "/greeting",
    "/salaries",
    "/salaries/7",
    "/salaries/7/history",
    "/salaries/export",
    "/reports",
    "/admin",
    "/admin/users/7",
    "/internal/metrics",
    "/none",
    "/",
)
_METHODS: Final = (*("GET",) * 16, *METHODS, "PUT", "POST", "get", "PROPFIND", "TRACE", "QUERY", "Put", "GET.")
_INSERTED: Final = (
    b"/", b"//", b"/./", b"/../", b"/.", b"/..", b"%2e", b"%2E%2e", b"/%2e%2e/", b"%2f", b"%2F", b"%5c", b"\\", b";",
    b";a=b", b"%3b", b"%00", b"%0a", b"%0d%0a", b"%09", b"%20", b"%23", b"#", b"?", b"%3f", b"%25", b"%252f", b"%252e",
    b"%c0%af", b"%c0%ae", b"%ff", b"%zz", b"%", b"%u002f", b"%ef%bc%8f", b"%c3%a9", b"\xff", b"\xc3\xa9", b"*", b"+",
    b":", b"@", b"~", b"&", b"=", b",", b"a", b"A", b"../assets/", b"/../admin/", b"/admin/../", b"assets/..", b"..;/",
)  # fmt: skip
_HEADERS: Final = (
    "X-Auth-Subject", "x-auth-client", "X-Auth-Scope", "X-Auth-Roles", "X-Auth-Token-Id", "X_Auth_Subject",
    "X-Auth_Roles", "X-Original-URI", "X-Original-URL", "X-Original-Method", "X-Original-Host", "X-Rewrite-URL",
    "X-Forwarded-Uri", "X-Forwarded-Method", "X-Forwarded-Host", "X-Forwarded-For", "X-Forwarded-Proto",
    "X-Forwarded-Prefix", "Forwarded", "X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override",
    "X_HTTP_Method_Override", "X-Envoy-Original-Path", "X-Envoy-Force-Trace", "Connection", "Upgrade", "Origin",
    "Access-Control-Request-Method", "Cookie", "Host", "Range", "Accept", "TE", "Proxy-Authorization", "Via",
    "Authorization",
)  # fmt: skip
_VALUES: Final = (
    "root", "payroll.admin", "payroll.admin payroll.write", "/healthz", "/assets/a", "OPTIONS", "PUT", "GET",
    "open.hr.example", "https://open.hr.example/", "host=open.hr.example", "127.0.0.1", "websocket", "h2c", "upgrade",
    "close, X-Auth-Scope", "keep-alive, Authorization", "", " ", "a,b", "*", "trailers", "\xff\xfe", HOST,
)  # fmt: skip
FORBIDDEN_IN_HTTP2: Final = frozenset({"connection", "upgrade", "te", "host"})


@dataclass(frozen=True)
class Request:
    method: str
    target: bytes
    headers: tuple[tuple[str, str], ...]
    token: str
    """The name of the token; empty: none."""
    body: bytes
    mutated: bool
    """False: the request is an ordinary one, and its status is known."""

    def http1(self) -> bytes:
        lines = [b"%b %b HTTP/1.1" % (self.method.encode(), self.target), b"Host: " + HOST.encode()]
        lines += [f"{name}: {text}".encode("latin-1") for name, text in self.headers]
        if self.body:
            lines.append(b"Content-Length: %d" % len(self.body))
        return b"\r\n".join([*lines, b"", self.body])

    def http2(self) -> Sequence[tuple[bytes, bytes]]:
        pseudo = [(":method", self.method), (":scheme", "http"), (":authority", HOST)]
        headers = [(name.encode(), text.encode()) for name, text in pseudo]
        headers.append((b":path", self.target))
        plain = [(name.lower(), text.strip()) for name, text in self.headers]
        headers += [(name.encode(), text.encode("latin-1")) for name, text in plain if name not in FORBIDDEN_IN_HTTP2]
        return headers


class Generator:
    """An iterator without an end."""

    def __init__(self, seed: str, tokens: Mapping[str, str]) -> None:
        self._random = random.Random(seed)
        self._tokens = tokens
        self._names = ("", *tokens, *("reader",) * 4, "writer", *("admin",) * 4)

    def request(self) -> Request:
        choose = self._random
        method, target = choose.choice(_METHODS), choose.choice(_PATHS).encode()
        name = choose.choice(self._names)
        headers = [("Authorization", f"Bearer {self._tokens[name]}")] if name else []
        body = b"x" * choose.randrange(200) if method in ("POST", "PUT", "PATCH") else b""
        mutated = choose.random() < 0.6
        if mutated:
            for _ in range(choose.choice((0, 1, 1, 2, 3))):
                target = self._mutated(target)
            for _ in range(choose.choice((0, 0, 1, 1, 2, 4))):
                headers.insert(choose.randrange(len(headers) + 1), (choose.choice(_HEADERS), choose.choice(_VALUES)))
        return Request(method, target, tuple(headers), name, body, mutated)

    def _mutated(self, target: bytes) -> bytes:
        choose = self._random
        at = choose.randrange(len(target) + 1)
        kind = choose.randrange(10)
        if kind < 5:
            return target[:at] + choose.choice(_INSERTED) + target[at:]
        if kind == 5:  # one character, encoded once or twice
            escape = b"%%%02x" % target[at - 1]
            return target[: at - 1] + (escape if choose.random() < 0.7 else escape.replace(b"%", b"%25")) + target[at:]
        if kind == 6:
            return target[:at] + target[at:].swapcase()
        if kind == 7:
            return target + choose.choice((b"/", b"//", b"?a=/../admin", b"?", b"/..", b"/.", b"#a", b"/%2e%2e", b";x"))
        if kind == 8:
            prefix = choose.choice(
                (b"http://payroll.hr.example", b"http://open.hr.example", b"//open.hr.example", b"/assets/..")
            )
            return prefix + target
        octet = bytes((choose.randrange(0x21, 0x100),))
        return target[:at] + (octet if choose.random() < 0.8 else octet * choose.choice((500, 5000))) + target[at:]
