"""Starts the floors of `tokens`, each with the responses and the keys of the issuer that it is beside."""

import json
import sys
import urllib.request
from pathlib import Path
from typing import Any, Final

from bench.floor_protocols import PROTOCOLS
from bench.one_response import response
from bench.server import IMPORTS
from bench.token_clients import cluster_jwk
from bench.token_requests import RequestBatch
from bench.token_servers import ROOT, TokenServer
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
    return TokenServer(name, f"floor: {PROTOCOLS[floor][1]}", port, child, log, like.requests, clients=like.clients)


def _response(server: TokenServer) -> bytes:
    """The bytes of the response to a request of the case."""
    assert server.case is not None
    return response(server.port, server.case.requests(RequestBatch(clients=1, count=1, port=server.port))[0])


def _issuer_jwk(server: TokenServer) -> dict[str, str]:
    with urllib.request.urlopen(f"http://127.0.0.1:{server.port}/jwks.json", timeout=_TIMEOUT_SECONDS) as answer:
        jwks: dict[str, Any] = json.load(answer)
    key: dict[str, str] = jwks["keys"][0]
    return key
