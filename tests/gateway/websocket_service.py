"""A service that accepts every websocket handshake and returns the bytes of the tunnel, as a thread."""

import socket
import threading
from base64 import b64encode
from hashlib import sha1
from typing import Final, Self

from tests.ports import free_port

_GUID: Final = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
"""Of RFC 6455 §1.3."""


class WebsocketService:
    """A context manager. Inside, it listens at `port` on loopback. `handshakes` has the requests that it got."""

    def __init__(self) -> None:
        self.port = free_port()
        self.handshakes: list[str] = []

    def __enter__(self) -> Self:
        self._listener = socket.create_server(("127.0.0.1", self.port))
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
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, connection.makefile("rb") as file:
            lines = []
            while (line := file.readline()) not in (b"\r\n", b""):
                lines.append(line.decode("latin-1").rstrip())
            if not lines:
                return
            self.handshakes.append("\n".join(lines))
            (key,) = (line.split()[1] for line in lines if line.lower().startswith("sec-websocket-key:"))
            accept = b64encode(sha1((key + _GUID).encode()).digest()).decode()
            answer = ["HTTP/1.1 101 Switching Protocols", "Upgrade: websocket", "Connection: Upgrade"]
            answer += [f"Sec-WebSocket-Accept: {accept}", "", ""]
            connection.sendall("\r\n".join(answer).encode())
            while data := file.read1(65536):
                connection.sendall(data)
