"""Measures verifications of access tokens in one thread, beside other libraries: new tokens, and one seen before.

The verifiers take turns, a few tokens each, so that a busy machine slows all of them.
"""

import argparse
import json
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from statistics import median
from typing import Any, Final

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from joserfc.jwk import KeySetSerialization
from rich.table import Table

from bench.benchmark import Benchmark, BenchmarkError, Figures
from bench.options import count
from bench.progress_display import ProgressDisplay
from bench.verifier_peers import AUDIENCE, PEERS, IssuerOfTokens, Verify

SEEN_BUDGET: Final = 200_000
"""Verifications of a token seen before, for each CPU second."""
_ISSUER: Final = "https://issuer.example"
_KID: Final = "key-1"
_ROUNDS: Final = 5
_TURN: Final = 50  # new tokens
_SEEN_SECONDS: Final = 0.2  # of CPU, for one measurement
_SEEN_BATCH: Final = 500


def add_options(options: argparse._ArgumentGroup) -> None:
    options.add_argument("--tokens", type=count, default=2000, metavar="N", help="new tokens in a round [%(default)s]")


def run(options: argparse.Namespace, display: ProgressDisplay) -> Figures:
    algorithms = {}
    with _one_core():
        for algorithm, key in _keys().items():
            jwks: KeySetSerialization = {"keys": [_jwk(algorithm, key)]}
            with _served(jwks) as jwks_uri, display.step(f"{_ROUNDS} rounds with {algorithm}", _ROUNDS) as done:
                source = IssuerOfTokens(_ISSUER, algorithm, jwks_uri, jwks)
                algorithms[algorithm] = _measured(source, _tokens(key, algorithm, options.tokens), done)
    return {"tokens": options.tokens, "rounds": _ROUNDS, "seen_budget": SEEN_BUDGET, "algorithms": algorithms}


@contextmanager
def _one_core() -> Iterator[None]:
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cores)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, cores)


def _keys() -> dict[str, Any]:
    return {"ES256": ec.generate_private_key(ec.SECP256R1()), "RS256": rsa.generate_private_key(65537, 2048)}


def _jwk(algorithm: str, key: Any) -> dict[str, Any]:
    public = jwt.get_algorithm_by_name(algorithm).to_jwk(key.public_key(), as_dict=True)
    return {**public, "kid": _KID, "alg": algorithm, "use": "sig"}


def _tokens(key: Any, algorithm: str, number: int, **changes: Any) -> list[str]:
    """Tokens as the issuer makes them, each with its own `jti`."""
    now = int(time.time())
    claims = {
        "iss": _ISSUER, "aud": AUDIENCE, "sub": "leave.leave-worker", "client_id": "leave.leave-worker",
        "iat": now, "exp": now + 3600, "scope": "payroll.read payroll.write", **changes,
    }  # fmt: skip
    headers = {"typ": "at+jwt", "kid": _KID}
    return [jwt.encode({**claims, "jti": f"{n:032x}"}, key, algorithm, headers) for n in range(number)]


@contextmanager
def _served(jwks: KeySetSerialization) -> Iterator[str]:
    """The URL of the key set, on loopback."""
    body = json.dumps(jwks).encode()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:  # the name that the base class calls
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/jwks.json"
        finally:
            server.shutdown()


def _measured(source: IssuerOfTokens, tokens: Sequence[str], done: Callable[[int], None]) -> dict[str, dict[str, int]]:
    prepared = {name: peer(source) for name, peer in PEERS.items()}
    for name, new in prepared.items():
        _check(name, new(), tokens[0])
    rates: dict[str, list[tuple[float, float]]] = {name: [] for name in prepared}
    for number in range(_ROUNDS):
        verifiers = {name: new() for name, new in prepared.items()}
        new_tokens = _rates_of_new(verifiers, tokens)
        for name, verify in verifiers.items():
            rates[name].append((new_tokens[name], _rate_of_seen(verify, tokens[-1])))
        done(number + 1)
    return {name: _summary(each) for name, each in rates.items()}


def _summary(rates: Sequence[tuple[float, float]]) -> dict[str, int]:
    new_tokens, seen = zip(*rates, strict=True)
    return {"new_per_second": round(median(new_tokens)), "seen_per_second": round(median(seen))}


def _check(name: str, verify: Verify, token: str) -> None:
    """A verifier that accepts everything would be the fastest."""
    verify(token)
    signing_input, _, signature = token.rpartition(".")
    altered = "B" if signature[0] == "A" else "A"
    try:
        verify(f"{signing_input}.{altered}{signature[1:]}")
    except Exception:  # each library has its own
        return
    raise BenchmarkError(f"{name} accepts a token with another signature")


def _rates_of_new(verifiers: Mapping[str, Verify], tokens: Sequence[str]) -> dict[str, float]:
    seconds = dict.fromkeys(verifiers, 0.0)
    for first in range(0, len(tokens), _TURN):
        for name, verify in verifiers.items():
            started = time.thread_time()
            for token in tokens[first : first + _TURN]:
                verify(token)
            seconds[name] += time.thread_time() - started
    return {name: len(tokens) / each for name, each in seconds.items()}


def _rate_of_seen(verify: Verify, token: str) -> float:
    calls, started = 0, time.thread_time()
    while (spent := time.thread_time() - started) < _SEEN_SECONDS:
        for _ in range(_SEEN_BATCH):
            verify(token)
        calls += _SEEN_BATCH
    return calls / spent


def table(figures: Figures) -> Table:
    made = Table(title="Verifications for each CPU second, one thread", title_justify="left")
    for heading in ("algorithm", "verifier", "new tokens", "seen before"):
        made.add_column(heading, justify="left" if heading in ("algorithm", "verifier") else "right")
    for algorithm, verifiers in figures["algorithms"].items():
        for name, each in verifiers.items():
            made.add_row(algorithm, name, f"{each['new_per_second']:,}", f"{each['seen_per_second']:,}")
    return made


BENCHMARK: Final = Benchmark("verify", "verifications of tokens, beside other libraries", add_options, run, table)
