"""Objects go past kopf: it sees lists without objects, and for events the version from which to continue."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any, Final, cast

import aiohttp
import pytest
from aiohttp import web

from scopewright.api import GROUP, KINDS, VERSION
from scopewright.controller.watch import watch
from scopewright.controller.watched_objects import Event, EventsAsBookmarks, Take, session
from scopewright.stores.kubernetes.api import Api, Identity

Json = dict[str, Any]


def client(name: str, version: int) -> Json:
    managed = [{"manager": "kubectl", "time": "2026-11-22T13:00:00Z", "fieldsV1": {"f:spec": {}}}]
    meta = {"name": name, "namespace": "leave", "uid": name, "resourceVersion": str(version)}
    return {"kind": "OAuthClient", "metadata": {**meta, "managedFields": managed}, "spec": {"text": "x" * 300}}


def seen(events: Sequence[Event]) -> list[tuple[str | None, str, str]]:
    return [(type_, obj["metadata"]["name"], obj["metadata"]["resourceVersion"]) for type_, obj in events]


def line(type_: str, obj: Json) -> bytes:
    return json.dumps({"type": type_, "object": obj}).encode() + b"\n"


BOOKMARK = line("BOOKMARK", {"kind": "OAuthClient", "metadata": {"resourceVersion": "9"}})
ERROR = line("ERROR", {"kind": "Status", "code": 410, "message": "too old"})


async def passed_on(*chunks: bytes) -> tuple[list[Json], list[Event]]:
    """The lines that kopf gets of these chunks, and the events that it does not get."""

    class Stream:
        async def iter_any(self) -> AsyncIterator[bytes]:
            for chunk in chunks:
                yield chunk

    taken: list[Event] = []

    async def take(events: Sequence[Event]) -> None:
        taken.extend(events)

    body = EventsAsBookmarks(cast("aiohttp.StreamReader", Stream()), take, "/apis")
    content = b"".join([chunk async for chunk in body.iter_chunked(1024)])
    return [json.loads(kept) for kept in content.splitlines()], taken


def bookmark(version: int) -> Json:
    return {"type": "BOOKMARK", "object": {"metadata": {"resourceVersion": str(version)}}}


async def test_in_place_of_events_kopf_gets_a_bookmark_of_the_last_version() -> None:
    content = line("ADDED", client("one", 5)) + line("MODIFIED", client("one", 6)) + line("DELETED", client("two", 7))
    kept, taken = await passed_on(content)
    assert kept == [bookmark(7)]
    assert seen(taken) == [("ADDED", "one", "5"), ("MODIFIED", "one", "6"), ("DELETED", "two", "7")]


async def test_an_event_may_arrive_in_several_parts() -> None:
    content = line("ADDED", client("one", 5)) + line("ADDED", client("two", 6))
    kept, taken = await passed_on(*(content[at : at + 100] for at in range(0, len(content), 100)))
    assert kept == [bookmark(5), bookmark(6)]
    assert seen(taken) == [("ADDED", "one", "5"), ("ADDED", "two", "6")]


async def test_an_event_that_is_cut_off_is_requested_again() -> None:
    kept, taken = await passed_on(line("ADDED", client("one", 5)), line("ADDED", client("two", 6))[:-20])
    assert kept == [bookmark(5)]
    assert seen(taken) == [("ADDED", "one", "5")]


async def test_bookmarks_and_errors_of_the_api_server_reach_kopf_in_their_order() -> None:
    added = line("ADDED", client("one", 5))
    assert (await passed_on(added + BOOKMARK))[0] == [json.loads(BOOKMARK)]
    assert (await passed_on(BOOKMARK + line("ADDED", client("one", 12))))[0] == [json.loads(BOOKMARK), bookmark(12)]
    assert (await passed_on(added + ERROR))[0] == [json.loads(ERROR)]


@pytest.mark.parametrize("alien", [b"<html>\n", b"[1]\n", b'{"type": "ADDED"}\n', b"[" * 5_000 + b"\n"])
async def test_a_line_that_is_no_event_ends_the_watch_and_kopf_begins_another(
    alien: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("scopewright.controller.watched_objects.PAUSE_SECONDS", 0.0)
    with pytest.raises(aiohttp.ClientPayloadError, match="is not an API server"):
        await passed_on(alien)


async def test_what_waits_for_its_turn_has_no_managed_fields() -> None:
    _, [(_, taken)] = await passed_on(line("ADDED", client("one", 5)))
    assert "managedFields" not in taken["metadata"]
    assert taken["metadata"]["appliedTime"] == "2026-11-22T13:00:00Z"


class FakeServer:
    """Serves what kopf asks for: discovery, lists in chunks, and watches."""

    def __init__(self) -> None:
        self.lists: dict[str, list[Json]] = {}
        """Items by plural; each list has one item in a chunk."""
        self.events: list[bytes] = []
        """Of OAuthClients, for one watch."""
        self.watched_from: list[str] = []
        """The versions from which OAuthClients were watched."""
        self.watched_again = asyncio.Event()
        self.no_items: list[Json] | None = None

    async def answer(self, request: web.Request) -> web.StreamResponse:
        path, _, plural = request.path.rpartition("/")
        if request.path in ("/api", "/apis"):
            version = {"groupVersion": f"{GROUP}/{VERSION}", "version": VERSION}
            return web.json_response(
                {"versions": ["v1"], "groups": [{"name": GROUP, "versions": [version], "preferredVersion": version}]}
            )
        if path in ("/api", f"/apis/{GROUP}"):
            plurals = (
                {kind.PLURAL: name for name, kind in KINDS.items()} if path != "/api" else {"namespaces": "Namespace"}
            )
            resources = [
                {
                    "name": name,
                    "singularName": "",
                    "kind": kind,
                    "namespaced": path != "/api",
                    "verbs": ["list", "watch"],
                }
                for name, kind in plurals.items()
            ]
            return web.json_response({"kind": "APIResourceList", "resources": resources})
        return await self._watch(request, plural) if "watch" in request.query else self._list(request, plural)

    def _list(self, request: web.Request, plural: str) -> web.Response:
        items, at = self.lists.get(plural, []), int(request.query.get("continue", "0"))
        meta = {"resourceVersion": "4", **({"continue": str(at + 1)} if at + 1 < len(items) else {})}
        kind = next((f"{kind}List" for kind in KINDS if plural == KINDS[kind].PLURAL), "NamespaceList")
        return web.json_response({"kind": kind, "metadata": meta, "items": items[at : at + 1] or self.no_items})

    async def _watch(self, request: web.Request, plural: str) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        if plural == "oauthclients":
            self.watched_from.append(request.query["resourceVersion"])
            events, self.events = self.events, []
            for event in events:
                await response.write(event)
            if events:
                return response
            self.watched_again.set()
        await asyncio.sleep(60)
        return response


@asynccontextmanager
async def served(answer: Callable[[web.Request], Awaitable[web.StreamResponse]]) -> AsyncIterator[str]:
    app = web.Application()
    app.router.add_get("/{path:.*}", answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        host, port = runner.addresses[0][:2]
        yield f"http://{host}:{port}"
    finally:
        await runner.cleanup()


LAST: Final = {"one 5", "two 6", "three 3", "four 8", "leave 3"}
"""Names and versions."""


async def delivered_by(fake: FakeServer) -> list[Event]:
    """What is delivered until the last version of each object has come, and OAuthClients are watched again."""
    fake.lists = {
        "oauthclients": [client("one", 1), client("two", 2), client("three", 3)],
        "namespaces": [{"metadata": {"name": "leave", "resourceVersion": "3", "uid": "leave"}}],
    }
    fake.events = [
        line("MODIFIED", client("one", 5)),
        line("DELETED", client("two", 6)),
        line("ADDED", client("four", 8)),
    ]
    delivered: list[Event] = []
    complete = asyncio.Event()

    def deliver(type_: str | None, obj: Mapping[str, Any]) -> None:
        delivered.append((type_, dict(obj)))
        if {f"{name} {version}" for _, name, version in seen(delivered)} >= LAST:
            complete.set()

    async with served(fake.answer) as url:
        api = cast("Api", SimpleNamespace(identity=lambda: Identity(url, None, True, None, None, None)))
        watching = asyncio.create_task(watch(api, deliver))
        async with asyncio.timeout(60):
            await fake.watched_again.wait()
            await complete.wait()
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
    return delivered


async def test_kopf_lists_and_watches_and_continues_from_the_version_of_the_last_event() -> None:
    fake = FakeServer()
    delivered = await delivered_by(fake)
    assert fake.watched_from == ["4", "8"]
    [namespace] = [event for event in delivered if event[1]["kind"] == "Namespace"]
    assert seen([namespace]) == [(None, "leave", "3")]
    assert seen([event for event in delivered if event != namespace]) == [
        (None, "one", "1"), (None, "two", "2"), (None, "three", "3"),
        ("MODIFIED", "one", "5"), ("DELETED", "two", "6"), ("ADDED", "four", "8"),
    ]  # fmt: skip


async def test_with_kopfs_own_session_its_handlers_deliver_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """kopf may skip an event that another one of the same object follows."""
    fast = {obj["metadata"]["name"]: (type_, obj) for type_, obj in await delivered_by(FakeServer())}

    def plain(take: Take, connector: aiohttp.BaseConnector, headers: dict[str, str]) -> aiohttp.ClientSession:
        return aiohttp.ClientSession(connector=connector, headers=headers)

    monkeypatch.setattr("scopewright.controller.watch.session", plain)
    fake = FakeServer()
    fake.no_items = []  # kopf refuses null
    slow = {obj["metadata"]["name"]: (type_, obj) for type_, obj in await delivered_by(fake)}
    assert fake.watched_from == ["4", "8"]
    assert len(slow) == 5
    assert slow == fast


async def test_answers_without_watched_objects_reach_kopf_as_they_are() -> None:
    async def take(events: Sequence[Event]) -> None:
        raise AssertionError(events)

    refused = {"kind": "OAuthClientList", "items": [client("one", 1)]}

    async def answer(request: web.Request) -> web.Response:
        return web.json_response(refused, status=int(request.query["status"]))

    async with served(answer) as url, session(take, aiohttp.TCPConnector(), {}) as http:
        response = await http.get(url, params={"status": "403"})
        assert await response.json() == refused
        response = await http.get(url, params={"status": "500", "watch": "true"})
        assert json.loads(await response.content.read()) == refused
