"""kopf, and nothing but: it watches the four kinds and Namespaces, in a thread and a loop of its own.

Handlers are `on.event` only, return nothing and decide nothing: so kopf puts no finalizer, annotation or patch on
anybody's object. It watches on every replica, leader or not; if it ends, the process must.
"""

import asyncio
import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import kopf
import uvloop

from scopewright.api import GROUP, KINDS, VERSION
from scopewright.core.failures import Unavailable
from scopewright.stores.kube_api import Api

Deliver = Callable[[str, Mapping[str, Any]], None]
"""Takes what happened (None at the first listing, `ADDED`, `MODIFIED`, `DELETED`) and the object, on our loop."""

CHUNK: Final = 500
_QUIET: Final = {
    "kopf.objects": logging.WARNING,
    "kopf._core.engines.activities": logging.WARNING,
    "kopf._core.reactor.running": logging.ERROR,  # it warns that signals are not its business, which is meant
}


class Forgetful(kopf.DiffBaseStorage):
    """Nobody here reads diffs, so that none is stored, nor an object copied for one."""

    def build(self, *, body: kopf.Body, extra_fields: Any = None) -> kopf.BodyEssence:
        return kopf.BodyEssence({})

    def fetch(self, *, body: kopf.Body) -> None:
        return None

    def store(self, *, body: kopf.Body, patch: kopf.Patch, essence: Any) -> None:
        return None


async def watch(api: Api, deliver: Deliver, watched: Sequence[str | None] = (None,)) -> None:
    """Deliver events of these namespaces (None: of all) until cancelled. `Unavailable` if kopf ends by itself."""
    loop = asyncio.get_running_loop()
    stop, ended = threading.Event(), asyncio.Event()

    # Asynchronous, though it waits for nothing: kopf hands the others to a thread, event by event.
    async def on_event(event: Mapping[str, Any], **_: Any) -> None:
        loop.call_soon_threadsafe(deliver, event["type"], event["object"])

    def run() -> None:
        try:
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                runner.run(_operator(api, on_event, stop, watched))
        except Exception:
            logging.getLogger(__name__).exception("kopf failed")
        finally:
            if not loop.is_closed():
                loop.call_soon_threadsafe(ended.set)

    thread = threading.Thread(target=run, name="kopf", daemon=True)
    thread.start()
    try:
        await ended.wait()
        raise Unavailable("kopf has stopped watching: this process ends, to be started again")
    finally:
        stop.set()
        await asyncio.to_thread(thread.join, 5.0)


async def _operator(
    api: Api, on_event: Callable[..., Any], stop: threading.Event, watched: Sequence[str | None]
) -> None:
    for name, level in _QUIET.items():
        logging.getLogger(name).setLevel(level)
    registry = kopf.OperatorRegistry()
    for kind in KINDS.values():
        kopf.on.event(GROUP, VERSION, kind.PLURAL, registry=registry)(on_event)
    namespaces = [name for name in watched if name is not None]
    if not namespaces:
        kopf.on.event("", "v1", "namespaces", registry=registry)(on_event)
    kopf.on.login(registry=registry)(lambda **_: _connection(api))
    try:
        await kopf.operator(
            registry=registry, settings=_settings(), standalone=True, clusterwide=not namespaces,
            namespaces=namespaces, stop_flag=stop, identity=None,
        )  # fmt: skip
    finally:
        # kopf waits for the flag in a thread, and the loop for that thread: unset, nobody would learn that kopf ended.
        stop.set()


def _settings() -> kopf.OperatorSettings:
    """What it takes at ten thousand objects; the design's notes on kopf 1.45 give the reasons."""
    settings = kopf.OperatorSettings()
    settings.queueing.worker_limit = None
    settings.queueing.idle_timeout = 0.1
    settings.watching.chunk_size = CHUNK
    settings.posting.enabled = False
    settings.scanning.disabled = True
    settings.persistence.diffbase_storage = Forgetful()
    settings.process.ultimate_exiting_timeout = None
    return settings


def _connection(api: Api) -> kopf.ConnectionInfo:
    """The same identity as ours; asked for again when the API server refuses it, as after a token's rotation."""
    c = api.identity()
    return kopf.ConnectionInfo(
        server=c.host, ca_path=c.ca_file, insecure=c.insecure, certificate_path=c.certificate_file,
        private_key_path=c.key_file, scheme="Bearer" if c.token else None, token=c.token,
    )  # fmt: skip
