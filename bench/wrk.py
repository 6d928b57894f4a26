"""wrk (Debian: `apt-get install wrk`) as the load generator: one thread, which leaves most of two cores to servers."""

import asyncio
import json
import random
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench.benchmark import BenchmarkError
from bench.waiting import PATIENCE, within

CONNECTIONS: Final = 16
_LEFT: Final = 100
"""Requests that are there still when wrk is to stop: more than it sends until it has."""
_SCRIPT: Final = """
local requests, at, last = {}, 0, nil
spent = 0
local thread
function setup(one)
  thread = one
end
function init(arguments)
  local file = io.open(arguments[1], "rb")
  for size in function() return file:read("*l") end do
    requests[#requests + 1] = file:read(tonumber(size))
  end
  last = arguments[2] and #requests - tonumber(arguments[2])
end
function request()
  at = at % #requests + 1
  if at == last then
    spent = 1
    wrk.thread:stop()
  end
  return requests[at]
end
function done(summary, latency)
  local errors = summary.errors
  io.write(string.format(
    '\\n{"requests":%d,"microseconds":%d,"p50":%d,"p99":%d,"refused":%d,"lost":%d,"spent":%d}\\n',
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(99), errors.status,
    errors.connect + errors.read + errors.write + errors.timeout, thread:get("spent")))
end
"""


@dataclass(frozen=True, slots=True)
class Load:
    """What one run of wrk saw."""

    requests: int
    seconds: float
    p50_ms: float
    p99_ms: float
    spent: bool = False
    """There was nothing more to send before the time was over: the figures are too low."""

    @property
    def per_second(self) -> float:
        return self.requests / self.seconds


def check() -> None:
    if shutil.which("wrk") is None:
        raise BenchmarkError("the load generator wrk is not installed: apt-get install wrk")


def write_requests(file: Path, requests: Sequence[bytes]) -> None:
    """In an order that no cache likes, and always the same."""
    shuffled = random.Random(1).sample(requests, len(requests))
    file.write_bytes(b"".join(b"%d\n%b" % (len(request), request) for request in shuffled))


async def load(port: int, requests: Path, seconds: float, *, once: bool = False) -> Load:
    """BenchmarkError where anything but answers of 2xx came. With `once` it ends before a request is sent again."""
    script = requests.with_suffix(".lua")
    script.write_text(_SCRIPT)
    command = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{round(seconds)}s", "-s", str(script)]
    command += [f"http://127.0.0.1:{port}", str(requests), *([str(_LEFT)] if once else [])]
    wrk = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    try:
        async with within(seconds + PATIENCE, "wrk to end"):
            out, _ = await wrk.communicate()
    finally:
        if wrk.returncode is None:
            wrk.kill()
            await wrk.wait()
    if wrk.returncode:
        raise BenchmarkError(f"wrk ended with status {wrk.returncode}")
    seen = json.loads(out.decode().strip().splitlines()[-1])
    if seen["refused"] or seen["lost"] or not seen["requests"]:
        raise BenchmarkError(f"of {seen['requests']} requests {seen['refused']} were refused, {seen['lost']} lost")
    return Load(
        seen["requests"], seen["microseconds"] / 1e6, seen["p50"] / 1000, seen["p99"] / 1000, bool(seen["spent"])
    )
