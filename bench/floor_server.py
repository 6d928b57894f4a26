"""`python -m bench.floor_server SETTINGS`: a floor of `tokens`, in as many processes as the issuer."""

import asyncio
import gc
import json
import sys
import time
from pathlib import Path
from typing import Any

import jwt
import uvloop
from cryptography.hazmat.primitives import serialization

from bench.floor_protocols import PROTOCOLS, Store, Work, signer, verifier
from bench.token_clients import client_id, public_jwk
from bench.token_issuer import serve
from scopewright.controller.key_generation import make_key
from scopewright.serving.workers import HEARTBEAT_INTERVAL_SECONDS, Worker


def main() -> None:
    settings: dict[str, Any] = json.loads(Path(sys.argv[1]).read_text())
    started = time.monotonic()
    protocol, _ = PROTOCOLS[settings["floor"]]
    algorithm, jwk = settings["algorithm"], settings["jwk"]
    work = Work(
        answer=settings["answer"].encode(),
        sign=signer(serialization.load_pem_private_key(make_key(algorithm).pem, password=None)),
        verify=verifier(_key(jwk)) if jwk else lambda _: None,
        client_keys={client_id(n).encode(): _key(public_jwk(n)) for n in range(settings["key_pairs"])},
    )

    async def run(worker: Worker) -> None:
        loop = asyncio.get_running_loop()
        if settings["store_port"]:
            _, work.store = await loop.create_connection(lambda: Store(loop), "127.0.0.1", settings["store_port"])
        await loop.create_server(lambda: protocol(work), sock=worker.listen())
        stop = asyncio.Event()
        if worker.parent_pipe is not None:
            loop.add_reader(worker.parent_pipe, stop.set)
        worker.on_ready("")
        gc.collect()
        gc.freeze()
        while not stop.is_set():
            worker.heartbeat()
            await asyncio.sleep(HEARTBEAT_INTERVAL_SECONDS)

    def work_in(worker: Worker) -> None:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(run(worker))

    serve(work_in, settings["port"], settings["workers"], started)


def _key(jwk: dict[str, str]) -> Any:
    return jwt.PyJWK(jwk).key


if __name__ == "__main__":
    main()
