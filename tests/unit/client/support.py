"""A mounted Secret as the kubelet writes it, and fakes of token endpoint and API."""

import base64
import shutil
from pathlib import Path
from urllib.parse import parse_qs, unquote_plus

import httpx

from scopewright.client import ClientCredentials, Clock

NOW = 1_800_000_000.0
TOKEN_ENDPOINT = "https://issuer.example/token"
ENTRIES = {
    "type": "oauth2",
    "client_id": "leave.leave-worker",
    "client_secret": "SecretNumberOne",
    "issuer": "https://issuer.example",
    "token_endpoint": TOKEN_ENDPOINT,
    "jwks_uri": "https://issuer.example/jwks.json",
}


class Mount:
    """`..data` is a link to the folder of one version; each entry is a link through `..data`."""

    def __init__(self, path: Path, **entries: str | None) -> None:
        self.path = path
        self.version = 0
        path.mkdir()
        self.write(**entries)

    def write(self, **entries: str | None) -> None:
        """Replace the version atomically, and remove the old one. An entry that is None is omitted."""
        self.version += 1
        folder = self.path / f"..2026_11_22_12_00_0{self.version}"
        folder.mkdir()
        for name, value in {**ENTRIES, **entries}.items():
            if value is None:
                (self.path / name).unlink(missing_ok=True)
                continue
            (folder / name).write_text(value)
            if not (self.path / name).is_symlink():
                (self.path / name).symlink_to(f"..data/{name}")
        data = self.path / "..data"
        old = data.readlink() if data.is_symlink() else None
        (self.path / "..data_tmp").symlink_to(folder.name)
        (self.path / "..data_tmp").replace(data)
        if old is not None:
            shutil.rmtree(self.path / old)


class FakeClock(Clock):
    """Waiting takes no time; `waits` are the seconds."""

    def __init__(self) -> None:
        self.instant = NOW
        self.waits: list[float] = []

    def now(self) -> float:
        return self.instant

    def wait(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.instant += seconds

    async def wait_async(self, seconds: float) -> None:
        self.wait(seconds)


class Endpoint:
    """A token endpoint that accepts `secret` of any client, after the `answers`, each of which is given once."""

    def __init__(self, secret: str = "SecretNumberOne") -> None:
        self.secret = secret
        self.answers: list[httpx.Response | Exception] = []
        self.requests: list[httpx.Request] = []
        self.expires_in: object = 600

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        if self.answers:
            answer = self.answers.pop(0)
            if isinstance(answer, Exception):
                raise answer
            return answer
        if self.pair(-1)[1] != self.secret:
            return refused("invalid_client", 401)
        body = {"access_token": f"token-{len(self.requests)}", "token_type": "Bearer", "expires_in": self.expires_in}
        return httpx.Response(200, json=body)

    def form(self, number: int = -1) -> dict[str, list[str]]:
        return parse_qs(self.requests[number].content.decode(), strict_parsing=True)

    def pair(self, number: int = -1) -> tuple[str, str]:
        """Client id and secret of a request, decoded as RFC 6749 §2.3.1 requires."""
        scheme, _, encoded = self.requests[number].headers["authorization"].partition(" ")
        assert scheme == "Basic"
        name, _, secret = base64.b64decode(encoded).decode().partition(":")
        return unquote_plus(name), unquote_plus(secret)

    def client(self) -> httpx.Client:
        return httpx.Client(transport=httpx.MockTransport(self))

    def async_client(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(transport=httpx.MockTransport(self))


class IssuerServer(Endpoint):
    """An issuer with metadata and three endpoints. `documents` are the answers to GET, by path."""

    def __init__(self, issuer: str = "https://issuer.example") -> None:
        super().__init__()
        self.introspection: dict[str, object] = {"active": True, "scope": "payroll.read"}
        self.metadata: dict[str, object] = {
            "issuer": issuer,
            "token_endpoint": f"{issuer}/token",
            "introspection_endpoint": f"{issuer}/introspect",
            "revocation_endpoint": f"{issuer}/revoke",
        }
        self.documents = {"/.well-known/oauth-authorization-server": self.metadata}

    def __call__(self, request: httpx.Request) -> httpx.Response:
        if self.answers:
            return super().__call__(request)
        if request.method == "GET":
            self.requests.append(request)
            document = self.documents.get(request.url.path)
            return httpx.Response(404) if document is None else httpx.Response(200, json=document)
        answer = super().__call__(request)
        if answer.status_code != 200 or request.url.path.endswith("/token"):
            return answer
        return httpx.Response(200, json=self.introspection if request.url.path.endswith("/introspect") else {})

    @property
    def paths(self) -> list[str]:
        return [request.url.path for request in self.requests]


def refused(error: str, status: int = 400, description: str = "no") -> httpx.Response:
    return httpx.Response(status, json={"error": error, "error_description": description})


def busy(after: str) -> httpx.Response:
    return httpx.Response(503, headers={"retry-after": after})


class Api:
    """An API that accepts the tokens in `good`, or all if it is None."""

    def __init__(self, good: set[str] | None = None) -> None:
        self.good = good
        self.sent: list[str | None] = []
        self.bodies: list[bytes] = []
        self.challenge = 'Bearer error="invalid_token", error_description="expired"'

    def __call__(self, request: httpx.Request) -> httpx.Response:
        return self.answer(request, request.read())

    async def async_call(self, request: httpx.Request) -> httpx.Response:
        return self.answer(request, await request.aread())

    def answer(self, request: httpx.Request, body: bytes) -> httpx.Response:
        header = request.headers.get("authorization")
        self.sent.append(header)
        self.bodies.append(body)
        if self.good is None or (header or "").removeprefix("Bearer ") in self.good:
            return httpx.Response(200, text="salaries")
        return httpx.Response(401, headers={"www-authenticate": self.challenge})


def call(api: Api, auth: ClientCredentials) -> httpx.Client:
    return httpx.Client(transport=httpx.MockTransport(api), auth=auth, base_url="https://payroll.example")


def call_async(api: Api, auth: ClientCredentials) -> httpx.AsyncClient:
    transport = httpx.MockTransport(api.async_call)
    return httpx.AsyncClient(transport=transport, auth=auth, base_url="https://payroll.example")
