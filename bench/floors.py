"""Starts the floors of `tokens`, each with the responses and the keys of the issuer that it is beside."""

import json
import socket
import sys
import urllib.request
from pathlib import Path
from typing import Any, Final

from bench.benchmark import BenchmarkError
from bench.floor_protocols import PROTOCOLS
from bench.token_clients import cluster_jwk
from bench.token_requests import RequestBatch
from bench.token_servers import IMPORTS, ROOT, TokenServer
from tests.controlplane.processes import Child
from tests.ports import free_port

_TIMEOUT_SECONDS: Final = 10.0


def start_floor(floor: str, like: TokenServer, workers: int, folder: Path) -> TokenServer:
    """Start a floor; it gets the requests that `like` gets, which must be ready."""
    case = like.case
    assert case is not None
    name = f"floor-{floor}"
    port, log, settings = free_port(), folder / f"{name}.log", folder / f"{name}.json"
    jwk = cluster_jwk() if case.method == "ServiceAccount" else _issuer_jwk(like) if "introspection" in floor else None
    content = {
        "floor": floor,
        "port": port,
        "workers": workers,
        "answer": _response(like).decode(),
        "algorithm": case.algorithm,
        "jwk": jwk,
        "key_pairs": case.clients if case.once else 0,
        "store_port": like.replay_port,
    }
    settings.write_text(json.dumps(content))
    command = [sys.executable, "-m", "bench.floor_server", str(settings)]
    child = Child(command, log=log, cwd=ROOT, environment=IMPORTS)
    return TokenServer(name, f"floor: {PROTOCOLS[floor][1]}", port, child, log, like.requests)


def _response(server: TokenServer) -> bytes:
    """The bytes of the response to a request of the case."""
    assert server.case is not None
    request = server.case.requests(RequestBatch(clients=1, count=1, port=server.port))[0]
    with socket.create_connection(("127.0.0.1", server.port), _TIMEOUT_SECONDS) as connection:
        connection.sendall(request)
        received = b""
        while not _complete(received):
            more = connection.recv(65536)
            if not more:
                raise BenchmarkError(f"{server.name} closed the connection")
            received += more
    if not received.startswith(b"HTTP/1.1 200 "):
        raise BenchmarkError(f"{server.name} answers {received[:200]!r}")
    return received


def _complete(response: bytes) -> bool:
    head, found, body = response.partition(b"\r\n\r\n")
    _, _, length = head.partition(b"content-length: ")
    return bool(found) and len(body) >= int(length.partition(b"\r\n")[0])


def _issuer_jwk(server: TokenServer) -> dict[str, str]:
    with urllib.request.urlopen(f"http://127.0.0.1:{server.port}/jwks.json", timeout=_TIMEOUT_SECONDS) as answer:
        jwks: dict[str, Any] = json.load(answer)
    key: dict[str, str] = jwks["keys"][0]
    return key
