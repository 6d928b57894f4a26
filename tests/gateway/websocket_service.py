"""A service that accepts every websocket handshake and returns the bytes of the tunnel, as a thread."""

import socket
from base64 import b64encode
from hashlib import sha1
from typing import Final

from tests.gateway.listening import ListeningThread

_GUID: Final = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
"""Of RFC 6455 §1.3."""


class WebsocketService(ListeningThread):
    """`handshakes` has the requests that it got."""

    def __init__(self) -> None:
        self.handshakes: list[str] = []

    def serve(self, connection: socket.socket) -> None:
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
