"""`ValkeyServer`: a Valkey or Redis on loopback, which a test kills, suspends and starts again."""

import re
import signal
import socket
import subprocess
import time
from pathlib import Path

import redis

from tests.debian import program
from tests.ports import free_port


class ValkeyServer:
    """Stores nothing over a restart, unless `options` say so. Its files are in `folder`."""

    def __init__(self, folder: Path, *options: str) -> None:
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self._folder = folder
        self._options = options
        self.start()

    def start(self) -> None:
        command = [program("valkey-server", "redis-server", package="redis-server"), "--port", str(self.port)]
        command += ["--bind", "127.0.0.1", "--save", "", "--daemonize", "no", "--dir", str(self._folder)]
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [*command, *self._options], stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        deadline = time.monotonic() + 10
        while not _answers(self.port):
            assert time.monotonic() < deadline, (self._folder / "log").read_text()
            time.sleep(0.02)

    def suspend(self) -> None:
        """Suspend the process: the kernel accepts connections, but nothing answers."""
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._process.send_signal(signal.SIGCONT)

    def client(self) -> redis.Redis:
        """A connection of an administrator."""
        return redis.Redis(port=self.port)

    def connections(self) -> int:
        """The number of client connections, without the one of this query."""
        return self._number("INFO clients", rb"connected_clients:(\d+)") - 1

    def remaining(self, key: str) -> int:
        """The remaining lifetime of a key in milliseconds."""
        return self._number(f"PTTL {key}", rb":(-?\d+)")

    def _number(self, command: str, pattern: bytes) -> int:
        with socket.create_connection(("127.0.0.1", self.port), timeout=10) as connection:
            connection.sendall(f"{command}\r\n".encode())
            answer = connection.recv(4096)
        found = re.search(pattern, answer)
        assert found, answer
        return int(found[1])

    def stop(self) -> None:
        """Kill the process (SIGKILL)."""
        self._process.kill()
        self._process.wait()

    def restart(self) -> None:
        self.stop()
        self.start()


def _answers(port: int) -> bool:
    """A server that asks for a password answers too."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1) as connection:
            connection.sendall(b"PING\r\n")
            return connection.recv(16).startswith((b"+PONG", b"-NOAUTH"))
    except OSError:
        return False
