"""`scopewright users` on the STATE of a `scopewright dev` that runs, as its operator types it."""

import io
import json
import logging
import os
import pty
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

from scopewright.cli import commands
from tests.harness.browser import FormBrowser, walk_login
from tests.harness.login_issuer import USERS, LoginIssuer, application
from tests.harness.relying_party import RelyingParty, TokenResponse

CALLBACK = "https://portal.hr.example/callback"
PROGRAM = (sys.executable, "-m", "scopewright.cli")
HOSTILE = "Eve\u202egnp.exe"
SUB = re.compile(r"u-[a-z2-7]{26}")
NAMES = USERS | {"eve": {"name": HOSTILE, "email": "eve@hr.example", "groups": ["hr-staff"]}}


@pytest.fixture(scope="module")
def issuer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LoginIssuer]:
    made = LoginIssuer(tmp_path_factory.mktemp("users"), [application("hr-web", [CALLBACK])], NAMES)
    made._program = PROGRAM
    with made as issuer:
        yield issuer


def run(issuer: LoginIssuer, *arguments: str, expect: int = 0, state: Path | None = None) -> str:
    """What the command prints, run in this process, because a new one takes seconds to start."""
    printed, root, level = io.StringIO(), logging.getLogger(), logging.getLogger("scopewright").level
    handlers, code = [*root.handlers], 0
    argv = ["scopewright", "users", *arguments, "--state", str(state or issuer.state)]
    with redirect_stdout(printed), redirect_stderr(printed), patch.object(sys, "argv", argv):
        try:
            commands.run()
        except SystemExit as ended:
            code = ended.code if isinstance(ended.code, int) else 1
            printed.write(ended.code if isinstance(ended.code, str) else "")
        finally:
            root.handlers[:] = handlers
            logging.getLogger("scopewright").setLevel(level)
    assert code == expect, printed.getvalue()
    return printed.getvalue()


def found(issuer: LoginIssuer, text: str) -> dict[str, Any]:
    (user,) = json.loads(run(issuer, "find", text, "--output", "json"))
    assert isinstance(user, dict)
    return user


def log_in(
    issuer: LoginIssuer, user: str, scope: str = "openid email payroll.read"
) -> tuple[RelyingParty, TokenResponse]:
    client_id, secret = issuer.secret("hr", "hr-web")
    party = RelyingParty(issuer.url, client_id, CALLBACK, secret)
    request = party.request(scope=scope)
    with FormBrowser(issuer.url) as browser:
        return party, party.tokens(request, walk_login(browser, request.url, user))


def test_a_user_is_listed_found_and_ended(issuer: LoginIssuer) -> None:
    party, offline = log_in(issuer, "ada", "openid email payroll.read offline_access")
    log_in(issuer, "grace")
    table = run(issuer, "list")
    assert "Ada Lovelace" in table
    assert "hr/hr-web" in table
    ada = found(issuer, "ADA@hr.example")
    assert ada["sub"] == offline.claims["sub"]
    assert [session["sid"] for session in ada["sessions"]] == [offline.claims["sid"]]
    assert ada["applications"][0]["offlineSessions"]
    text = run(issuer, "find", "lovelace")
    assert offline.claims["sid"] in text
    ended = run(issuer, "end", ada["sub"], "--yes")
    assert "ended: 1 session, 1 refresh token, 0 consents" in ended
    assert party.refresh(offline.refresh_token).status_code == 400
    assert "`scopewright dev` alone can revoke them" in ended
    assert "ended: 0 sessions, 0 refresh tokens, 0 consents" in run(issuer, "end", ada["sub"], "--yes")
    assert "Ada" not in run(issuer, "list")
    assert "hr/hr-web" in run(issuer, "find", ada["sub"]), "the consent"
    assert "deleted" in run(issuer, "end", ada["sub"], "--yes", "--forget")
    assert "nothing is stored of this user" in run(issuer, "find", ada["sub"])


def test_one_session_and_one_application_are_ended(issuer: LoginIssuer) -> None:
    (party, first), (_, second) = log_in(issuer, "grace"), log_in(issuer, "grace")
    grace = first.claims["sub"]
    run(issuer, "end", grace, "--session", first.claims["sid"], "--yes")
    assert party.refresh(first.refresh_token).status_code == 400
    assert party.refresh(second.refresh_token).status_code == 200
    assert grace in run(issuer, "list", "--client", "hr/hr-web")
    run(issuer, "end", grace, "--client", "hr/hr-web", "--yes")
    assert party.refresh(second.refresh_token).status_code == 400
    assert grace not in run(issuer, "list", "--client", "hr/hr-web")
    assert grace in run(issuer, "list")
    assert "there is no OAuthClient hr/none" in run(issuer, "end", grace, "--client", "hr/none", "--yes", expect=1)


def test_a_name_of_the_provider_controls_no_terminal(issuer: LoginIssuer) -> None:
    _, tokens = log_in(issuer, "eve")
    for output in (
        run(issuer, "list"),
        run(issuer, "find", "eve@hr.example"),
        run(issuer, "list", "--output", "json"),
        run(issuer, "find", "eve@hr.example", "--output", "json"),
        at_terminal(issuer, "end", tokens.claims["sub"], typed="n\n"),
    ):
        assert "Eve" in output
        assert "\u202e" not in output
    assert found(issuer, "eve@hr.example")["name"] == HOSTILE


def test_a_question_is_asked_at_a_terminal_only(issuer: LoginIssuer) -> None:
    _, tokens = log_in(issuer, "grace")
    grace = tokens.claims["sub"]
    assert "pass --yes" in run(issuer, "end", grace, expect=2)
    assert "nothing was ended" in at_terminal(issuer, "end", grace, typed="n\n")
    assert found(issuer, grace)["sessions"]
    assert "ended: " in at_terminal(issuer, "end", grace, typed="y\n")
    assert not found(issuer, grace)["sessions"]


def test_the_sub_of_a_user_who_has_never_logged_in(issuer: LoginIssuer) -> None:
    _, tokens = log_in(issuer, "grace")
    by_id = run(issuer, "find", "--provider", "developer login", "--subject", "grace")
    assert by_id.startswith(tokens.claims["sub"] + "\n")
    unknown = run(issuer, "find", "--provider", "developer login", "--subject", "nobody")
    assert SUB.fullmatch(unknown.splitlines()[0])
    assert "nothing is stored" in unknown
    assert "no IdentityProvider in force has the name 'company'" in run(
        issuer, "find", "--provider", "company", "--subject", "x", expect=1
    )


def test_an_audit_line_says_what_was_ended(issuer: LoginIssuer) -> None:
    _, tokens = log_in(issuer, "grace")
    output = run(issuer, "end", tokens.claims["sub"], "--yes")
    (line,) = (line.removeprefix("audit: ") for line in output.splitlines() if line.startswith("audit: "))
    entry = json.loads(line)
    assert entry["event"] == "users_end"
    assert (entry["result"], entry["subject"]) == ("ended", tokens.claims["sub"])
    assert "Grace" not in line


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("end", "ada", "--yes"), "SUB must be"),
        (("end", "u-" + "a" * 26, "--yes", "--forget", "--session", "x"), "pass one of"),
        (("find",), "pass a TEXT"),
        (("find", "--provider", "company"), "pass a TEXT"),
        (("find", "ada", "--subject", "x", "--provider", "y"), "pass a TEXT"),
        (("list", "--client", "hr-web"), "NAMESPACE/NAME"),
        (("end", "u-" + "a" * 26, "--yes", "--session", "nzCYx8cicqbb2V8I"), "--session must be 22 characters"),
        (("list", "--sessions", "other.db"), "--state replaces --source and --sessions"),
        (("list", "--source", "other"), "--state replaces --source and --sessions"),
    ],
)
def test_wrong_arguments(issuer: LoginIssuer, arguments: tuple[str, ...], problem: str) -> None:
    assert problem in run(issuer, *arguments, expect=2)


@pytest.mark.parametrize(
    "arguments",
    [
        ("end", "u-" + "a" * 26, "--yes", "--session", ""),
        ("end", "u-" + "a" * 26, "--yes", "--client", ""),
        ("find", ""),
        ("find", " "),
        ("find", "--provider", "", "--subject", "x"),
        ("list", "--provider", ""),
        ("list", "--client", ""),
    ],
)
def test_an_empty_variable_of_the_shell_is_not_everything(issuer: LoginIssuer, arguments: tuple[str, ...]) -> None:
    assert "is empty: pass a value" in run(issuer, *arguments, expect=2)


def test_a_list_of_a_name_that_does_not_exist_says_so(issuer: LoginIssuer) -> None:
    assert "no IdentityProvider in force has the name 'compnay'" in run(issuer, "list", "--provider", "compnay")
    assert "there is no OAuthClient hr/none" in run(issuer, "list", "--client", "hr/none")
    assert "OAuthClient" not in run(issuer, "list", "--client", "hr/hr-web")


def test_nobody_is_found(issuer: LoginIssuer) -> None:
    assert "no user who is logged in" in run(issuer, "find", "nobody@hr.example", expect=1)
    listed = run(issuer, "list", "--provider", "developer login", "--client", "hr/none", "--output", "json")
    assert json.loads(listed.partition("there is no")[0]) == []


def test_a_state_without_sessions_is_refused_and_stays_as_it_is(issuer: LoginIssuer, tmp_path: Path) -> None:
    assert "--state must be the STATE directory of a `scopewright dev`" in run(issuer, "list", state=tmp_path, expect=1)
    assert not [*tmp_path.iterdir()]


def at_terminal(issuer: LoginIssuer, *arguments: str, typed: str) -> str:
    """What the command prints if its input is a terminal at which this is typed."""
    command = [*PROGRAM, "users", *arguments, "--state", str(issuer.state)]
    ours, theirs = pty.openpty()
    try:
        os.write(ours, typed.encode())
        done = subprocess.run(command, stdin=theirs, capture_output=True, text=True, timeout=60, check=False)
    finally:
        os.close(ours)
        os.close(theirs)
    return done.stdout + done.stderr
