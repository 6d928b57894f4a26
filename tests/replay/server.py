"""A Valkey or Redis on loopback."""

import re
import signal
import socket
import subprocess
import time
from pathlib import Path

from scopewright.verifier.replay import replay_key
from tests.debian import program
from tests.ports import free_port


class Server:
    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self._folder = folder
        self.start()

    def start(self) -> None:
        command = [program("valkey-server", "redis-server", package="redis-server"), "--port", str(self.port)]
        command += ["--bind", "127.0.0.1", "--save", "", "--daemonize", "no", "--dir", str(self._folder)]
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        deadline = time.monotonic() + 10
        while not _answers(self.port):
            assert time.monotonic() < deadline, (self._folder / "log").read_text()
            time.sleep(0.02)

    def suspend(self) -> None:
        """Suspend the process: the kernel accepts connections, but nothing answers."""
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._process.send_signal(signal.SIGCONT)

    def connections(self) -> int:
        """The number of client connections, without the one of this query."""
        return self._number("INFO clients", rb"connected_clients:(\d+)") - 1

    def remembers(self, owner: str, value: str) -> int:
        """The remaining lifetime of a key in milliseconds."""
        return self._number(f"PTTL scopewright:once:{replay_key(owner, value).hex()}", rb":(-?\d+)")

    def _number(self, command: str, pattern: bytes) -> int:
        with socket.create_connection(("127.0.0.1", self.port), timeout=10) as connection:
            connection.sendall(f"{command}\r\n".encode())
            answer = connection.recv(4096)
        found = re.search(pattern, answer)
        assert found, answer
        return int(found[1])

    def stop(self) -> None:
        self._process.kill()
        self._process.wait()


def _answers(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1) as connection:
            connection.sendall(b"PING\r\n")
            return connection.recv(16).startswith(b"+PONG")
    except OSError:
        return False
