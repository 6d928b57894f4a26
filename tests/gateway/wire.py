"""HTTP/1.1 as bytes on a socket: requests that no client library would send."""

import socket
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from tests.gateway.proxies import HOST

TIMEOUT_SECONDS = 20.0


@dataclass(frozen=True)
class Answer:
    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes

    def values(self, name: str) -> list[str]:
        return [text for each, text in self.headers if each == name]


def request(
    method: str | bytes,
    target: str | bytes,
    *headers: tuple[str, str],
    host: str | None = HOST,
    body: bytes = b"",
) -> bytes:
    """A request as bytes. `target` is sent as it is; a str in UTF-8."""
    lines = [b" ".join([_bytes(method), _bytes(target), b"HTTP/1.1"])]
    if host is not None:
        lines.append(b"Host: " + host.encode())
    if body:
        lines.append(f"Content-Length: {len(body)}".encode())
    lines += [f"{name}: {text}".encode("latin-1") for name, text in headers]
    return b"\r\n".join([*lines, b"", body])


def bearer(token: str) -> tuple[str, str]:
    return ("Authorization", f"Bearer {token}")


class Connection:
    """A connection to a port on loopback."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT_SECONDS)
        self._file = self._socket.makefile("rb")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        self._socket.close()

    def send(self, data: bytes) -> None:
        self._socket.sendall(data)

    def receive(self, *, to_head: bool = False) -> Answer | None:
        """The next response; None: the peer has closed the connection. `to_head`: the request was a HEAD."""
        try:
            start = self._file.readline()
        except ConnectionResetError:
            return None
        if not start:
            return None
        status = int(start.split()[1])
        headers = []
        while (line := self._file.readline()) not in (b"\r\n", b""):
            name, _, text = line.decode("latin-1").partition(":")
            headers.append((name.lower(), text.strip()))
        found = dict(headers)
        if to_head or status in (101, 204, 304):
            body = b""
        elif found.get("transfer-encoding") == "chunked":
            body = self._chunks()
        elif "content-length" in found:
            body = self._file.read(int(found["content-length"]))
        else:
            body = self._file.read()
        return Answer(status, tuple(headers), body)

    def read(self, count: int) -> bytes:
        """Bytes of a tunnel. Fewer: the peer has closed it."""
        return self._file.read(count)

    def _chunks(self) -> bytes:
        body = b""
        while size := int(self._file.readline().split(b";")[0], 16):
            body += self._file.read(size)
            self._file.readline()
        self._file.readline()
        return body


def ask(port: int, data: bytes) -> Answer | None:
    """The response to one request on a connection of its own; None: the connection was closed without one."""
    with Connection(port) as connection:
        connection.send(data)
        return connection.receive(to_head=data.startswith(b"HEAD "))


def ask_all(port: int, requests: Sequence[bytes]) -> list[Answer]:
    """Responses to pipelined requests: all are sent before the first response is read."""
    with Connection(port) as connection:
        connection.send(b"".join(requests))
        answers: list[Answer] = []
        while len(answers) < len(requests) and (answer := connection.receive()) is not None:
            answers.append(answer)
        return answers


def _bytes(text: str | bytes) -> bytes:
    return text.encode() if isinstance(text, str) else text
