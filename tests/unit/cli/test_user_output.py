"""What `scopewright users` prints of users: text of providers must not control the terminal. Its audit line."""

import json
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import replace
from pathlib import Path

import pytest

from scopewright.cli import user_commands
from scopewright.cli.library_commands import UsageError
from scopewright.cli.user_audit import write_audit
from scopewright.cli.user_output import details, ended_lines, print_details, print_json, print_table
from scopewright.issuer.state.clients import ClientIndex
from scopewright.issuer.state.providers import Provider, ProviderIndex
from scopewright.issuer.users.user_record import Consent
from scopewright.issuer.users_admin.end import Ended
from scopewright.issuer.users_admin.stored_users import StoredApplication, StoredUser, StoredUsers
from scopewright.stores.sessions.sealed import SealedSessions, SessionKeys
from tests.documents import ROOT
from tests.harness.memory_sessions import MemorySessions
from tests.harness.users import provider_of
from tests.unit.issuer.users.logins import user
from tests.unit.issuer.users_admin.samples import BEGUN, session_of

HOSTILE = "\x1b]0;x\x07\x1b[2J[bold]Eve\u202eexe\u2066\r\n\x9b31m\u200b"
CONTROLS = ("\x1b", "\x07", "\x9b", "\r", "\u202e", "\u2066", "\u200b")
SEALED = SealedSessions(MemorySessions(), lambda: "", lambda: SessionKeys(b"k" * 32))
STORED = StoredUsers(SEALED, ClientIndex(), ProviderIndex())


def hostile() -> StoredUser:
    eve = user("eve", HOSTILE)
    session = session_of(eve, name=HOSTILE, email=HOSTILE, preferred_username=HOSTILE)
    return StoredUser(eve.subject, (session,), (), (StoredApplication(HOSTILE, "hash", False, 1, (HOSTILE,)),))


async def each(*users: StoredUser) -> AsyncIterator[StoredUser]:
    for one in users:
        yield one


async def test_no_character_of_a_name_controls_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    assert await print_table(each(hostile()), STORED) == 1
    assert await print_json(each(hostile()), STORED) == 1
    printed = capsys.readouterr().out + "\n".join(details(hostile(), STORED))
    assert not [character for character in CONTROLS if character in printed]
    assert "[bold]Eve" in printed, "no markup of rich"


async def test_a_long_name_is_cut_and_json_has_all_of_it(capsys: pytest.CaptureFixture[str]) -> None:
    long = StoredUser("u-x", (session_of(user("ada"), name="A" * 5000),), (), ())
    await print_table(each(long), STORED)
    assert capsys.readouterr().out.count("A") < 100
    await print_json(each(long, hostile()), STORED)
    first, second = json.loads(capsys.readouterr().out)
    assert (first["name"], second["name"]) == ("A" * 5000, HOSTILE)


async def test_a_list_that_ends_early_is_no_json(capsys: pytest.CaptureFixture[str]) -> None:
    async def failing() -> AsyncIterator[StoredUser]:
        yield hostile()
        raise RuntimeError

    with pytest.raises(RuntimeError):
        await print_json(failing(), STORED)
    with pytest.raises(json.JSONDecodeError):
        json.loads(capsys.readouterr().out)


async def test_a_long_list_is_printed_in_tables_while_it_is_read(capsys: pytest.CaptureFixture[str]) -> None:
    async def many() -> AsyncIterator[StoredUser]:
        for number in range(250):
            if number == 200:
                assert capsys.readouterr().out.count("last seen") == 2
            yield StoredUser(f"u-{number}", (session_of(user("ada")),), (), ())

    assert await print_table(many(), STORED) == 250


def test_what_has_not_ended_is_not_claimed() -> None:
    failed = Ended(not_ended=("sessions and refresh tokens: away", "access tokens: away"), accepted_until=1_800_000_000)
    assert [*ended_lines(failed, whole_user=True)] == []
    partly = Ended(sessions=1, is_stored_ended=True, not_ended=("access tokens: away",), accepted_until=1_800_000_000)
    assert [*ended_lines(partly, whole_user=True)] == ["ended: 1 session, 0 refresh tokens, 0 consents"]


def test_the_audit_line_goes_to_the_log_of_the_pod_in_one_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    os.mkfifo(log := tmp_path / "log")
    reading = os.open(log, os.O_RDONLY | os.O_NONBLOCK)
    write_audit("ended", {"subject": "u-ada", "sessions": 2}, log)
    entry = json.loads(os.read(reading, 4096))
    os.close(reading)
    assert (entry["event"], entry["result"], entry["subject"]) == ("users_end", "ended", "u-ada")
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("kind", ["none", "unread", "folder"])
def test_an_audit_line_that_cannot_be_written_there_is_shown(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    log = tmp_path / "log"
    if kind == "unread":
        os.mkfifo(log)
    elif kind == "folder":
        log.mkdir()
    write_audit("ended", {"subject": "u-ada"}, log)
    assert capsys.readouterr().err.startswith('audit: {"time":')


def test_outside_a_pod_the_audit_line_is_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    (log := tmp_path / "log").touch()
    write_audit("ended", {"subject": "u-ada"}, log)
    assert '"subject":"u-ada"' in capsys.readouterr().err
    assert log.read_bytes() == b""


@contextmanager
def refused_output() -> Iterator[None]:
    """Standard output cannot be written, as after `kubectl exec` has lost its connection."""
    message = "standard output cannot be written"
    with Path("/dev/full").open("w") as full, redirect_stdout(full), pytest.raises(UsageError, match=message):
        yield


def test_what_has_ended_is_audited_also_if_nobody_reads_the_output(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    ended = Ended(1, is_stored_ended=True, not_ended=("access tokens: away",))
    with refused_output():
        user_commands._report(ended, "u-ada", session=None, client_id="", forget=False)
    audited, problem = capsys.readouterr().err.splitlines()
    assert json.loads(audited.removeprefix("audit: "))["result"] == "partly"
    assert "not ended: access tokens: away" in problem


@pytest.mark.parametrize("show", [print_table, print_json, print_details])
async def test_output_that_cannot_be_written_ends_a_list_with_a_message(
    show: Callable[[AsyncIterator[StoredUser], StoredUsers], Awaitable[int]],
) -> None:
    with refused_output():
        await show(each(hostile()), STORED)


async def test_the_run_book_shows_what_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    """docs/operations.md."""
    page = (ROOT / "docs/operations.md").read_text()
    ada, grace = (user(name, preferred_username=name) for name in ("ada", "grace"))
    browser = session_of(replace(ada, provider="company"), "5gTrPjbDWQhPpAX0vNKqLw", name="Ada Lovelace")
    offline = replace(browser, sid="xkW0BZqRlbUtLDn2mSCRVg")
    consents = (
        Consent("hr.hr-web", "hash", "", ("openid", "email", "offline_access"), BEGUN),
        Consent("hr.hr-web", "hash", "", ("payroll.read",), BEGUN, "payroll/payroll-api"),
    )
    web = StoredApplication("hr/hr-web", "hash", False, 1, (offline.sid,), consents)
    users = (
        StoredUser(ada.subject, (browser,), (offline,), (web,)),
        StoredUser(grace.subject, (session_of(replace(grace, provider="company"), name="Grace Hopper"),), (), ()),
    )
    stored = replace(STORED, providers=ProviderIndex())
    stored.providers.put(Provider(replace(provider_of().record, uid="uid")))
    await print_table(each(*users), stored)
    assert capsys.readouterr().out in page
    await print_details(each(users[0]), stored)
    assert capsys.readouterr().out in page
    ended = Ended(1, 1, is_stored_ended=True, are_tokens_ended=True, accepted_until=BEGUN + 3700)
    assert all(f"   {line}\n" in page for line in ended_lines(ended, whole_user=True))
