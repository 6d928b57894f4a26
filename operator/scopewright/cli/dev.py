"""`scopewright dev`: a directory of manifests, reconciled and served on a laptop."""

import asyncio
import socket
from pathlib import Path

from rich.console import Console
from rich.table import Table

from scopewright.api import OAuthClient
from scopewright.controller.embedded import Embedded
from scopewright.core.access import asked_by
from scopewright.core.config import Config
from scopewright.issuer import Issuer, serve_issuer
from scopewright.stores.directory import DirectoryStore

NOTHING = "–"


async def develop(
    directory: Path, state: Path, config: Config, listening: socket.socket, stop: asyncio.Event, console: Console
) -> None:
    """Until `stop` is set."""
    store = DirectoryStore.open(state, config.issuer)
    try:
        embedded = Embedded(directory, store, config)
        report = Report(embedded, console)
        async with Issuer(store, namespace=config.namespace, reports=store).running() as issuer:
            tasks = [
                asyncio.create_task(embedded.run(report.settled)),
                asyncio.create_task(serve_issuer(issuer, listener=listening, stop=stop)),
                asyncio.create_task(_announce(issuer, report)),
            ]
            await _until_one_ends(tasks[:2])
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
    finally:
        store.close()


async def _until_one_ends(tasks: "list[asyncio.Task[None]]") -> None:
    done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in done:
        task.result()


async def _announce(issuer: Issuer, report: "Report") -> None:
    await report.first.wait()
    url = await issuer.ready()
    report.console.print(f"issuer ready at {url}", highlight=False, soft_wrap=True)


class Report:
    """What is printed: the broken manifests, and who may call what; each only when it has changed."""

    def __init__(self, embedded: Embedded, console: Console) -> None:
        self._embedded = embedded
        self.console = console
        self.first = asyncio.Event()
        self._problems: tuple[object, ...] = ()
        self._rows: list[tuple[str, ...]] | None = None

    def settled(self) -> None:
        if (problems := self._embedded.problems) != self._problems:
            self._problems = problems
            for problem in problems:
                self.console.print(f"{problem}", style="red", highlight=False, markup=False, soft_wrap=True)
            if not problems:
                self.console.print("every manifest is good", style="green")
        if (rows := self._access()) != self._rows:
            self._rows = rows
            self.console.print(_table(rows))
        self.first.set()

    def _access(self) -> list[tuple[str, ...]]:
        rows: list[tuple[str, ...]] = []
        for client in sorted(self._embedded.world.all(OAuthClient), key=lambda c: c.client_id):
            status = client.status
            entries = {(f"{a.namespace}/{a.resource_server}"): a for a in (status.access if status else ())}
            ready = next((c for c in (status.conditions if status else ()) if c.type == "Ready"), None)
            state = "ready" if ready and ready.status == "True" else ready.reason if ready else "Pending"
            for asked in asked_by(client):
                entry = entries.get(asked.resource_server)
                granted = " ".join(entry.granted) if entry else ""
                missing = " ".join(entry.missing) if entry else ""
                rows.append((client.client_id, state, asked.resource_server, granted or NOTHING, missing or NOTHING))
            if not client.spec.access:
                rows.append((client.client_id, state, NOTHING, NOTHING, NOTHING))
        return rows


def _table(rows: list[tuple[str, ...]]) -> Table:
    table = Table(title="Who may call what", title_justify="left")
    for heading, style in (("client", ""), ("state", ""), ("API", ""), ("granted", "green"), ("not granted", "yellow")):
        table.add_column(heading, style=style, overflow="fold")
    for row in rows:
        table.add_row(*row)
    return table
