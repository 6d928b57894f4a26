"""A TCP proxy on loopback that stops forwarding without closing anything, as a network that drops packets does.

Unlike a firewall rule it needs no rights. Keep-alive probes are still acknowledged, as by a proxy that has lost its
upstream. A process that detects this detects dropped packets as well.
"""

import asyncio
import contextlib
import threading
from types import TracebackType
from typing import Self


class BlackHole:
    """Forwards to `port`. After `swallow` the existing connections forward nothing."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._generation = 0
        self._new_pass = True
        self._over = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self.port = 0
        self.accepted = 0

    def __enter__(self) -> Self:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result(10)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    def swallow(self, *, new_pass: bool) -> None:
        """Forward nothing on existing connections, and on new ones only if `new_pass`."""
        self._generation += 1
        self._new_pass = new_pass

    def let_new_pass(self) -> None:
        """New connections work; existing ones stay dead."""
        self._generation += 1
        self._new_pass = True

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._take, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _end(self) -> None:
        self._server.close()
        self._over.set()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        generation = self._generation if self._new_pass else -1
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        with contextlib.suppress(OSError):
            onward, back = await asyncio.open_connection("127.0.0.1", self._target)
            pumps = [
                asyncio.create_task(self._pump(reader, back, generation)),
                asyncio.create_task(self._pump(onward, writer, generation)),
                asyncio.create_task(self._end_of_all()),
            ]
            try:
                await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for pump in pumps:
                    pump.cancel()
                await asyncio.gather(*pumps, return_exceptions=True)
                for end in (writer, back):
                    end.close()
                await asyncio.gather(writer.wait_closed(), back.wait_closed(), return_exceptions=True)

    async def _end_of_all(self) -> None:
        await self._over.wait()

    async def _pump(self, source: asyncio.StreamReader, target: asyncio.StreamWriter, generation: int) -> None:
        while data := await source.read(65536):
            if generation == self._generation:
                target.write(data)
                await target.drain()
        if generation != self._generation:
            await asyncio.Event().wait()  # the end of the connection is not forwarded either
