"""`python -m bench.user_issuer …`: the issuer as `bench.token_issuer` runs it, with users and their session store."""

import argparse
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from bench.fixed_store import FixedStore
from bench.token_cases import SYSTEM
from bench.token_issuer import serve
from bench.user_records import AnyPassword, records
from scopewright.cli.settings import replay_memory, set_up_logging, user_endpoints
from scopewright.issuer import IssuerSettings, run
from scopewright.serving.audit import to_file
from scopewright.serving.workers import Worker
from scopewright.stores import Store


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--workers", type=int, required=True)
    parser.add_argument("--audit", type=Path, required=True)
    parser.add_argument("--sessions", required=True, help="as in `scopewright issuer`")
    parser.add_argument("--id-token-algorithm", required=True)
    parser.add_argument("--provider", required=True, help="URL of the OpenID provider that does not answer")
    options = parser.parse_args()
    set_up_logging("text", "info")
    store: Any = FixedStore(
        records(options.id_token_algorithm, options.provider), options.audit.with_suffix(".objects")
    )
    users, remember = user_endpoints(options.sessions, SYSTEM, allow_loopback=True), replay_memory("per-process", 1)
    started = time.monotonic()

    @asynccontextmanager
    async def open_store() -> AsyncIterator[Store]:
        yield cast("Store", store)

    def work(worker: Worker) -> None:
        made = users()
        assert made is not None
        settings = IssuerSettings(SYSTEM, users=replace(made, passwords=AnyPassword()))
        with options.audit.open("ab") as audit:
            run(open_store, settings, worker, sink=to_file(audit), replay=remember())

    serve(work, options.port, options.workers, started)


if __name__ == "__main__":
    main()
