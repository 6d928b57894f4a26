"""Processes that this one starts, with their logs; none of them outlives it."""

import asyncio
import os
import random
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

ROOT = Path(__file__).resolve().parents[3]
GRACE = 3.0  # seconds to end by oneself
PATIENCE = 20.0  # seconds to become ready
LAST_LINES = 15
PORTS = range(20000, 32000)  # below those that Linux takes for outgoing connections: a free one stays free


class DemoFailed(Exception):
    """The demonstration cannot go on; the text says why."""


class Children:
    """All ended when the block is left. Starting and ending do not await, and so no signal comes in between."""

    def __init__(self, logs: Path) -> None:
        self._logs = logs
        self._children: list[Child] = []

    def __enter__(self) -> "Children":
        return self

    def __exit__(self, *_: object) -> None:
        for child in reversed(self._children):
            child.terminate()
        deadline = time.monotonic() + GRACE
        for child in self._children:
            child.end(deadline)

    def start(self, name: str, *arguments: str, env: Mapping[str, str] | None = None) -> "Child":
        """`python -m` with these arguments."""
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

    async def says(self, text: str) -> None:
        """Waits for the text in its log."""
        deadline = time.monotonic() + PATIENCE
        while text not in self._said():
            self.check()
            if time.monotonic() > deadline:
                raise self._failure(f"is not ready after {PATIENCE:.0f} s")
            await asyncio.sleep(0.05)

    def _said(self) -> str:
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

    def _failure(self, what: str) -> DemoFailed:
        last = self._said().splitlines()[-LAST_LINES:]
        return DemoFailed("\n  ".join([f"{self.name} {what}; the end of its log:", *(last or ["(empty)"])]))


def _popen(command: list[str], env: Mapping[str, str], output: BinaryIO) -> "subprocess.Popen[bytes]":
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("SCOPEWRIGHT_")}
    # Everything is on loopback: a proxy that the user has set is not for us.
    fixed = {"NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"}
    fixed |= {"PYTHONUNBUFFERED": "1", "PYTHONIOENCODING": "utf-8", "COLUMNS": "120"}
    return subprocess.Popen(
        command,
        cwd=ROOT,
        env=inherited | fixed | dict(env),
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        start_new_session=True,  # Ctrl-C reaches this process alone, which ends the others in order
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
