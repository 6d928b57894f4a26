"""Child processes with their logs, which end with this process."""

import asyncio
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

ROOT = Path(__file__).resolve().parents[3]
GRACE_SECONDS = 3.0  # between SIGTERM and SIGKILL
READY_TIMEOUT_SECONDS = 60.0
LAST_LINES = 15
PORTS = range(20000, 32000)  # below the kernel's ephemeral range, so that a free port stays free


class DemoFailed(Exception):
    """The demonstration cannot continue; the message says why."""


class Children:
    """A context manager that ends all children. Start and end do not await, so no cancellation interrupts them."""

    def __init__(self, logs: Path) -> None:
        self._logs = logs
        self._children: list[Child] = []

    def __enter__(self) -> "Children":
        return self

    def __exit__(self, *_: object) -> None:
        for child in reversed(self._children):
            child.terminate()
        deadline = time.monotonic() + GRACE_SECONDS
        for child in self._children:
            child.end(deadline)

    def start(self, name: str, *arguments: str, env: Mapping[str, str] | None = None) -> "Child":
        """Start `python -m` with these arguments."""
        child = Child(name, [sys.executable, "-m", *arguments], env or {}, self._logs / f"{name}.log")
        self._children.append(child)
        return child

    def check(self) -> None:
        for child in self._children:
            child.check()


class Child:
    def __init__(self, name: str, command: list[str], env: Mapping[str, str], log: Path) -> None:
        self.name = name
        self._log = log
        with log.open("wb") as output:
            self._process = _popen(command, env, output)

    def check(self) -> None:
        if (status := self._process.poll()) is not None:
            raise self._failure(f"ended with status {status}")

    async def wait_for_log(self, text: str) -> None:
        """Wait until its log contains the text."""

        async def logged() -> bool:
            return text in self._log_text()

        await self.wait_until(logged)

    async def wait_until(self, is_ready: Callable[[], Awaitable[bool]]) -> None:
        deadline = time.monotonic() + READY_TIMEOUT_SECONDS
        while not await is_ready():
            self.check()
            if time.monotonic() > deadline:
                raise self._failure(f"is not ready after {READY_TIMEOUT_SECONDS:.0f} s")
            await asyncio.sleep(0.05)

    def _log_text(self) -> str:
        return self._log.read_text(encoding="utf-8", errors="replace")

    def terminate(self) -> None:
        if self._process.poll() is None:
            self._process.terminate()

    def end(self, deadline: float) -> None:
        try:
            self._process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._kill_workers()

    def _kill_workers(self) -> None:
        """A server that was killed leaves its worker processes, which are in its process group."""
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)

    def _failure(self, what: str) -> DemoFailed:
        last = self._log_text().splitlines()[-LAST_LINES:]
        return DemoFailed("\n  ".join([f"{self.name} {what}; the end of its log:", *(last or ["(empty)"])]))


def _popen(command: list[str], env: Mapping[str, str], output: BinaryIO) -> "subprocess.Popen[bytes]":
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("SCOPEWRIGHT_")}
    # Everything is on loopback, so a proxy of the user's environment must not be used.
    fixed = {"NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"}
    fixed |= {"PYTHONUNBUFFERED": "1", "PYTHONIOENCODING": "utf-8", "COLUMNS": "120"}
    return subprocess.Popen(
        command,
        cwd=ROOT,
        env=inherited | fixed | dict(env),
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        start_new_session=True,  # Ctrl-C reaches only this process, which ends the others in order
    )


def free_ports(count: int) -> list[int]:
    found: list[int] = []
    for port in random.sample(PORTS, len(PORTS)):
        with socket.socket() as trial, suppress(OSError):
            trial.bind(("127.0.0.1", port))
            found.append(port)
        if len(found) == count:
            return found
    raise DemoFailed(f"no {count} free ports between {PORTS.start} and {PORTS.stop} on 127.0.0.1")
