"""`python -m bench.token_issuer CASE …`: the issuer as `scopewright issuer` runs it, with its records in a file.

Everything else is included: authentication, audit lines in a file, metrics, the use of credentials, the replay memory.
The records are in a file, because a scanned directory or an API server would use CPU time of the same cores.
"""

import argparse
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

from bench.fixed_store import FixedStore
from bench.token_cases import CASES, MANY, SYSTEM
from scopewright.cli.settings import listen, replay_memory, reserve, set_up_logging
from scopewright.issuer import IssuerSettings, run
from scopewright.issuer.observability.metrics import shared_counters
from scopewright.serving.audit import to_file
from scopewright.serving.workers import Worker, run_workers
from scopewright.stores import Store


def serve(work: Callable[[Worker], None], port: int, workers: int, started: float) -> None:
    """Run `work` in each worker until the process is ended. `started` is a `time.monotonic()`."""

    def on_ready(url: str) -> None:
        print(f"ready after {time.monotonic() - started:.3f} s", flush=True)

    address = f"127.0.0.1:{port}"
    if workers == 1:
        listener = listen(address)
        work(Worker(lambda: listener, on_ready))
    else:
        run_workers(shared_counters(workers), work, reserve(address), on_ready)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("case", choices=CASES)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--workers", type=int, required=True)
    parser.add_argument("--clients", type=int, default=MANY, help="at most, if the case has more")
    parser.add_argument("--audit", type=Path, required=True)
    parser.add_argument("--replay", default="per-process", help="as in `scopewright issuer`")
    parser.add_argument("--cluster-jwk", type=json.loads, help="JWK of the ServiceAccounts' cluster")
    options = parser.parse_args()
    set_up_logging("text", "info")
    objects = CASES[options.case].with_clients(options.clients).records(options.cluster_jwk)
    store: Any = FixedStore(objects, options.audit.with_suffix(".objects"))
    remember = replay_memory(options.replay, options.workers)
    started = time.monotonic()

    @asynccontextmanager
    async def open_store() -> AsyncIterator[Store]:
        yield cast("Store", store)

    def work(worker: Worker) -> None:
        with options.audit.open("ab") as audit:
            run(open_store, IssuerSettings(namespace=SYSTEM), worker, sink=to_file(audit), replay=remember())

    serve(work, options.port, options.workers, started)


if __name__ == "__main__":
    main()
