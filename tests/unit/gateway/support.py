"""A gateway in memory: the bytes of a proxy's request, the server's parser, the decision, and the answer."""

from collections.abc import Awaitable, Iterable, Mapping, Sequence
from typing import Any

from scopewright.gateway.answers import answer
from scopewright.gateway.apis import ApiTable, GatewayApi
from scopewright.gateway.decide import Decider, Decision
from scopewright.gateway.identity_headers import IdentityHeaders
from scopewright.gateway.profiles import PROFILES, auth_route
from scopewright.http.limits import HttpLimits
from scopewright.http.messages import Answer, HttpRequest
from scopewright.http.parser import RequestParser
from scopewright.verifier import Verifier
from scopewright.verifier.rules import Rules
from tests.harness.clock import Clock
from tests.unit.verifier.support import AUDIENCE, ISSUER, KEY, FakeIssuer

HOST = "payroll.hr.example"
Sent = Iterable[tuple[str, str]]

RULES: list[dict[str, Any]] = [
    {"name": "health", "paths": ["/healthz"], "authentication": "None"},
    {"name": "greeting", "paths": ["/hello"], "authentication": "Optional"},
    {"name": "read", "methods": ["GET"], "paths": ["/salaries/**"], "scopes": ["payroll.read"]},
    {"name": "write", "methods": ["PUT"], "paths": ["/salaries/**"], "roles": ["payroll-manager"]},
]


def rules(listed: Sequence[Mapping[str, Any]] = RULES, **document: Any) -> Rules:
    return Rules.parse({"rules": list(listed), **document})


class MemoryGateway:
    """A gateway of one API by default. `web` is its issuer."""

    def __init__(self, **options: Any) -> None:
        self.web = FakeIssuer(KEY)
        self.clock = Clock()
        self.verifier = Verifier(
            ISSUER, AUDIENCE, http=self.web.async_client(), clock=self.clock, revocations=True, **options
        )
        self.identity = IdentityHeaders()
        self.decider = Decider()
        self.serve(self.api())

    def api(self, key: str = "payroll/payroll", hostname: str = HOST, **document: Any) -> GatewayApi:
        listed, metadata = document.pop("rules", RULES), document.pop("metadata", None)
        return GatewayApi(key, (hostname,), rules(listed, **document), self.verifier, metadata)

    def serve(self, *apis: GatewayApi) -> None:
        self.decider.apis = ApiTable(apis)

    async def decide(self, request: bytes) -> Decision:
        decision = self.decide_at_once(request)
        return decision if isinstance(decision, Decision) else await decision

    def decide_at_once(self, request: bytes) -> Decision | Awaitable[Decision]:
        http = parsed(request)
        route = auth_route(http.target)
        assert route is not None
        return self.decider.decide(http, route)

    async def answer(self, request: bytes) -> Answer:
        return answer(await self.decide(request), self.identity)


def question(
    profile: str = "nginx", target: str = "/salaries/7", method: str = "GET", *, hostname: str = HOST, sent: Sent = ()
) -> bytes:
    """The request with which a proxy asks. `sent` are the headers of the caller, which it passes on."""
    chosen = PROFILES[profile]
    names = (chosen.method_header, chosen.target_header, chosen.hostname_header)
    if chosen.reads_own_request:
        return request(f"{method} /auth/{profile}/{hostname}{target}", [("Host", HOST), *sent])
    url = f"https://{HOST}{target}" if chosen.target_is_url else target
    values = zip(names, (method, url, HOST), strict=True)
    passed = [(name.decode(), value) for name, value in values if name]
    return request(f"GET /auth/{profile}/{hostname}", [("Host", "gateway:8083"), *passed, *sent])


def request(line: str, sent: Sent) -> bytes:
    lines = [f"{line} HTTP/1.1", *(f"{name}: {value}" for name, value in sent)]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


def parsed(data: bytes) -> HttpRequest:
    parser = RequestParser(HttpLimits())
    parser.feed(data)
    (only,) = parser.requests
    return only


def bearer(token: str) -> tuple[str, str]:
    return ("Authorization", f"Bearer {token}")


def headers_of(answer: Answer) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name, value in answer.headers:
        found.setdefault(name.decode(), []).append(value.decode())
    return found
