"""`scopewright token` and `scopewright verify`: flags, output, exit codes, and no credential in any error."""

import io
import json
import logging
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import redirect_stderr, redirect_stdout
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import version
from pathlib import Path
from threading import Thread
from typing import Any, NamedTuple

import pytest

from scopewright.cli import library_commands
from scopewright.cli.commands import app
from scopewright.cli.library_commands import ABOUT
from scopewright.controller.local_cluster import LocalCluster
from scopewright.stores.directory.state_dir import StateDirectory
from tests.doc_checks import command_problems
from tests.ports import free_port
from tests.unit.verifier.support import AUDIENCE, KEY, token

SCOPEWRIGHT = Path(sys.executable).with_name("scopewright")
SECRET = "s3cr3t-of-the-client"
EXTRAS = ("typer", "kopf", "kubernetes", "pydantic", "yaml", "uvloop")


class Issuer(ThreadingHTTPServer):
    """Answers the token endpoint with `answer`, and serves metadata and keys."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.answer: tuple[int, Mapping[str, Any]] = (200, {})
        self.forms: list[str] = []

    def token(self, **claims: Any) -> str:
        return token(iss=self.url, iat=time.time(), exp=time.time() + 600, **claims)


class _Handler(BaseHTTPRequestHandler):
    server: Issuer

    def do_GET(self) -> None:
        if "jwks" in self.path:
            return self._send(200, {"keys": [KEY.jwk]})
        return self._send(200, {"issuer": self.server.url, "jwks_uri": f"{self.server.url}/jwks.json"})

    def do_POST(self) -> None:
        self.server.forms.append(self.rfile.read(int(self.headers["Content-Length"])).decode())
        self._send(*self.server.answer)

    def _send(self, status: int, body: Mapping[str, Any]) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the name of the base class
        pass


@pytest.fixture(scope="module")
def issuer() -> Iterator[Issuer]:
    with Issuer() as server:
        thread = Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def mounted(issuer: Issuer, tmp_path: Path) -> Path:
    issuer.answer = (200, {"access_token": "a.b.c", "token_type": "Bearer", "expires_in": 300, "scope": "b a"})
    issuer.forms.clear()
    return write_secret(tmp_path / "oauth", issuer.url)


def write_secret(folder: Path, issuer: str) -> Path:
    folder.mkdir()
    entries = {
        "client_id": "staff.hr-desk", "client_secret": SECRET, "issuer": issuer, "token_endpoint": f"{issuer}/token",
        "jwks_uri": f"{issuer}/jwks.json",
    }  # fmt: skip
    for name, value in entries.items():
        (folder / name).write_text(value)
    return folder


class Output(NamedTuple):
    stdout: str
    stderr: str


def run(
    *arguments: str | Path, given: str | bytes = "", code: int = 0, silent: bool = False, **variables: str
) -> Output:
    """Run the command in this process. Assert the exit code, and that no error contains a credential."""
    data = given.encode() if isinstance(given, str) else given
    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
        for name in [name for name in os.environ if name.startswith("SCOPEWRIGHT_")]:
            patch.delenv(name)
        for name, value in variables.items():
            patch.setenv(name, value)
        patch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))
        ended = library_commands.run([str(argument) for argument in arguments])
    printed = Output(out.getvalue(), err.getvalue())
    assert ended == code, printed
    assert SECRET not in "".join(printed)
    assert len(printed.stderr.splitlines()) == (1 if code and not silent else 0), printed
    return printed


@pytest.fixture(autouse=True)
def _log_level() -> Iterator[None]:
    """The commands silence the libraries' log, in a process of their own."""
    logger = logging.getLogger("scopewright")
    level = logger.level
    yield
    logger.setLevel(level)


# token


def test_the_bare_token_is_printed(mounted: Path) -> None:
    assert run("token", "--secret", mounted).stdout == "a.b.c\n"
    assert run("token", SCOPEWRIGHT_SECRET_DIR=str(mounted)).stdout == "a.b.c\n"


def test_the_header_is_printed_for_curl(mounted: Path) -> None:
    assert run("token", "--secret", mounted, "--header").stdout == "Authorization: Bearer a.b.c\n"


def test_json_is_that_of_the_token_endpoint(mounted: Path) -> None:
    printed = json.loads(run("token", "--secret", mounted, "--json").stdout)
    assert 290 <= printed.pop("expires_in") <= 300
    assert printed == {"access_token": "a.b.c", "token_type": "Bearer", "scope": "a b"}


def test_resource_and_scopes_are_requested(issuer: Issuer, mounted: Path) -> None:
    run("token", "--secret", mounted, "--resource", "https://api.test", "--scope", "a", "--scope", "b")
    assert issuer.forms == ["grant_type=client_credentials&resource=https%3A%2F%2Fapi.test&scope=a+b"]


def test_flags_precede_variables(issuer: Issuer, mounted: Path) -> None:
    variables: Any = {
        "SCOPEWRIGHT_CLIENT_ID": "other", "SCOPEWRIGHT_CLIENT_SECRET": "x", "SCOPEWRIGHT_ISSUER": issuer.url,
        "SCOPEWRIGHT_RESOURCE": "https://api.test", "SCOPEWRIGHT_SCOPE": "a,b",
    }  # fmt: skip
    run("token", "--secret", mounted, "--scope", "c", **variables)
    assert issuer.forms == ["grant_type=client_credentials&resource=https%3A%2F%2Fapi.test&scope=c"]


def test_without_credentials_everything_that_was_tried_is_listed() -> None:
    printed = run("token", code=2).stderr
    for tried in ("SCOPEWRIGHT_SECRET_DIR", "SCOPEWRIGHT_CLIENT_ID", "SERVICE_BINDING_ROOT", "/var/run/secrets/oauth"):
        assert tried in printed


@pytest.mark.parametrize(
    ("answer", "code", "message"),
    [
        ((401, {"error": "invalid_client"}), 1, "invalid_client: the issuer refuses OAuthClient staff.hr-desk"),
        ((400, {"error": "invalid_target"}), 1, "invalid_target"),
        ((500, {"error": "server_error", "error_description": SECRET}), 3, "server_error"),
        ((200, {"access_token": ""}), 3, "has no usable access_token"),
        ((404, {}), 3, "is token_endpoint right?"),
    ],
)
def test_a_refusal_and_an_unavailable_issuer_have_their_exit_codes(
    answer: tuple[int, Mapping[str, Any]], code: int, message: str, issuer: Issuer, mounted: Path
) -> None:
    issuer.answer = answer
    done = run("token", "--secret", mounted, code=code)
    assert message in done.stderr
    assert done.stdout == ""


def test_a_secret_that_cannot_be_used_is_a_wrong_argument(mounted: Path, tmp_path: Path) -> None:
    (mounted / "client_id").unlink()
    assert f"{mounted} lacks client_id" in run("token", "--secret", mounted, code=2).stderr
    missing = tmp_path / "missing"
    assert f"{missing} is not a directory" in run("token", "--secret", missing, code=2).stderr
    assert "that is not a directory" in run("token", "--secret", "x" * 300, code=2).stderr  # an OSError of its own
    assert f"{missing}" in run("token", code=2, SCOPEWRIGHT_SECRET_DIR=str(missing)).stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--secret", SECRET], "--secret takes the directory"),
        (["--secret", ""], "--secret takes the directory"),
        ([f"--client-secret={SECRET}"], "no such flag: --client-secret"),
        ([f"--header={SECRET}"], "--header takes no value"),
        ([SECRET], "unexpected argument"),
        (["--header", "--json"], "not allowed with"),
        (["--secret"], "expected one argument"),
        (["--resource", ""], "--resource is empty"),
        (["--sec", "x"], "no such flag: --sec"),
    ],
)
def test_a_wrong_argument_is_refused_and_not_repeated(arguments: list[str], message: str) -> None:
    assert message in run("token", *arguments, code=2).stderr


def test_plain_http_is_refused_unless_it_is_allowed(tmp_path: Path) -> None:
    secret = write_secret(tmp_path / "oauth", "http://issuer.test:8080")
    advice = "must be https and is http://issuer.test:8080/token: use https, or set SCOPEWRIGHT_ALLOW_HTTP=issuer.test"
    assert advice in run("token", "--secret", secret, code=2).stderr
    for flags, hosts in ((("--allow-http",), ""), ((), "other.test,issuer.test:8080")):
        done = run("token", "--secret", secret, *flags, code=3, SCOPEWRIGHT_ALLOW_HTTP=hosts)
        assert "no answer from http://issuer.test:8080" in done.stderr


def test_an_issuer_that_is_no_url_is_named_by_its_file_or_variable(tmp_path: Path) -> None:
    secret = write_secret(tmp_path / "oauth", "nope")
    printed = run("token", "--secret", secret, "--allow-http", code=2).stderr
    assert f"{secret}/issuer is not the URL of an issuer" in printed
    variables: Any = {"SCOPEWRIGHT_CLIENT_ID": "a.b", "SCOPEWRIGHT_CLIENT_SECRET": SECRET, "SCOPEWRIGHT_ISSUER": "nope"}
    assert "SCOPEWRIGHT_ISSUER is not the URL" in run("token", "--allow-http", code=2, **variables).stderr
    assert "SCOPEWRIGHT_ISSUER: an https URL" in run("verify", "--audience", "a", given="x", code=2, **variables).stderr


def test_unusable_authorities_are_a_wrong_variable(mounted: Path) -> None:
    for file in ("/nonexistent", f"{mounted}", f"{mounted}/client_id"):
        done = run("token", "--secret", mounted, code=2, SSL_CERT_FILE=file)
        assert f"SSL_CERT_FILE is {file}, which is not a file of CA certificates in PEM" in done.stderr


@pytest.mark.parametrize("command", ["token --secret oauth", "plan manifests", "dev-token a/b --state state"])
def test_output_that_cannot_be_written_is_reported_once(
    command: str, mounted: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A 0 without a token misleads a script."""
    monkeypatch.chdir(mounted.parent)
    Path("manifests").mkdir()
    StateDirectory.open(Path("state"), "http://127.0.0.1:8080").close()
    LocalCluster.open(Path("state"))
    for redirection, why in (
        ("> /dev/full", "cannot be written: No space left on device"),
        ("| (exec <&-)", "cannot be written: Broken pipe"),
        (">&-", "is closed"),
    ):
        script = f'"{SCOPEWRIGHT}" {command} {redirection}'
        done = subprocess.run(
            ["/bin/bash", "-c", f"set -o pipefail; {script}"], capture_output=True, text=True, check=False
        )
        assert done.returncode == 2
        assert done.stderr == f"scopewright: standard output {why}\n"


@pytest.mark.parametrize("redirection", ["2>&-", "2>/dev/full"])
def test_the_exit_code_does_not_depend_on_an_open_stream(redirection: str, mounted: Path) -> None:
    """A 1 for a wrong argument misleads a script."""
    command = ["/bin/bash", "-c", f'"{SCOPEWRIGHT}" token --secret "{mounted}" --no {redirection}']
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (2, "")


# verify


def test_a_valid_token_is_described(issuer: Issuer) -> None:
    flags = ("--issuer", issuer.url, "--audience", AUDIENCE)
    done = run("verify", *flags, "--scope", "payroll.read", given=issuer.token(scope="payroll.read a"))
    assert "scopes    a payroll.read" in done.stdout
    claims = json.loads(run("verify", *flags, "--json", "-", given=f"  {issuer.token(scope='a')}\n").stdout)
    assert (claims["iss"], claims["scope"]) == (issuer.url, "a")


@pytest.mark.parametrize("prefix", ["Authorization: Bearer ", "bearer ", "DPoP "])
def test_a_header_is_no_token(issuer: Issuer, prefix: str) -> None:
    given = issuer.token()
    printed = run("verify", "--issuer", issuer.url, "--audience", AUDIENCE, given=prefix + given, code=2).stderr
    assert "standard input is a header: pass the token alone" in printed
    assert given not in printed


def test_json_is_no_token(issuer: Issuer) -> None:
    given = json.dumps({"access_token": issuer.token()})
    printed = run("verify", "--issuer", issuer.url, "--audience", AUDIENCE, given=given, code=2).stderr
    assert "standard input is JSON: pass the token alone" in printed


def test_plain_http_to_the_issuer_is_refused_unless_a_flag_or_variable_allows_it(issuer: Issuer) -> None:
    flags = ("--audience", AUDIENCE, "--issuer")
    printed = run("verify", *flags, "http://issuer.test", given=issuer.token(), code=2).stderr
    assert printed.endswith(
        "https is needed, except on loopback: http://issuer.test; use https, or pass --allow-http\n"
    )
    allowed: Any = {"SCOPEWRIGHT_ALLOW_HTTP": "issuer.test"}
    assert "cannot be verified" in run("verify", *flags, "http://issuer.test", given="x", code=3, **allowed).stderr


def test_issuer_and_audience_are_read_from_variables(issuer: Issuer) -> None:
    variables: Any = {"SCOPEWRIGHT_ISSUER": issuer.url, "SCOPEWRIGHT_AUDIENCE": AUDIENCE}
    run("verify", given=issuer.token(), **variables)
    run("verify", "--audience", "https://other.test", given=issuer.token(), code=1, **variables)


def test_an_empty_scope_is_not_ignored(issuer: Issuer) -> None:
    flags = ("--issuer", issuer.url, "--audience", AUDIENCE, "--scope", "")
    assert "scope" in run("verify", *flags, given=issuer.token(scope="a"), code=2).stderr


def test_a_time_that_no_calendar_has_is_shown_as_the_last_one(issuer: Issuer) -> None:
    given = token(iss=issuer.url, iat=1, exp=1e15)
    assert "expires   9999-12-31" in run("verify", "--issuer", issuer.url, "--audience", AUDIENCE, given=given).stdout


def test_roles_and_session_of_a_user_are_shown(issuer: Issuer) -> None:
    flags = ("--issuer", issuer.url, "--audience", AUDIENCE)
    shown = run("verify", *flags, given=issuer.token(sub="u-ada", roles=["manager", "auditor"], sid="session-1")).stdout
    assert "roles     auditor manager\nsession   session-1\n" in shown
    assert "roles" not in run("verify", *flags, given=issuer.token()).stdout


def test_a_claim_cannot_control_the_terminal(issuer: Issuer) -> None:
    done = run("verify", "--issuer", issuer.url, "--audience", AUDIENCE, given=issuer.token(sub="\x1b[2J\u202e"))
    assert r"subject   \x1b[2J\u202e" in done.stdout


@pytest.mark.parametrize(
    ("claims", "scope", "message"),
    [
        ({"exp": 1}, "a", "invalid_token: The access token has expired"),
        ({"aud": "https://other.test"}, "a", "invalid_token: The token is for another audience"),
        ({"scope": "b"}, "a", "insufficient_scope"),
    ],
)
def test_a_refused_token_is_reported_with_the_reason(
    claims: dict[str, Any], scope: str, message: str, issuer: Issuer
) -> None:
    given = token(**{"iss": issuer.url, "iat": 1, "exp": time.time() + 600, **claims})
    flags = ("--issuer", issuer.url, "--audience", AUDIENCE, "--scope", scope)
    done = run("verify", *flags, given=given, code=1)
    assert message in done.stderr
    assert given not in done.stderr


def test_a_refusal_as_json_is_on_standard_output(issuer: Issuer) -> None:
    done = run("verify", "--issuer", issuer.url, "--audience", AUDIENCE, "--json", given="x", code=1, silent=True)
    assert json.loads(done.stdout)["reason"] == "malformed"


def test_an_issuer_that_does_not_answer_is_exit_code_3() -> None:
    url = f"http://127.0.0.1:{free_port()}"
    done = run("verify", "--issuer", url, "--audience", AUDIENCE, given="x", code=3)
    assert "cannot be verified" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "given", "message"),
    [
        ([], "x", "pass --issuer URL, or set SCOPEWRIGHT_ISSUER"),
        (["--issuer", "https://issuer.test"], "x", "pass --audience URI"),
        (["--issuer", "http://issuer.test", "--audience", "a"], "x", "https is needed, except on loopback"),
        (["--issuer", "issuer.test", "--audience", "a"], "x", "--issuer: an https URL with a host"),
        (["--issuer", "nope", "--allow-http", "--audience", "a"], "x", "--issuer: an https URL with a host"),
        (["--issuer", "https://issuer.test", "--audience", "a"], "", "no token on standard input"),
        (["--issuer", "https://issuer.test", "--audience", "a"], "x" * 70_000, "more than 65536 bytes"),
        ([SECRET], "x", "pass the token on standard input"),
        (["-", SECRET], "x", "unexpected argument"),
        ([f"--token={SECRET}"], "x", "no such flag: --token"),
    ],
)
def test_a_wrong_argument_is_refused_before_anything_is_sent(arguments: list[str], given: str, message: str) -> None:
    assert message in run("verify", *arguments, given=given, code=2).stderr


def test_another_issuer_in_the_metadata_is_a_wrong_argument(issuer: Issuer) -> None:
    other = issuer.url.replace("127.0.0.1", "localhost")
    assert (
        f"pass --issuer '{issuer.url}'"
        in run("verify", "--issuer", other, "--audience", AUDIENCE, given="x", code=2).stderr
    )


def test_standard_input_that_is_closed_is_empty(issuer: Issuer) -> None:
    command = f'"{SCOPEWRIGHT}" verify --issuer {issuer.url} --audience a <&-'
    done = subprocess.run(["/bin/bash", "-c", command], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "no token on standard input" in done.stderr


def test_bytes_that_are_not_text_are_refused(issuer: Issuer) -> None:
    run("verify", "--issuer", issuer.url, "--audience", AUDIENCE, given=b"\xff\xfe\x00", code=1)


# both


@pytest.mark.parametrize("command", ["token", "verify"])
def test_the_command_imports_nothing_of_the_extras(command: str, mounted: Path) -> None:
    program = f"""
import sys
sys.argv = ["scopewright", "{command}", "--secret", {str(mounted)!r}][:4 if "{command}" == "token" else 2]
from scopewright.cli import main
try:
    main()
except SystemExit:
    print(*(name for name in {EXTRAS} if name in sys.modules), file=sys.stderr)
"""
    done = subprocess.run([sys.executable, "-c", program], input="", capture_output=True, text=True, check=False)
    assert done.stderr.splitlines()[-1:] == [""], done.stderr


def test_the_help_lists_all_commands() -> None:
    def printed(*arguments: str) -> str:
        done = subprocess.run([SCOPEWRIGHT, *arguments, "--help"], capture_output=True, text=True, check=True)
        return " ".join(done.stdout.replace("│", " ").split())

    assert all(about in printed() for about in ABOUT.values())
    assert all(f"usage: scopewright {command}" in printed(command) for command in ABOUT)


def test_the_version_is_that_of_the_package() -> None:
    done = subprocess.run([SCOPEWRIGHT, "--version"], capture_output=True, text=True, check=True)
    assert done.stdout == f"scopewright {version('scopewright')}\n"


def test_the_checks_of_documents_know_the_flags() -> None:
    assert command_problems("scopewright token --header | scopewright verify --scope a -") == []
    assert command_problems("scopewright token --heder") == ["scopewright token --heder: no such flag: --heder"]


def test_each_command_is_listed_without_typer_too() -> None:
    from scopewright.cli import WITH_EXTRAS

    names = {
        info.name or str(info.callback and info.callback.__name__).replace("_", "-") for info in app.registered_commands
    }
    groups = {info.name for info in app.registered_groups}
    assert names | groups == {*WITH_EXTRAS, *ABOUT}


@pytest.mark.parametrize("argument", ["tokn", "--verson", "s3cr3t"])
def test_an_unknown_command_is_a_wrong_argument_without_typer_too(argument: str) -> None:
    program = "import sys; sys.modules['typer'] = None; from scopewright.cli import main; main()"
    done = subprocess.run([sys.executable, "-c", program, argument], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (2, "scopewright: no such command: scopewright --help lists them\n")
