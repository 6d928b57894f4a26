"""How `scopewright users` shows users. Providers choose names and e-mail addresses, so characters that control a
terminal are escaped.
"""

import json
import math
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from typing import Any, Final

from rich.console import Console
from rich.table import Table
from rich.text import Text

from scopewright.cli.library_commands import write_output
from scopewright.cli.printable import printable
from scopewright.issuer.users.stored import Session
from scopewright.issuer.users_admin.end import Ended
from scopewright.issuer.users_admin.stored_users import StoredApplication, StoredUser, StoredUsers

MAX_NAME: Final = 60
"""Maximum number of characters of a name or e-mail address in text output."""
ROWS: Final = 100
"""Rows of a table. Further rows are another table, so that a long list is printed while it is read."""
NOTHING: Final = "—"
_COLUMNS: Final = ("user", "name", "provider", "login", "last seen", "sessions", "offline access")


def console() -> Console:
    """For standard output; with long lines if it is not a terminal."""
    wide = Console(highlight=False)
    return wide if wide.is_terminal else Console(width=200, highlight=False)


async def print_table(users: AsyncIterator[StoredUser], stored: StoredUsers) -> int:
    """Print the users as they are found. Return how many."""
    shown, rows, to = 0, list[StoredUser](), console()
    async for user in users:
        shown += 1
        rows.append(user)
        if len(rows) == ROWS:
            _print_rows(to, rows, stored)
            rows = []
    if rows:
        _print_rows(to, rows, stored)
    return shown


async def print_json(users: AsyncIterator[StoredUser], stored: StoredUsers) -> int:
    """Print one array, with a user in each line. It is not closed if the list is not complete."""
    shown = 0
    async for user in users:
        write_output(f"{',' if shown else '['}\n{json.dumps(as_json(user, stored))}")
        shown += 1
    write_output("\n]\n" if shown else "[]\n")
    return shown


async def print_details(users: AsyncIterator[StoredUser], stored: StoredUsers) -> int:
    shown = 0
    async for user in users:
        write_output("\n" * bool(shown) + "\n".join(details(user, stored)) + "\n")
        shown += 1
    return shown


def details(user: StoredUser, stored: StoredUsers) -> Iterator[str]:
    """The lines of `find`."""
    yield user.subject
    names = {"name": "name", "user name": "preferred_username", "e-mail": "email"}
    for label, claim in names.items():
        if user.claim(claim):
            yield f"  {label:<12} {_short(user.claim(claim))}"
    if not (user.sessions or user.offline or user.applications):
        yield "  nothing is stored of this user"
    for session in user.sessions:
        begun, seen, end = map(_time, (session.begun_time, session.seen_time, session.end_time))
        times = f"login {begun}, last seen {seen}, until {end}"
        yield f"  session      {session.sid}  {_provider(session, stored)}: {times}"
    for application in user.applications:
        yield f"  application  {'; '.join((_name(application), *_what(application)))}"
        for consent in application.consents:
            api = f" at {printable(consent.resource_server)}" if consent.resource_server else ""
            yield f"  consent      {printable(' '.join(consent.scopes))}{api}, last used {_time(consent.used_time)}"


def ended_lines(ended: Ended, *, whole_user: bool) -> Iterator[str]:
    """The lines that `end` prints about ended sessions and tokens."""
    if ended.is_stored_ended:
        counts = {"session": ended.sessions, "refresh token": ended.refresh_tokens, "consent": ended.consents}
        yield f"ended: {', '.join(_counted(count, what) for what, count in counts.items())}"
    if ended.forgotten:
        yield f"deleted: {_counted(ended.forgotten, 'further value')}"
    until = datetime.fromtimestamp(math.ceil(ended.accepted_until), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    if ended.is_complete and not ended.are_tokens_ended:
        yield f"access tokens are accepted until {until} at the latest: `scopewright dev` alone can revoke them"
    if ended.are_tokens_ended:
        which = "every access token of the user" if whole_user else "their access tokens"
        yield f"ended: {which}: within seconds at services that follow revocation, at others by {until}"
    if ended.newer:
        yield f"the user has logged in again meanwhile: {_counted(ended.newer, 'session')} not ended"


def _counted(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def as_json(user: StoredUser, stored: StoredUsers) -> dict[str, Any]:
    """A user in `--output json`. No value is a credential: `sid` is in the user's tokens."""
    return {
        "sub": user.subject,
        "name": user.claim("name"),
        "userName": user.claim("preferred_username"),
        "email": user.claim("email"),
        "sessions": [_session_json(session, stored) for session in user.sessions],
        "offlineSessions": [_session_json(session, stored) for session in user.offline],
        "applications": [
            {
                "client": application.client or None,
                "deleted": application.is_deleted,
                "refreshTokens": application.refresh_tokens,
                "offlineSessions": application.offline_sids,
                "consents": [
                    {"api": c.resource_server or None, "scopes": c.scopes, "lastUsed": _iso(c.used_time)}
                    for c in application.consents
                ],
            }
            for application in user.applications
        ],
    }


def _session_json(session: Session, stored: StoredUsers) -> dict[str, Any]:
    return {
        "sid": session.sid,
        "provider": session.provider,
        "ended": stored.end_of_provider(session) or None,
        "groups": session.groups,
        "loginTime": _iso(session.begun_time),
        "lastSeen": _iso(session.seen_time),
        "endTime": _iso(session.end_time),
    }


def _print_rows(to: Console, users: list[StoredUser], stored: StoredUsers) -> None:
    table = Table()
    for heading in _COLUMNS:
        table.add_column(heading, overflow="fold", no_wrap=heading == "user")
    for user in users:
        table.add_row(*(Text(cell or NOTHING) for cell in _row(user, stored)))  # not markup
    with to.capture() as capture:
        to.print(table)
    write_output(capture.get())


def _row(user: StoredUser, stored: StoredUsers) -> tuple[str, ...]:
    sessions = (*user.sessions, *user.offline)
    name = next((user.claim(name) for name in ("name", "preferred_username", "email") if user.claim(name)), "")
    return (
        user.subject,
        _short(name),
        "\n".join(dict.fromkeys(_provider(session, stored) for session in sessions)),
        _time(max((session.begun_time for session in sessions), default=0)),
        _time(max((session.seen_time for session in sessions), default=0)),
        str(len(user.sessions)),
        "\n".join(_name(application) for application in user.applications if application.offline_sids),
    )


def _name(application: StoredApplication) -> str:
    name = printable(application.client) or "an application"
    return f"{name} (deleted)" if application.is_deleted else name


def _what(application: StoredApplication) -> Iterator[str]:
    if application.refresh_tokens:
        yield _counted(application.refresh_tokens, "refresh token")
    if application.offline_sids:
        yield f"offline access: {printable(', '.join(application.offline_sids))}"


def _provider(session: Session, stored: StoredUsers) -> str:
    end = stored.end_of_provider(session)
    name = printable(session.provider)
    return f"{name} ({end})" if end else name


def _short(text: str) -> str:
    """On one line of a terminal."""
    return printable(text if len(text) <= MAX_NAME else f"{text[:MAX_NAME]}…")


def _time(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%MZ") if seconds else ""


def _iso(seconds: int) -> str | None:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ") if seconds else None
