"""The issuer on real sockets: readiness, and a stop that completes requests in progress."""

import asyncio
import resource
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import httpx
import orjson
import pytest

from scopewright.cli.settings import listen
from scopewright.http import HttpLimits
from scopewright.issuer import serve_issuer
from scopewright.serving.process import within_open_files
from tests.harness.issuer import IssuerHarness
from tests.harness.samples import SECRET

BASIC = ("leave.leave-worker", SECRET)


async def test_server_reports_ready_serves_and_stops(harness: IssuerHarness) -> None:
    listener = listen("127.0.0.1:0")
    port = listener.getsockname()[1]
    ready: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    stop = asyncio.Event()
    serving = asyncio.create_task(serve_issuer(harness.issuer, listener=listener, stop=stop, on_ready=ready.set_result))
    assert await asyncio.wait_for(ready, 5) == "https://issuer.example.org"
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as http:
        assert (await http.get("/readyz")).status_code == 200
        head = await http.head("/jwks.json")
        assert (head.status_code, head.content) == (200, b"")
        large = await http.post("/token", content=b"a" * 100_000, headers={"content-type": "text/plain"})
        assert large.status_code == 413
        stop.set()
        await asyncio.wait_for(serving, 15)
    with pytest.raises(httpx.ConnectError):
        await httpx.AsyncClient().get(f"http://127.0.0.1:{port}/healthz")


async def test_request_refused_by_the_http_server_gets_an_oauth_error(harness: IssuerHarness) -> None:
    listener = listen("127.0.0.1:0")
    stop = asyncio.Event()
    serving = asyncio.create_task(serve_issuer(harness.issuer, listener=listener, stop=stop))
    await asyncio.sleep(0)
    reader, writer = await asyncio.open_connection(*listener.getsockname())
    writer.write(b"POST /token HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n")
    head, _, body = (await asyncio.wait_for(reader.read(-1), 5)).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 Bad Request")
    assert {b"content-type: application/json", b"cache-control: no-store"} <= set(head.split(b"\r\n"))
    assert orjson.loads(body)["error"] == "invalid_request"
    writer.close()
    stop.set()
    await asyncio.wait_for(serving, 5)


async def test_metrics_have_connections_and_the_causes_of_their_end(harness: IssuerHarness) -> None:
    listener = listen("127.0.0.1:0")
    port = listener.getsockname()[1]
    stop = asyncio.Event()
    limits = HttpLimits(connections=2)
    serving = asyncio.create_task(serve_issuer(harness.issuer, listener=listener, limits=limits, stop=stop))
    await asyncio.sleep(0)
    wires = [await asyncio.open_connection("127.0.0.1", port) for _ in range(3)]
    wires[2][1].write(b"BREW / HTTP/1.1\r\nHost: x\r\n\r\n")
    assert (await asyncio.wait_for(wires[2][0].read(-1), 5)).startswith(b"HTTP/1.1 501")
    text = harness.issuer.metrics.answer().body.decode()
    for sample in (
        'connections{state="request"} 1.0',
        "connection_memory_limit_bytes 6.7108864e+07",
        'connections_closed_total{cause="evicted",state="request"} 1.0',
        'transport_refusals_total{reason="501"} 1.0',
    ):
        assert f"scopewright_issuer_{sample}\n" in text
    for _, writer in wires:
        writer.close()
    stop.set()
    await asyncio.wait_for(serving, 5)


@pytest.mark.parametrize(("hard", "connections"), [(400, 144), (20_000, None), (resource.RLIM_INFINITY, None)])
def test_connections_are_limited_by_the_limit_of_open_files(
    monkeypatch: pytest.MonkeyPatch, hard: int, connections: int | None
) -> None:
    allowed: list[tuple[int, int]] = []
    monkeypatch.setattr(resource, "getrlimit", lambda which: (300, hard))
    monkeypatch.setattr(resource, "setrlimit", lambda which, limits: allowed.append(limits))
    assert within_open_files(HttpLimits()).most_connections == (connections or 8192)
    assert allowed == [(400 if hard == 400 else 8192 + 256, hard)]


async def test_request_in_progress_is_answered_before_the_server_stops(harness: IssuerHarness) -> None:
    harness.store.hold_reads()
    listener = listen("127.0.0.1:0")
    port = listener.getsockname()[1]
    serving = asyncio.create_task(serve_issuer(harness.issuer, listener=listener))
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as http:
        form = {"grant_type": "client_credentials"}
        asking = asyncio.create_task(http.post("/token", data=form, auth=("leave.unknown", "x")))
        await asyncio.wait_for(harness.store.read_started.wait(), 5)
        serving.cancel()
        await asyncio.sleep(0.2)
        harness.store.release_reads()
        assert (await asyncio.wait_for(asking, 5)).status_code == 401
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(serving, 15)


PROGRAM = """
import contextlib, sys
from scopewright.cli.settings import listen
from scopewright.issuer import IssuerSettings, run
from scopewright.serving.workers import Worker
from tests.harness.issuer import IssuerHarness
from tests.harness.samples import NAMESPACE

@contextlib.asynccontextmanager
async def open_store():
    harness = IssuerHarness()
    harness.install_defaults()
    yield harness.store

listener = listen("127.0.0.1:0")
run(open_store, IssuerSettings(NAMESPACE), Worker(lambda: listener, lambda url: print(url, flush=True)))
print("ended", flush=True)
"""


def test_process_ends_cleanly_on_sigterm() -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(PROGRAM)], stdout=subprocess.PIPE, text=True, cwd=Path.cwd()
    )
    assert process.stdout is not None
    assert process.stdout.readline().strip() == "https://issuer.example.org"
    process.send_signal(signal.SIGTERM)
    rest, _ = process.communicate(timeout=20)
    assert (process.returncode, rest.strip()) == (0, "ended")
