"""Callers without code of ours, as their pages have them: rotation, kept tokens and redirects."""

import base64
import json
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final

import httpx
import pytest

from scopewright.verifier import Verifier
from tests.interop.page_programs import command_of
from tests.running import Running

DRIVERS: Final = Path(__file__).parent / "drivers"
API: Final = "https://payroll-api.payroll.svc"


@dataclass(frozen=True)
class Caller:
    """A page, and the program in `drivers` that runs its code command by command."""

    toolchain: str
    page: str
    driver: str
    main: str


CALLERS: Final = (
    Caller("go", "call/go.md", "main.go", "main"),
    Caller("node", "call/node.md", "driver.mjs", "driver"),
    Caller("java", "call/java.md", "Driver.java", "Driver"),
)


class Driven:
    """A running driver."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        assert process.stdin
        assert process.stdout
        self._input, self._output = process.stdin, process.stdout

    def new_token(self) -> str:
        answer = self._ask("new")
        assert "error" not in answer, answer
        return str(answer["token"])

    def refusal_of_new_token(self) -> str:
        return str(self._ask("new")["error"])

    def get(self, url: str) -> dict[str, Any]:
        return self._ask(f"call {url}")

    def _ask(self, command: str) -> dict[str, Any]:
        self._input.write(f"{command}\n")
        self._input.flush()
        return json.loads(self._output.readline())  # type: ignore[no-any-return]


class Origin:
    """A loopback server that keeps the header `Authorization` of each request. `/moved` redirects to `target`."""

    def __init__(self, target: str = "") -> None:
        self.received: list[str | None] = []
        received = self.received

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self._answer(302)

            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["Content-Length"]))
                self._answer(307)

            def _answer(self, moved: int) -> None:
                received.append(self.headers["Authorization"])
                self.send_response(moved if self.path == "/moved" else 200)
                if self.path == "/moved":
                    self.send_header("Location", target)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    @contextmanager
    def serving(self) -> Iterator["Origin"]:
        thread = threading.Thread(target=self._server.serve_forever)
        thread.start()
        try:
            yield self
        finally:
            self._server.shutdown()
            self._server.server_close()
            thread.join()


class Issuer:
    """`scopewright dev` with one client, whose previous secret ends two seconds after a rotation."""

    def __init__(self, folder: Path) -> None:
        self.running = Running(folder, {"all.yaml": self._manifests("0")})
        self._file = folder / "manifests" / "all.yaml"
        self.secret = self.running.state / "secrets" / "staff" / "hr-desk-oauth"

    @staticmethod
    def _manifests(rotation: str) -> str:
        access = [{"resourceServer": "payroll-api", "namespace": "payroll", "scopes": ["payroll.read"]}]
        client: dict[str, Any] = {"access": access, "rotation": {"overlap": "2s"}}
        grant = {"resourceServer": "payroll-api", "scopes": ["payroll.read"]}
        kinds: list[tuple[str, str, str, dict[str, Any]]] = [
            ("OAuthClient", "staff", "hr-desk", client),
            ("ResourceServer", "payroll", "payroll-api", {"scopes": [{"name": "payroll.read"}]}),
            ("ScopeGrant", "payroll", "reads", {**grant, "to": [{"namespace": "staff", "client": "hr-desk"}]}),
        ]
        documents = []
        for kind, namespace, name, spec in kinds:
            metadata = {"namespace": namespace, "name": name, "annotations": {"scopewright.dev/rotate": rotation}}
            documents.append(
                {"apiVersion": "scopewright.dev/v1alpha1", "kind": kind, "metadata": metadata, "spec": spec}
            )
        return "\n---\n".join(map(json.dumps, documents))

    def rotating(self) -> Iterator[None]:
        """Begins a rotation, and ends when the issuer refuses the previous secret."""
        previous = self.running.secret("staff", "hr-desk")
        self._file.write_text(self._manifests(previous[1][:8]))
        end = time.monotonic() + 30
        while self._accepts(previous):
            assert time.monotonic() < end, self.running.printed()
            yield

    def _accepts(self, credential: tuple[str, str]) -> bool:
        form = {"grant_type": "client_credentials", "resource": API}
        return httpx.post(f"{self.running.url}/token", data=form, auth=credential).status_code == 200


@pytest.fixture(scope="module")
def issuer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Issuer]:
    issuer = Issuer(tmp_path_factory.mktemp("issuer"))
    with issuer.running:
        yield issuer


@contextmanager
def driving(caller: Caller, secret: Path) -> Iterator[Driven]:
    driver = {caller.driver: (DRIVERS / caller.driver).read_bytes()}
    command = [*command_of(caller.toolchain, caller.page, caller.main, driver), str(secret), API]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield Driven(process)


@pytest.fixture(params=CALLERS, ids=lambda caller: caller.toolchain)
def caller(request: pytest.FixtureRequest) -> Caller:
    return request.param  # type: ignore[no-any-return]


@pytest.fixture
def driven(caller: Caller, issuer: Issuer) -> Iterator[Driven]:
    with driving(caller, issuer.secret) as driven:
        yield driven


def test_no_token_request_fails_while_the_secret_rotates(driven: Driven, issuer: Issuer) -> None:
    verifier = Verifier(issuer.running.url, API)
    for _ in issuer.rotating():
        assert verifier.verify_sync(driven.new_token()).client_id == "staff.hr-desk"
    assert verifier.verify_sync(driven.new_token()).client_id == "staff.hr-desk"


def test_token_is_kept_for_further_requests(driven: Driven) -> None:
    with Origin().serving() as api:
        for _ in range(3):
            assert driven.get(f"{api.url}/salaries")["status"] == 200
    [token] = set(api.received)
    assert token is not None
    assert json.loads(base64.urlsafe_b64decode(token.split(".")[1] + "=="))["aud"] == API


def test_token_is_not_sent_to_the_target_of_a_redirect(driven: Driven) -> None:
    with Origin().serving() as other, Origin(f"{other.url}/").serving() as api:
        driven.get(f"{api.url}/moved")
    assert [bool(token) for token in api.received] == [True]
    assert [token for token in other.received if token] == []


def test_secret_is_not_sent_to_the_target_of_a_redirect(caller: Caller, issuer: Issuer, tmp_path: Path) -> None:
    for name in ("client_id", "client_secret", "issuer"):
        (tmp_path / name).write_text((issuer.secret / name).read_text())
    with Origin().serving() as other, Origin(f"{other.url}/").serving() as moved:
        (tmp_path / "token_endpoint").write_text(f"{moved.url}/moved")
        with driving(caller, tmp_path) as driven:
            driven.refusal_of_new_token()
    assert [bool(header) for header in moved.received] == [True]
    assert other.received == []


def test_error_for_a_refused_secret_does_not_contain_it(caller: Caller, issuer: Issuer, tmp_path: Path) -> None:
    for name in ("client_id", "issuer", "token_endpoint"):
        (tmp_path / name).write_text((issuer.secret / name).read_text())
    (tmp_path / "client_secret").write_text("wrong-secret")
    with driving(caller, tmp_path) as driven:
        assert "wrong-secret" not in driven.refusal_of_new_token()
