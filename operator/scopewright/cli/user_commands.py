"""`scopewright users list`, `find` and `end`: show users who are logged in, and end their sessions and tokens."""

import re
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from scopewright.cli import options
from scopewright.cli.event_loop import run_loop
from scopewright.cli.library_commands import GOOD, REFUSED, UNAVAILABLE, UsageError, fail, write_output
from scopewright.cli.settings import set_up_logging
from scopewright.cli.user_store import OpenedUsers, Place, opened_users
from scopewright.core.failures import Rejected, Unavailable
from scopewright.core.users import subject_of

if TYPE_CHECKING:
    from scopewright.issuer.users_admin.end import Ended
    from scopewright.issuer.users_admin.stored_users import StoredUser, StoredUsers

_SUBJECT: Final = re.compile(r"u-[a-z2-7]{26}")
_SID: Final = re.compile(r"[\w-]{22}", re.ASCII)
_CLIENT: Final = re.compile(r"(?P<namespace>[a-z0-9-]{1,63})/(?P<name>[a-z0-9-]{1,63})")


class Output(StrEnum):
    text = "text"
    json = "json"


State = Annotated[
    Path | None,
    typer.Option("--state", metavar="STATE", help="STATE of `dev`, in place of --source and --sessions."),
]
Provider = Annotated[
    str | None, typer.Option("--provider", metavar="NAME", help="Users of this IdentityProvider only.")
]
ClientOption = Annotated[
    str | None,
    typer.Option("--client", metavar="NAMESPACE/NAME", help="Users with refresh tokens or consents of this client."),
]
OutputOption = Annotated[Output, typer.Option("--output", "-o", help="One JSON array, or text.")]


def list_users(
    provider: Provider = None,
    client: ClientOption = None,
    output: OutputOption = Output.text,
    source: options.Source = "kubernetes",
    namespace: options.Namespace = None,
    kubeconfig: options.Kubeconfig = None,
    sessions: options.Sessions = None,
    state: State = None,
) -> None:
    """List the users who are logged in or have refresh tokens.

    In the issuer's Pod, the environment has the values of --sessions and --namespace. Exit codes: 0: listed. 1:
    refused. 2: wrong arguments. 3: the session store or the API server is unavailable, so the list is not complete.
    """
    _refuse_empty({"--provider": provider, "--client": client})
    client_id = _client_id(client) if client else ""

    def is_wanted(user: "StoredUser") -> bool:
        if provider and provider not in user.providers:
            return False
        return not client or any(application.client == client for application in user.applications)

    async def run(opened: OpenedUsers) -> int:
        from scopewright.cli.user_output import print_json, print_table

        show = print_json if output is Output.json else print_table
        shown = await show(_matching(opened.users, is_wanted), opened.users)
        if not shown and output is Output.text:
            typer.echo("no user is logged in" if not (provider or client) else "no such user is logged in", err=True)
        if not shown:
            _note_unknown(opened, provider, client_id)
        _note_unreadable(opened.users)
        return GOOD

    _run(Place(source, namespace, kubeconfig, sessions, state), run)


def find(
    text: Annotated[
        str | None, typer.Argument(metavar="TEXT", help="The `sub`, or a part of e-mail address, user name or name.")
    ] = None,
    provider: Annotated[str | None, typer.Option("--provider", metavar="NAME", help="With --subject.")] = None,
    subject: Annotated[
        str | None,
        typer.Option("--subject", metavar="SUBJECT", help="The user's `sub` at the provider, or id of a static user."),
    ] = None,
    output: OutputOption = Output.text,
    source: options.Source = "kubernetes",
    namespace: options.Namespace = None,
    kubeconfig: options.Kubeconfig = None,
    sessions: options.Sessions = None,
    state: State = None,
) -> None:
    """Show users, their sessions and their applications.

    With --provider and --subject, print the `sub` that the user has or will have here, such as for `toUsers.subjects`,
    and what is stored of them. Exit codes: as `list`; 1 also if no user is found.
    """
    if (text is None) is (subject is None) or (provider is None) is not (subject is None):
        raise UsageError("pass a TEXT, or both --provider and --subject")
    _refuse_empty({"TEXT": text, "--provider": provider, "--subject": subject})

    async def run(opened: OpenedUsers) -> int:
        from scopewright.cli.user_output import print_details, print_json

        sub = _subject_at(opened, provider, subject) if provider and subject else text or ""
        found = _one(opened, sub) if _SUBJECT.fullmatch(sub) else _matching(opened.users, lambda u: u.matches(sub))
        shown = await (print_json if output is Output.json else print_details)(found, opened.users)
        if not shown:
            typer.echo("no user who is logged in has this text in a name or e-mail address", err=True)
        _note_unreadable(opened.users)
        return GOOD if shown else REFUSED

    _run(Place(source, namespace, kubeconfig, sessions, state), run)


def end(
    sub: Annotated[str, typer.Argument(metavar="SUB", help="The user, as `list` and `find` show them.")],
    session: Annotated[
        str | None, typer.Option("--session", metavar="SID", help="End this session only, with its refresh tokens.")
    ] = None,
    client: Annotated[
        str | None,
        typer.Option("--client", metavar="NAMESPACE/NAME", help="End refresh tokens and consents of this client only."),
    ] = None,
    forget: Annotated[
        bool, typer.Option("--forget", help="Also delete consents, and all else that is stored of the user.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    source: options.Source = "kubernetes",
    namespace: options.Namespace = None,
    kubeconfig: options.Kubeconfig = None,
    sessions: options.Sessions = None,
    state: State = None,
) -> None:
    """End all sessions of a user, all refresh tokens, and every access token issued until now.

    The user can log in again, unless the identity provider refuses it. Exit codes: 0: all of it has ended, now or
    before. 1: refused, or not confirmed. 2: wrong arguments. 3: the session store or the API server is unavailable; the
    text says what has ended and what has not. Repeat the command then: it ends the rest.
    """
    _refuse_empty({"--session": session, "--client": client})
    if not _SUBJECT.fullmatch(sub):
        raise UsageError("SUB must be `u-` and 26 characters: scopewright users find shows it")
    if sum(map(bool, (session, client, forget))) > 1:
        raise UsageError("pass one of --session, --client and --forget")
    if session and not _SID.fullmatch(session):
        raise UsageError("--session must be 22 characters: scopewright users find shows it")
    client_id = _client_id(client) if client else ""
    if not yes and not sys.stdin.isatty():
        raise UsageError("standard input is not a terminal, so there is no confirmation; pass --yes")

    async def run(opened: OpenedUsers) -> int:
        hashes = await _hashes_of(opened, sub, client_id) if client_id else ()
        if not yes and not await _is_confirmed(opened, sub, session, client):
            return fail(REFUSED, "nothing was ended")
        if session:
            ended = await opened.end.end_session(sub, session)
        elif client_id:
            ended = await opened.end.end_client(sub, hashes)
        else:
            ended = await opened.end.end_all(sub, forget=forget)
        return _report(ended, sub, session=session, client_id=client_id, forget=forget)

    _run(Place(source, namespace, kubeconfig, sessions, state), run)


def _run(place: Place, work: Callable[[OpenedUsers], Awaitable[int]]) -> None:
    """Run the command and exit."""
    set_up_logging("text", "critical")  # failures are raised

    async def main() -> int:
        async with opened_users(place) as opened:
            return await work(opened)

    try:
        code = run_loop(main())
    except Unavailable as failure:
        code = fail(UNAVAILABLE, f"{failure.message}; nothing was changed. Try again")
    raise typer.Exit(code)


async def _matching(users: "StoredUsers", is_wanted: "Callable[[StoredUser], bool]") -> "AsyncIterator[StoredUser]":
    async for user in users.every():
        if is_wanted(user):
            yield user


async def _one(opened: OpenedUsers, sub: str) -> "AsyncIterator[StoredUser]":
    yield await opened.users.one(sub)


def _note_unreadable(users: "StoredUsers") -> None:
    if users.unreadable:
        keys = "of another installation, or sealed with a key that is no longer in the Secret scopewright-sessions"
        typer.echo(f"not shown: {users.unreadable} stored values that cannot be opened: {keys}", err=True)


def _refuse_empty(arguments: dict[str, str | None]) -> None:
    """An empty shell variable must not widen a command to all users, or to everything of a user."""
    for name, value in arguments.items():
        if value is not None and not value.strip():
            raise UsageError(f"{name} is empty: pass a value")


def _note_unknown(opened: OpenedUsers, provider: str | None, client_id: str) -> None:
    """Report a name that does not exist: the list is empty then."""
    from scopewright.issuer.users.login_policy import DEVELOPER
    from scopewright.issuer.users_admin.stored_users import client_reference

    if provider and provider != DEVELOPER and opened.records.registry.providers.by_name(provider) is None:
        typer.echo(_no_provider(opened, provider), err=True)
    if client_id and opened.records.registry.clients.get(client_id) is None:
        typer.echo(f"there is no OAuthClient {client_reference(client_id)}", err=True)


def _no_provider(opened: OpenedUsers, name: str) -> str:
    names = ", ".join(each.name for each in opened.records.registry.providers) or "there is none"
    return f"no IdentityProvider in force has the name {name!r}: {names}"


def _subject_at(opened: OpenedUsers, provider: str, upstream: str) -> str:
    from scopewright.issuer.users.developer_login import DEVELOPER_DOMAIN
    from scopewright.issuer.users.login_policy import DEVELOPER

    if provider == DEVELOPER:
        return subject_of(DEVELOPER_DOMAIN, upstream)
    found = opened.records.registry.providers.by_name(provider)
    if found is None:
        raise Rejected("NoProvider", _no_provider(opened, provider))
    return subject_of(found.record.subject_domain, upstream)


def _client_id(reference: str) -> str:
    match = _CLIENT.fullmatch(reference)
    if match is None:
        raise UsageError("--client must be NAMESPACE/NAME")
    return f"{match['namespace']}.{match['name']}"


async def _hashes_of(opened: OpenedUsers, sub: str, client_id: str) -> tuple[str, ...]:
    """Hashes of the UIDs of the client, and of earlier clients of its name to which the user has consented."""
    from scopewright.issuer.users_admin.stored_users import client_reference

    client, reference = opened.records.registry.clients.get(client_id), client_reference(client_id)
    stored = (await opened.users.one(sub)).applications
    hashes = {application.client_uid_hash for application in stored if application.client == reference}
    if client is not None:
        hashes.add(client.uid_hash)
    if not hashes:
        raise Rejected("NoClient", f"there is no OAuthClient {reference}, and nothing of it is stored for the user")
    return tuple(sorted(hashes))


async def _is_confirmed(opened: OpenedUsers, sub: str, session: str | None, client: str | None) -> bool:
    from scopewright.cli.user_output import details

    try:
        lines = [*details(await opened.users.one(sub), opened.users)]
    except Unavailable as failure:
        lines = [sub, f"  {failure.message}"]
    typer.echo("\n".join(lines), err=True)
    what = f"session {session}" if session else f"what {client} has of the user" if client else "everything of the user"
    return typer.confirm(f"End {what}?", err=True)


def _report(ended: "Ended", sub: str, *, session: str | None, client_id: str, forget: bool) -> int:
    """Write the audit line, print what has ended, and return the exit code. The line comes first: what has ended is
    audited also if the output is closed, as after `kubectl exec` has lost its connection.
    """
    from scopewright.cli.user_audit import write_audit
    from scopewright.cli.user_output import ended_lines

    result = "ended" if ended.is_complete else "partly" if ended.has_ended_anything else "failed"
    more = {"subject": sub, "sessions": ended.sessions, "refresh_tokens": ended.refresh_tokens}
    more |= {"sid": session} if session else {"client": client_id} if client_id else {}
    more |= {"forgotten": True} if forget else {}
    write_audit(result, more)
    try:
        write_output("".join(f"{line}\n" for line in ended_lines(ended, whole_user=not (session or client_id))))
    finally:
        for problem in ended.not_ended:
            typer.echo(f"scopewright: not ended: {problem}; repeat the command", err=True)
    return GOOD if ended.is_complete else UNAVAILABLE
