"""`python -m bench [NAME ...] [options]`: run benchmarks, print their figures, and write them as JSON."""

import argparse
import signal
import sys
from pathlib import Path

from bench import (
    gateway,
    gateway_latency,
    gateway_outage,
    reconcile,
    rotation,
    startup,
    takeover,
    tokens,
    users,
    verify,
)
from bench.benchmark import Benchmark, BenchmarkError
from bench.figures_file import write_figures
from bench.machine import facts
from bench.options import count
from bench.progress_display import ProgressDisplay
from scopewright.core.failures import Conflict, Rejected, Unavailable
from tests.controlplane import ControlPlaneError

BENCHMARKS: dict[str, Benchmark] = {
    b.name: b
    for b in (
        gateway.BENCHMARK,
        gateway_latency.BENCHMARK,
        gateway_outage.BENCHMARK,
        reconcile.BENCHMARK,
        rotation.BENCHMARK,
        startup.BENCHMARK,
        takeover.BENCHMARK,
        tokens.BENCHMARK,
        users.BENCHMARK,
        verify.BENCHMARK,
    )
}


def main() -> int:
    options = _options()
    display = ProgressDisplay()
    # Handle SIGTERM as Ctrl-C: the context managers end every child process.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        for name in options.names or BENCHMARKS:
            _run(BENCHMARKS[name], options, display)
    except (BenchmarkError, ControlPlaneError, Conflict, Rejected, Unavailable) as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("bench: interrupted before it was complete", file=sys.stderr)
        return 130
    return 0


def _run(benchmark: Benchmark, options: argparse.Namespace, display: ProgressDisplay) -> None:
    figures = benchmark.run(options, display)
    file = write_figures(options.out, benchmark.name, {"machine": facts(), **figures})
    display.print_table(benchmark.table(figures))
    display.print_line(f"figures: {file}")


def _options() -> argparse.Namespace:
    about = "\n".join(f"  {b.name:<15} {b.about}" for b in BENCHMARKS.values())
    parser = argparse.ArgumentParser(
        prog="python -m bench",
        description=f"Run benchmarks. Default: all of them.\n{about}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("names", metavar="NAME", nargs="*", help=f"one of: {', '.join(BENCHMARKS)}")
    parser.add_argument("--out", type=Path, default=Path(".bench"), help="directory for the figures [%(default)s]")
    parser.add_argument(
        "--clients",
        type=count,
        action="append",
        metavar="N",
        help="number of OAuthClients; for reconcile it may be repeated",
    )
    parser.add_argument(
        "--logs",
        type=Path,
        metavar="DIR",
        help="directory for the logs of operator and issuer. Default: a temporary one",
    )
    for benchmark in BENCHMARKS.values():
        benchmark.add_options(parser.add_argument_group(benchmark.name, benchmark.about))
    options = parser.parse_args()
    if unknown := [name for name in options.names if name not in BENCHMARKS]:
        parser.error(f"unknown benchmark {', '.join(unknown)}; choose from: {', '.join(BENCHMARKS)}")
    return options


if __name__ == "__main__":
    sys.exit(main())
