"""Identity headers of tokens with many scopes, beside requests that fill the buffers of a proxy."""

import socket
from pathlib import Path
from typing import Final

import pytest

from tests.gateway.listening import ListeningThread
from tests.gateway.proxies import HAPROXY, WITH_GATEWAY, Proxy, ProxyKind
from tests.gateway.wire import ask, bearer, request

IDENTITY: Final = {"subject": "s", "client": "c", "scope": "payroll.read", "roles": "manager", "token-id": "t"}


class Answering(ListeningThread):
    """It answers each connection with 200 and the headers of `identity`."""

    def __init__(self) -> None:
        self.identity: dict[str, str] = {}
        self.heads: list[str] = []

    def serve(self, connection: socket.socket) -> None:
        with connection, connection.makefile("rb") as file:
            head = b""
            while (line := file.readline()) not in (b"\r\n", b""):
                head += line
            self.heads.append(head.decode("latin-1"))
            lines = [f"X-Auth-{name.title()}: {value}\r\n" for name, value in self.identity.items()]
            fixed = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n"
            connection.sendall("".join([fixed, *lines, "\r\n"]).encode())

    def received(self) -> dict[str, str]:
        """The identity headers of the last request."""
        lines = [line.partition(": ") for line in self.heads[-1].split("\r\n")]
        return {name.lower().removeprefix("x-auth-"): v for name, _, v in lines if name.lower().startswith("x-auth-")}


@pytest.mark.parametrize("kind", WITH_GATEWAY, ids=lambda kind: kind.name)
def test_identity_headers_are_complete_or_the_request_is_refused(kind: ProxyKind, tmp_path: Path) -> None:
    with Answering() as gateway, Answering() as service:
        ports = {"gateway": gateway.port, "service": service.port}
        with Proxy(kind, tmp_path / "proxy", ports) as proxy:
            for size in (0, 4000, 12_000, 24_000, 40_000):
                gateway.identity = {**IDENTITY, "scope": "x" * size} if size else IDENTITY
                for padding in (0, 12_000, 15_000, 28_000, 32_000, 48_000):
                    service.heads.clear()
                    # nginx reads at most 16 KB of one header.
                    pads = [(f"X-Pad-{at}", "p" * min(12_000, padding - at)) for at in range(0, padding, 12_000)]
                    answer = ask(proxy.port, request("GET", "/salaries/7", bearer("t"), *pads))
                    assert answer is None or answer.status != 200 or service.received() == gateway.identity
                    assert answer is None or (answer.status == 200) == bool(service.heads)
                    if size <= 12_000 and padding <= 15_000:
                        assert answer is not None
                        assert answer.status == 200, (size, padding)


def test_haproxy_refuses_a_request_beside_which_its_buffer_has_no_room(tmp_path: Path) -> None:
    """A configuration with the action and other buffers: HAProxy itself would silently omit headers."""
    with Answering() as gateway, Answering() as service:
        ports = {"gateway": gateway.port, "service": service.port}
        gateway.identity = {**IDENTITY, "scope": "x" * 12_000}
        smaller = ("tune.maxrewrite 32768", "tune.maxrewrite 1024")
        with Proxy(HAPROXY, tmp_path / "proxy", ports, smaller) as proxy:
            pads = [(f"X-Pad-{number}", "p" * 12_000) for number in range(5)]
            answer = ask(proxy.port, request("GET", "/salaries/7", bearer("t"), *pads))
        assert answer is not None
        assert answer.status == 431
        assert service.heads == []
