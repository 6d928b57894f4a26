"""wrk (Debian: `apt-get install wrk`) as the load generator, with one thread."""

import asyncio
import json
import random
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench.benchmark import BenchmarkError
from bench.timeouts import TIMEOUT_SECONDS, time_limit

CONNECTIONS: Final = 16
_REMAINING_AT_STOP: Final = 100
"""Requests kept in reserve when wrk is stopped: more than it sends before it stops."""
_SCRIPT: Final = """
local requests, at, last = {}, 0, nil
exhausted = 0
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
    exhausted = 1
    wrk.thread:stop()
  end
  return requests[at]
end
function done(summary, latency)
  local errors = summary.errors
  io.write(string.format(
    '\\n{"requests":%d,"microseconds":%d,"p50":%d,"p99":%d,"refused":%d,"lost":%d,"exhausted":%d}\\n',
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(99), errors.status,
    errors.connect + errors.read + errors.write + errors.timeout, thread:get("exhausted")))
end
"""


@dataclass(frozen=True, slots=True)
class LoadResult:
    """The result of one run of wrk."""

    requests: int
    seconds: float
    p50_ms: float
    p99_ms: float
    exhausted: bool = False
    """The requests ran out before the end of the run: the figures are too low."""

    @property
    def per_second(self) -> float:
        return self.requests / self.seconds


def check() -> None:
    if shutil.which("wrk") is None:
        raise BenchmarkError("the load generator wrk is not installed: apt-get install wrk")


def write_requests(file: Path, requests: Sequence[bytes]) -> None:
    """Write the requests in a shuffled order that is the same in every run, so that caches do not help."""
    shuffled = random.Random(1).sample(requests, len(requests))
    file.write_bytes(b"".join(b"%d\n%b" % (len(request), request) for request in shuffled))


async def run_load(
    port: int, requests: Path, seconds: float, *, once: bool = False, connections: int = CONNECTIONS
) -> LoadResult:
    """BenchmarkError if a response is not 2xx. With `once` it stops before a request is sent again."""
    script = requests.with_suffix(".lua")
    script.write_text(_SCRIPT)
    command = ["wrk", "-t1", f"-c{connections}", f"-d{round(seconds)}s", "-s", str(script)]
    command += [f"http://127.0.0.1:{port}", str(requests), *([str(_REMAINING_AT_STOP)] if once else [])]
    wrk = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    try:
        async with time_limit(seconds + TIMEOUT_SECONDS, "wrk to exit"):
            out, _ = await wrk.communicate()
    finally:
        if wrk.returncode is None:
            wrk.kill()
            await wrk.wait()
    if wrk.returncode:
        raise BenchmarkError(f"wrk exited with status {wrk.returncode}")
    result = json.loads(out.decode().strip().splitlines()[-1])
    if result["refused"] or result["lost"] or not result["requests"]:
        raise BenchmarkError(
            f"of {result['requests']} requests {result['refused']} were refused, {result['lost']} lost"
        )
    return LoadResult(
        requests=result["requests"],
        seconds=result["microseconds"] / 1e6,
        p50_ms=result["p50"] / 1000,
        p99_ms=result["p99"] / 1000,
        exhausted=bool(result["exhausted"]),
    )
