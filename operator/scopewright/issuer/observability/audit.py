"""One line of JSON for each decision: who, where, what, and why not. No token and no secret in it.

What the caller made up is there only escaped and cut short, and an id that is no client's only as a hash: a secret
pasted into the wrong field must not end up in a log.
"""

import hashlib
import logging
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, BinaryIO, Final

import orjson

from scopewright.issuer.protocol.request import PresentedCredential

Entry = dict[str, Any]
Sink = Callable[[Entry], None]
"""Takes what one line says."""

LOGGER: Final = "scopewright.audit"
LONGEST_LINE: Final = 4096
"""Bytes, with its end: what a pipe takes as a whole (PIPE_BUF of Linux), however many processes write into it."""
_LONGEST: Final = 200
_MOST: Final = 16
_log: Final = logging.getLogger(LOGGER)
_lost: Final = logging.getLogger(__name__)


def to_log(entry: Entry) -> None:
    _log.info(line(entry).decode())


def to_file(file: BinaryIO) -> Sink:
    """Each line in one write of an unbuffered file: a tenth of what the logging module costs.

    A file that takes no more is said once, until it does again; nobody goes without a token for it.
    """
    failing = False

    def write(entry: Entry) -> None:
        nonlocal failing
        try:
            file.write(line(entry) + b"\n")
            file.flush()
            failing = False
        except (OSError, ValueError) as error:
            if not failing:
                _lost.error("audit lines are lost: %s", error)
            failing = True

    return write


def refusal(reason: str, presented: PresentedCredential | None, parameters: Mapping[str, Any], *, known: bool) -> Entry:
    """What an entry says of a refusal. `known`: the client's id is that of a record, whoever sent it."""
    said: Entry = {"reason": reason}
    if presented is not None:
        client_id = presented.client_id
        said["client" if known else "client_sha256"] = client_id if known else _hash(client_id)
        said["method"] = presented.method
    return said | {name: _short(value) for name, value in parameters.items()}


def entry(event: str, now: float, peer: str, result: str, more: Mapping[str, Any]) -> Entry:
    seconds, milliseconds = divmod(int(now * 1000), 1000)
    time = f"{_to_the_second(seconds)}.{milliseconds:03}Z"
    return {"time": time, "event": event, "peer": peer, "result": result, **more}


def line(entry: Entry) -> bytes:
    """JSON, without the line's end."""
    encoded = orjson.dumps(entry)
    return encoded if len(encoded) < LONGEST_LINE else _cut(entry)


def _cut(entry: Entry) -> bytes:
    """The longest member made shorter until the line is no longer than it may be; `cut` names what was."""
    cut: dict[str, None] = {}
    while len(encoded := orjson.dumps(entry | {"cut": [*cut]})) >= LONGEST_LINE:
        name = max(entry, key=lambda name: len(orjson.dumps(entry[name])))
        entry = entry | {name: _halved(entry[name])}
        cut[name] = None
    return encoded


def _halved(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return [_halved(value[0])] if len(value) == 1 else value[: len(value) // 2]
    return value[: len(value) // 2] + "…" if isinstance(value, str) else value


@lru_cache(maxsize=8)
def _to_the_second(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def _short(value: Any) -> Any:
    """What a caller has made up, cut short."""
    if isinstance(value, str):
        return value if len(value) <= _LONGEST else value[:_LONGEST] + "…"
    return [_short(item) for item in value[:_MOST]] if isinstance(value, list | tuple) else value


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]
