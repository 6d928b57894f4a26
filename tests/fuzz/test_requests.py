"""Generated requests to an issuer process: documented responses, no exception in the log, and bounded memory."""

import asyncio
import os
import random
from collections.abc import Sequence

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.fuzz.requests import FORM, Sent, requests
from tests.fuzz.target import Target
from tests.fuzz.wire import Connections, check, documented

REQUESTS = int(os.environ.get("FUZZ_REQUESTS", "3000"))
"""Minimum number of requests; `make fuzz` sends 100,000."""

BATCH = 50
GROWTH = 16 * 1024 * 1024
"""Bytes that the process may gain after its first thousand requests: arenas and caches, not a leak of each request."""


def test_every_request_gets_a_documented_response(target: Target) -> None:
    known = documented()
    batches = max(20, REQUESTS // BATCH)
    count = 0
    begun = 0

    @settings(
        max_examples=batches,
        deadline=None,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
        database=None,
    )
    @given(st.lists(requests(target.worker), min_size=BATCH, max_size=BATCH))
    def send(sent: Sequence[Sent]) -> None:
        nonlocal count, begun
        answers = runner.run(connections.send(sent))
        for request, answer in zip(sent, answers, strict=True):
            check(request, answer, known)
        count += len(sent)
        if count <= 1000:
            begun = target.running.resident()

    with asyncio.Runner() as runner:
        connections = Connections(target.running.port)
        try:
            send()
        finally:
            runner.run(connections.close())
    assert count >= REQUESTS
    assert target.running.error_lines() == []
    gained = target.running.resident() - begun
    assert gained < GROWTH, f"{gained} bytes gained in {count} requests"


REFUSALS = (b"HTTP/1.1 4", b"HTTP/1.1 501 ", b"HTTP/1.1 505 ")
"""Statuses that are allowed for arbitrary bytes: no failures of the issuer."""


def test_malformed_http_is_refused_and_the_next_request_served(target: Target) -> None:
    """The next connection is served after any bytes on this one."""
    source = random.Random(7)
    good = Sent(b"POST", b"/token", ((b"content-type", FORM),), b"grant_type=client_credentials").written()

    async def send_octets(octets: bytes) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", target.running.port)
        try:
            writer.write(octets)
            writer.write_eof()
            async with asyncio.timeout(15):
                answer = await reader.read()
        except ConnectionError:
            return
        finally:
            writer.close()
        assert not answer or answer.startswith(REFUSALS), answer

    def mangled() -> bytes:
        octets = bytearray(good)
        for _ in range(source.randrange(1, 6)):
            octets[source.randrange(len(octets))] = source.randrange(256)
        return bytes(octets[: source.randrange(1, len(octets) + 1)])

    async def send_all() -> None:
        for _ in range(max(10, REQUESTS // 300)):
            await asyncio.gather(*(send_octets(mangled()) for _ in range(30)))

    asyncio.run(send_all())
    assert target.running.error_lines() == []
    assert target.running.alive()
