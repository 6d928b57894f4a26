"""The verifier and tokens of jose, go-jose, Nimbus and joserfc, whose keys it fetches over HTTP."""

import json
import threading
import time
from collections.abc import Iterator
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from scopewright.verifier import Reason, TokenRejected, Verifier
from tests.interop.foreign import ALGORITHMS, AUDIENCE, Order, job, orders
from tests.interop.libraries import SIGNERS
from tests.interop.toolchains import run

ORDERS = orders(time.time())


class Issuers:
    """A loopback server that is an issuer for each library: its metadata, and the JWKS that the library exported."""

    def __init__(self) -> None:
        self.signed = cache(self._signed)
        self.documents: dict[str, Any] = {}
        documents = self.documents

        class Pages(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = json.dumps(documents[self.path]).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Pages)
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def _signed(self, program: str) -> tuple[dict[str, Any], Verifier]:
        issuer = f"{self.url}/{program}"
        signed = run(program, job(issuer))["signed"]
        self.documents[f"/{program}/jwks.json"] = signed["jwks"]
        metadata = {"issuer": issuer, "jwks_uri": f"{issuer}/jwks.json"}
        self.documents[f"/.well-known/oauth-authorization-server/{program}"] = metadata
        return signed["tokens"], Verifier(issuer, AUDIENCE)


@pytest.fixture(scope="module")
def issuers() -> Iterator[Issuers]:
    issuers = Issuers()
    thread = threading.Thread(target=issuers.server.serve_forever)
    thread.start()
    yield issuers
    issuers.server.shutdown()
    issuers.server.server_close()
    thread.join()


@pytest.mark.parametrize("order", ORDERS, ids=lambda order: order.name)
@pytest.mark.parametrize("program", SIGNERS)
def test_tokens_of_other_libraries(program: str, order: Order, issuers: Issuers) -> None:
    tokens, verifier = issuers.signed(program)
    for algorithm in ALGORITHMS:
        made = tokens[f"{algorithm}-{order.name}"]
        if program in order.refused_by:
            assert "error" in made, f"{program} signs it now: correct the table"
            continue
        assert "token" in made, made
        assert _verdict(verifier, made["token"]) is order.reason, algorithm


@pytest.mark.parametrize("program", SIGNERS)
def test_signatures_of_other_libraries_cannot_be_changed(program: str, issuers: Issuers) -> None:
    tokens, verifier = issuers.signed(program)
    for algorithm in ALGORITHMS:
        signing_input, _, signature = tokens[f"{algorithm}-good"]["token"].rpartition(".")
        head, _, _ = signing_input.partition(".")
        other = tokens[f"{algorithm}-several_audiences"]["token"]
        flipped = ("B" if signature[0] == "A" else "A") + signature[1:]
        assert _verdict(verifier, f"{signing_input}.{flipped}") is Reason.SIGNATURE
        assert _verdict(verifier, f"{signing_input}.{other.rpartition('.')[2]}") is Reason.SIGNATURE
        assert _verdict(verifier, f"{head}.{other.split('.')[1]}.{signature}") is Reason.SIGNATURE


def _verdict(verifier: Verifier, token: str) -> Reason | None:
    try:
        verifier.verify_sync(token)
    except TokenRejected as refusal:
        return refusal.reason
    return None
