"""Processes and threads of the tests that listen on loopback."""

import socket
import subprocess
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

from tests.gateway.waiting import accepts_connections


class ListeningProcess:
    """A context manager. Inside, the process accepts connections at `port` on loopback. Its output goes to `log`."""

    def __init__(
        self, command: Sequence[str], port: int, folder: Path, log: Path, environment: Mapping[str, str] | None = None
    ) -> None:
        """`folder` is the working directory. Without `environment`, the process has that of the tests."""
        self.port = port
        self._command, self._folder, self._log, self._environment = command, folder, log, environment

    def __enter__(self) -> Self:
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                self._command, cwd=self._folder, env=self._environment, stdout=log, stderr=subprocess.STDOUT
            )
        end = time.monotonic() + 60
        while not accepts_connections(self.port):
            assert self._process.poll() is None, self.printed()
            assert time.monotonic() < end, self.printed()
            time.sleep(0.02)
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def printed(self) -> str:
        return self._log.read_text(errors="replace")


class ListeningThread(ABC):
    """A context manager. Inside, it listens at `port` on loopback, and `serve` gets each connection in a thread."""

    def __enter__(self) -> Self:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self.serve, args=(connection,), daemon=True).start()

    @abstractmethod
    def serve(self, connection: socket.socket) -> None:
        """Answer a connection, and close it."""
