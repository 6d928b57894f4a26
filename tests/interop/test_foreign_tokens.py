"""The verifier and tokens of jose, go-jose, Nimbus and joserfc, whose keys it fetches over HTTP."""

import time
from collections.abc import Iterator
from functools import cache
from typing import Any

import pytest

from scopewright.verifier import Reason, TokenRejected, Verifier
from tests.interop.foreign import ALGORITHMS, AUDIENCE, Order, job, orders
from tests.interop.json_server import JsonServer
from tests.interop.libraries import SIGNERS
from tests.interop.toolchains import run

NOW = time.time()
ORDERS = orders(NOW)


class Issuers:
    """An issuer for each library: its metadata, and the JWKS that the library exported."""

    def __init__(self, server: JsonServer) -> None:
        self.server = server
        self.signed = cache(self._signed)

    def _signed(self, program: str) -> tuple[dict[str, Any], Verifier]:
        issuer = f"{self.server.url}/{program}"
        signed = run(program, job(issuer, NOW))["signed"]
        self.server.documents[f"/{program}/jwks.json"] = signed["jwks"]
        metadata = {"issuer": issuer, "jwks_uri": f"{issuer}/jwks.json"}
        self.server.documents[f"/.well-known/oauth-authorization-server/{program}"] = metadata
        return signed["tokens"], Verifier(issuer, AUDIENCE, clock=lambda: NOW)


@pytest.fixture(scope="module")
def issuers() -> Iterator[Issuers]:
    with JsonServer() as server:
        yield Issuers(server)


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
