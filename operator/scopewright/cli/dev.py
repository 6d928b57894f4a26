"""`scopewright dev`: reconcile and serve a directory of manifests on a laptop."""

import asyncio
import socket
from collections.abc import Iterable
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from scopewright.api import OAuthClient, ResourceServer
from scopewright.cli.dev_gateway import DevGateway
from scopewright.cli.dev_logins import DevLogins
from scopewright.cli.login_advice import line_of
from scopewright.cli.settings import parse_address
from scopewright.config_file import load_config
from scopewright.controller.local_cluster import LocalCluster
from scopewright.controller.local_operator import LocalOperator
from scopewright.core.access import acts_for_itself, requested_access
from scopewright.core.config import Config, is_plain_http
from scopewright.core.declared import ref_of
from scopewright.core.failures import Rejected
from scopewright.core.hidden_methods import hidden_methods
from scopewright.core.http_rules import http_access
from scopewright.core.providers.user_file import USERS_FILE
from scopewright.issuer import Issuer, IssuerSettings, build_issuer, serve_issuer
from scopewright.issuer.users.developer_login import lists_users
from scopewright.issuer.users.settings import UserEndpointSettings
from scopewright.origins import Hosts, HttpUrl, host_of, is_among, is_loopback
from scopewright.serving import audit
from scopewright.stores.directory.store import DirectoryStore
from scopewright.variables import ALLOW_HTTP

NOTHING = "–"
_DEV_HOSTS = ("127.0.0.1", "localhost", "::1")
WILDCARDS = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  # addresses to compare with


def dev_config(
    file: Path | None,
    issuer_url: str | None,
    listen_on: str,
    listening: socket.socket,
    *,
    allow_http: bool = False,
    http_hosts: Hosts = frozenset(),
) -> tuple[Config, str]:
    """Return the configuration, and a note to print about its issuer (may be empty).

    The issuer is `--issuer-url`, else that of the file, else the address of `dev`. An https issuer of the file is
    ignored: `dev` has no TLS, the file may be a cluster's, and clients would send their secrets to the real issuer.
    It may be an http URL of another host than loopback with `allow_http`, or if the host is one of `http_hosts`.
    """
    served = _served(listen_on, listening)
    if served is None and issuer_url is None:
        raise Rejected(
            "BadAddress",
            f"--listen {listen_on}: dev serves plain HTTP, which clients accept on loopback only; listen on "
            "127.0.0.1:8080, or on 0.0.0.0:8080 for a container's port, or pass the https URL of a proxy in front "
            "with --issuer-url",
        )
    config = load_config(file, {"issuer": issuer_url}, {"issuer": served}, allow_http=True)
    if not allow_http:
        _require_secure(config.issuer, http_hosts)
    if issuer_url is None and config.issuer.startswith("https:"):
        note = f"{file} names the issuer {config.issuer}, and dev serves {served} instead; --issuer-url overrides that"
        return load_config(file, {"issuer": served}), note
    if config.issuer != served:
        return config, f"dev listens on {listen_on}, and callers must reach it as {config.issuer}"
    return config, ""


def _require_secure(issuer: str, http_hosts: Hosts) -> None:
    if is_plain_http(issuer) and not is_among(url := HttpUrl.parse(issuer), http_hosts):
        raise Rejected(
            "PlainHttp",
            f"the issuer {issuer} is plain HTTP and not on loopback, and everybody on its network can read secrets "
            "and tokens; pass the https URL of a proxy in front with --issuer-url, or add --allow-http if only "
            f"containers of this machine reach it. Its clients then need {ALLOW_HTTP}={host_of(url)}",
        )


def _served(listen_on: str, listening: socket.socket) -> str | None:
    """Return the loopback URL of the address; None if it is not reachable on loopback."""
    host, port = parse_address(listen_on)[0], listening.getsockname()[1]
    host = WILDCARDS.get(host, host)
    if host not in _DEV_HOSTS:
        return None
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def developer_login(directory: Path, listen_on: str, issuer: str, *, allowed: bool) -> Path | None:
    """Return the file with the users of the developer login; None if there is none, and so no login.

    Everybody who reaches the login page can be any of the users: it is for loopback only, unless `allowed`.
    """
    file = directory / USERS_FILE
    if not lists_users(file):
        return None
    host = parse_address(listen_on)[0]
    if not allowed and not (is_loopback(host) and is_loopback(HttpUrl.parse(issuer).host)):
        raise Rejected(
            "DeveloperLogin",
            f"{file} lists users who log in without a password, and other machines reach dev (--listen "
            f"{listen_on}, issuer {issuer}); listen on 127.0.0.1:8080 without --issuer-url, move the file away, or "
            "pass --developer-login if everybody there may be any of these users",
        )
    return file


async def develop(
    directory: Path,
    state: Path,
    config: Config,
    listening: socket.socket,
    stop: asyncio.Event,
    console: Console,
    users_file: Path | None = None,
    gateway: DevGateway | None = None,
) -> None:
    """Reconcile and serve until `stop` is set. `users_file`: see `developer_login`."""
    store = DirectoryStore.open(state, config.issuer)
    users: UserEndpointSettings | None = None
    try:
        config = LocalCluster.open(state).trusted_by(config).for_dev()
        embedded = LocalOperator(directory, store, config, users=users_file is not None)
        await embedded.install()
        logins = DevLogins(directory, users_file, embedded.cache, config.issuer, console)
        users = logins.settings(state)
        report = Report(embedded, console, logins)
        settings = IssuerSettings(namespace=config.namespace, allow_http=True, users=users)
        async with build_issuer(settings, store, writer=store, sink=_with_problems(console)).running() as issuer:
            tasks = [
                asyncio.create_task(embedded.run(report.settled)),
                asyncio.create_task(serve_issuer(issuer, listener=listening, stop=stop)),
                asyncio.create_task(_announce(issuer, report)),
                asyncio.create_task(logins.run()),
            ]
            serving = tasks[:2]
            if gateway is not None:
                serving.append(asyncio.create_task(gateway.run(store, config, report.ready(issuer), stop, console)))
                tasks.append(serving[-1])
            ended, _ = await asyncio.wait(serving, return_when=asyncio.FIRST_COMPLETED)
            for task in ended:
                task.result()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
    finally:
        if users is not None:
            await users.store.close()
        store.close()


def _with_problems(console: Console) -> audit.Sink:
    """Print why a login failed: neither an error page, which has an id instead, nor `invalid_grant` says it."""

    def write(entry: audit.Line) -> None:
        audit.to_log(entry)
        if line := line_of(audit.members(entry)):
            console.print(Text(line, "yellow"), soft_wrap=True)

    return write


async def _announce(issuer: Issuer, report: "Report") -> None:
    url = await report.ready(issuer)
    report.console.print(Text(f"issuer ready at {url}"), soft_wrap=True)


class Report:
    """Prints the broken manifests, methods that rules refuse by accident, the granted scopes and how users log in, each
    only when it has changed.
    """

    def __init__(self, embedded: LocalOperator, console: Console, logins: DevLogins) -> None:
        self._embedded = embedded
        self._logins = logins
        self.console = console
        self.first = asyncio.Event()
        self._problems: tuple[object, ...] = ()
        self._hidden: list[str] = []
        self._rows: list[tuple[str, ...]] | None = None

    def settled(self) -> None:
        if (problems := self._embedded.problems) != self._problems:
            self._problems = problems
            for problem in problems:
                self.console.print(Text(f"{problem}", "red"), soft_wrap=True)
            if not problems:
                self.console.print(Text("every manifest is valid", "green"))
        if (hidden := _hidden_methods(self._embedded.cache.all(ResourceServer))) != self._hidden:
            self._hidden = hidden
            for line in hidden:
                self.console.print(Text(line, "yellow"), soft_wrap=True)
        if (rows := self._access()) != self._rows:
            self._rows = rows
            self.console.print(_table(rows) if rows else Text("no OAuthClient is declared"))
        self._logins.settled()
        self._logins.report()
        self.first.set()

    async def ready(self, issuer: Issuer) -> str:
        """Wait until the manifests are in force and tokens can be issued. Returns the issuer's URL."""
        await self.first.wait()
        return await issuer.ready()

    def _access(self) -> list[tuple[str, ...]]:
        rows: list[tuple[str, ...]] = []
        for client in sorted(self._embedded.cache.all(OAuthClient), key=lambda c: c.client_id):
            status = client.status
            entries = {(f"{a.namespace}/{a.resource_server}"): a for a in (status.access if status else ())}
            ready = next((c for c in (status.conditions if status else ()) if c.type == "Ready"), None)
            state = "ready" if ready and ready.status == "True" else ready.reason if ready else "Pending"
            of_users = "" if acts_for_itself(client.spec.grant_types) else " (users)"
            for requested in requested_access(client):
                entry = entries.get(requested.resource_server)
                granted = f"{' '.join(entry.granted)}{of_users}" if entry and entry.granted else ""
                missing = " ".join(entry.missing) if entry else ""
                rows.append(
                    (client.client_id, state, requested.resource_server, granted or NOTHING, missing or NOTHING)
                )
            if not client.spec.access:
                rows.append((client.client_id, state, NOTHING, NOTHING, NOTHING))
        return rows


def _hidden_methods(servers: Iterable[ResourceServer]) -> list[str]:
    return sorted(
        f"{ref_of(server)}: {hidden.message}" for server in servers for hidden in hidden_methods(http_access(server))
    )


def _table(rows: list[tuple[str, ...]]) -> Table:
    table = Table(title="Who may call what", title_justify="left")
    for heading, style in (("client", ""), ("state", ""), ("API", ""), ("granted", "green"), ("not granted", "yellow")):
        table.add_column(heading, style=style, overflow="fold")
    for row in rows:
        table.add_row(*map(Text, row))  # not markup: a scope may be vault[/read]
    return table
