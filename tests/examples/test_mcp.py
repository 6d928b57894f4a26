"""The MCP example, with the official SDK on both sides, `scopewright dev`, and HTTP on loopback."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

import httpx
import httpx2
import pytest
import uvicorn
from mcp import Client
from mcp.client.auth import AuthorizationCodeResult, OAuthClientProvider, OAuthTokenError
from mcp.client.streamable_http import streamable_http_client
from mcp.server.mcpserver import Context, MCPServer
from mcp.shared.auth import OAuthClientInformationFull, OAuthClientMetadata, OAuthMetadata
from mcp.shared.exceptions import MCPError

from examples.mcp import client as assistant
from examples.mcp.server import build
from scopewright.verifier import TokenRejected, Verifier, protect, require
from tests.documents import ROOT, document
from tests.harness.browser import FormBrowser, walk_login
from tests.pages.page import Page
from tests.ports import free_port
from tests.running import Running

EXAMPLE: Final = ROOT / "examples/mcp"
PORT: Final = "9200"
REDIRECT: Final = "http://127.0.0.1:8765/callback"


@contextmanager
def serving(app: Any, port: int) -> Iterator[None]:
    server = uvicorn.Server(uvicorn.Config(app, port=port, log_config=None))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive()
            time.sleep(0.01)
        yield
    finally:
        server.should_exit = True
        thread.join()


class System:
    """The issuer, and the MCP server at `url`."""

    def __init__(self, issuer: Running, port: int) -> None:
        self.issuer = issuer
        self.url = f"http://127.0.0.1:{port}/mcp"
        self.secret = issuer.state / "secrets/assistants/night-assistant-oauth"
        self.tokens = assistant.Tokens()

    @property
    def verifier(self) -> Verifier:
        return Verifier(self.issuer.url, self.url)

    def assistant(self) -> OAuthClientProvider:
        self.tokens = assistant.Tokens()
        return assistant.credentials(self.url, self.secret, self.tokens)

    @property
    def scopes(self) -> set[str]:
        assert self.tokens.latest is not None
        return set((self.tokens.latest.scope or "").split())


@contextmanager
def running(folder: Path, *, users: bool) -> Iterator[System]:
    port = free_port()
    files = [*EXAMPLE.glob("manifests/*.yaml"), *([EXAMPLE / "users.yaml"] if users else [])]
    manifests = {file.name: file.read_text().replace(PORT, str(port)) for file in files}
    config = (EXAMPLE / "config.yaml").read_text().replace(PORT, str(port))
    with Running(folder, manifests, config) as issuer:
        yield System(issuer, port)


@pytest.fixture(scope="module")
def issuer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    with running(tmp_path_factory.mktemp("mcp"), users=True) as system:
        yield system


@pytest.fixture
def hr(issuer: System) -> Iterator[System]:
    with serving(build(issuer.verifier), int(issuer.url.split(":")[2].split("/")[0])):
        yield issuer


def text_of(answer: Any) -> str:
    return "".join(part.text for part in answer.content)


async def test_client_finds_issuer_and_token_from_a_401_alone(hr: System) -> None:
    sent: list[str] = []
    forms: list[dict[str, list[str]]] = []

    async def record(request: httpx2.Request) -> None:
        sent.append(f"{request.method} {request.url}")
        if request.url.path == "/token":
            forms.append(parse_qs(request.content.decode()))

    async with (
        httpx2.AsyncClient(auth=hr.assistant(), event_hooks={"request": [record]}) as http,
        Client(streamable_http_client(hr.url, http_client=http)) as client,
    ):
        tools = [tool.name for tool in (await client.list_tools()).tools]
    assert tools == ["list_leave", "approve_leave", "get_salary"]
    origin = hr.url.removesuffix("/mcp")
    assert sent[:4] == [
        f"POST {hr.url}",
        f"GET {origin}/.well-known/oauth-protected-resource/mcp",
        f"GET {hr.issuer.url}/.well-known/oauth-authorization-server",
        f"POST {hr.issuer.url}/token",
    ]
    assert forms == [{"grant_type": ["client_credentials"], "resource": [hr.url], "scope": ["hr.read"]}]


async def test_client_gets_the_scope_that_a_tool_needs(hr: System) -> None:
    async with assistant.connected(hr.url, hr.assistant()) as client:
        listed = await client.call_tool("list_leave", {"employee": 7})
        assert hr.scopes == {"hr.read"}
        approved = await client.call_tool("approve_leave", {"number": 1})
    assert not listed.is_error
    assert approved.structured_content is not None
    assert approved.structured_content["by"] == "assistants.night-assistant"
    assert hr.scopes == {"hr.read", "leave.approve"}


async def test_tool_is_not_called_without_its_scope(hr: System) -> None:
    with pytest.raises(ExceptionGroup) as refused:
        async with assistant.connected(hr.url, hr.assistant()) as client:
            await client.call_tool("get_salary", {"employee": 7})
    assert refused.group_contains(OAuthTokenError, match="invalid_scope")
    assert hr.scopes == {"hr.read"}


async def call(hr: System, tool: str, **arguments: Any) -> httpx.Response:
    """A call by hand, with the token of the assistant."""
    assert hr.tokens.latest is not None
    parameters = {"name": tool, "arguments": arguments}
    async with httpx.AsyncClient() as http:
        return await http.post(
            hr.url,
            json={"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": parameters},
            headers={
                "Authorization": f"Bearer {hr.tokens.latest.access_token}",
                "Accept": "application/json, text/event-stream",
                "MCP-Protocol-Version": "2025-11-25",
            },
        )


async def test_refusal_of_a_tool_is_a_403_with_its_scope(hr: System) -> None:
    async with assistant.connected(hr.url, hr.assistant()) as client:
        await client.list_tools()
    answer = await call(hr, "approve_leave", number=2)
    challenge = answer.headers["WWW-Authenticate"]
    origin = hr.url.removesuffix("/mcp")
    assert answer.status_code == 403
    assert 'error="insufficient_scope"' in challenge
    assert 'scope="leave.approve"' in challenge
    assert f'resource_metadata="{origin}/.well-known/oauth-protected-resource/mcp"' in challenge
    assert (await call(hr, "list_leave", employee=9)).json()["result"]["structuredContent"]["result"][0]["status"] == (
        "requested"
    )


async def test_error_of_a_tool_is_no_refusal(hr: System) -> None:
    async with assistant.connected(hr.url, hr.assistant()) as client:
        answer = await client.call_tool("approve_leave", {"number": 99})
    assert answer.is_error
    assert "there is no request for leave 99" in text_of(answer)


async def test_client_of_the_earlier_protocol_is_refused_in_the_same_way(hr: System) -> None:
    async with (
        httpx2.AsyncClient(auth=hr.assistant()) as http,
        Client(streamable_http_client(hr.url, http_client=http), mode="legacy") as client,
    ):
        approved = await client.call_tool("approve_leave", {"number": 2})
    assert not approved.is_error
    assert hr.scopes == {"hr.read", "leave.approve"}


@contextmanager
def signed_in(hr: System, user: str) -> Iterator[OAuthClientProvider]:
    """The desk assistant, which a user lets act for them in a browser."""
    information = OAuthClientInformationFull(
        client_id="assistants.desk-assistant", redirect_uris=[REDIRECT], token_endpoint_auth_method="none"
    )
    answers: list[dict[str, str]] = []

    class Registered(assistant.Tokens):
        async def get_client_info(self) -> OAuthClientInformationFull:
            return information

    hr.tokens = Registered()

    async def open_browser(url: str) -> None:
        assert parse_qs(urlsplit(url).query)["resource"] == [hr.url]
        answers.append(walk_login(browser, url, user).parameters)

    async def callback() -> AuthorizationCodeResult:
        return AuthorizationCodeResult(**{name: answers[-1].get(name) for name in ("code", "state", "iss")})

    metadata = OAuthClientMetadata(redirect_uris=[REDIRECT], token_endpoint_auth_method="none")
    with FormBrowser(hr.issuer.url) as browser:
        yield OAuthClientProvider(hr.url, metadata, hr.tokens, open_browser, callback)


async def test_assistant_acts_for_the_user_who_logged_in(hr: System) -> None:
    with signed_in(hr, "grace") as auth:
        async with assistant.connected(hr.url, auth) as client:
            approved = await client.call_tool("approve_leave", {"number": 1})
    assert approved.structured_content is not None
    assert approved.structured_content["status"] == "approved"
    assert approved.structured_content["by"] not in ("assistants.desk-assistant", "")
    assert {"hr.read", "leave.approve"} <= hr.scopes


async def test_role_of_the_user_decides_about_a_tool(hr: System) -> None:
    with signed_in(hr, "mara") as auth:
        async with assistant.connected(hr.url, auth) as client:
            salary = await client.call_tool("get_salary", {"employee": 7})
    assert salary.structured_content == {"result": 54_000}


async def test_issuer_without_users_needs_the_endpoints_of_the_secret(tmp_path: Path) -> None:
    """Its metadata has no authorization endpoint (RFC 8414 §2), which the SDK's model requires."""
    with running(tmp_path, users=False) as hr, serving(build(hr.verifier), int(urlsplit(hr.url).port or 0)):
        auth = hr.assistant()
        issuer, token_endpoint = ((hr.secret / name).read_text().strip() for name in ("issuer", "token_endpoint"))
        auth.context.oauth_metadata = OAuthMetadata(
            issuer=issuer, token_endpoint=token_endpoint, authorization_endpoint=issuer
        )
        async with assistant.connected(hr.url, auth) as client:
            assert not (await client.call_tool("approve_leave", {"number": 1})).is_error


def tolerant(verifier: Verifier) -> Any:
    """A server with event streams, one of whose tools has an answer of its own for a refusal."""
    server = MCPServer("HR")

    @server.tool()
    async def strict(ctx: Context) -> str:
        return require(ctx, "leave.approve").client_id

    @server.tool()
    async def for_managers(ctx: Context) -> str:
        return require(ctx, roles=["payroll-manager"]).client_id

    @server.tool()
    async def own_answer(ctx: Context) -> str:
        try:
            return require(ctx, "leave.approve").client_id
        except TokenRejected as refusal:
            return f"not allowed: {refusal.scope}"

    @server.tool()
    async def streaming(ctx: Context) -> str:
        await ctx.report_progress(1, 2)
        return require(ctx, "leave.approve").client_id

    return protect(server.streamable_http_app(), verifier, ["hr.read"], resource_metadata=True)


@pytest.fixture
def streams(issuer: System) -> Iterator[System]:
    with serving(tolerant(issuer.verifier), int(urlsplit(issuer.url).port or 0)):
        yield issuer


async def test_tool_that_catches_a_refusal_answers_itself(streams: System) -> None:
    async with assistant.connected(streams.url, streams.assistant()) as client:
        answer = await client.call_tool("own_answer")
        assert (answer.is_error, text_of(answer)) == (False, "not allowed: leave.approve")
        assert streams.scopes == {"hr.read"}
        assert text_of(await client.call_tool("strict")) == "assistants.night-assistant"


async def test_role_that_the_token_lacks_is_an_error_of_the_call(streams: System) -> None:
    async with assistant.connected(streams.url, streams.assistant()) as client:
        with pytest.raises(MCPError):
            await client.call_tool("for_managers")
        assert text_of(await client.call_tool("strict")) == "assistants.night-assistant"


async def test_refusal_after_the_response_has_begun_is_an_error_of_the_tool(streams: System) -> None:
    async def ignore(progress: float, total: float | None, message: str | None) -> None: ...

    async with assistant.connected(streams.url, streams.assistant()) as client:
        answer = await client.call_tool("streaming", progress_callback=ignore)
    assert answer.is_error
    assert "leave.approve" in text_of(answer)


async def test_tool_that_is_not_called_over_http_has_no_token() -> None:
    server = MCPServer("HR")

    @server.tool()
    async def strict(ctx: Context) -> str:
        with pytest.raises(RuntimeError, match="not called over HTTP"):
            require(ctx, "leave.approve")
        return "refused"

    async with Client(server) as client:
        assert text_of(await client.call_tool("strict")) == "refused"


def test_page_has_the_files_of_the_example() -> None:
    titled = Page.of(document(ROOT / "docs/protect/mcp.md")).files
    names = {"server.py": "server.py", "client.py": "client.py", "config.yaml": "config.yaml"}
    names |= {f"mcp/{name}": f"manifests/{name}" for name in ("assistants.yaml", "hr-tools.yaml")}
    names |= {"mcp/users.yaml": "users.yaml"}
    assert titled == {title: (EXAMPLE / file).read_text() for title, file in names.items()}
