"""`python -m bench [NAME ...] [options]`: run benchmarks, show their figures, and keep them as JSON."""

import argparse
import signal
import sys
from pathlib import Path

from bench import reconcile, rotation, takeover, tokens
from bench.benchmark import Benchmark, BenchmarkError
from bench.machine import facts
from bench.options import count
from bench.screen import Screen
from bench.writing import write_figures
from scopewright.core.failures import Conflict, Rejected, Unavailable
from tests.controlplane import ControlPlaneError

BENCHMARKS: dict[str, Benchmark] = {
    b.name: b for b in (reconcile.BENCHMARK, rotation.BENCHMARK, takeover.BENCHMARK, tokens.BENCHMARK)
}


def main() -> int:
    options = _options()
    screen = Screen()
    # As Ctrl-C: everything that was started is ended on the way out.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        for name in options.names or BENCHMARKS:
            _run(BENCHMARKS[name], options, screen)
    except (BenchmarkError, ControlPlaneError, Conflict, Rejected, Unavailable) as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("bench: ended before it was done", file=sys.stderr)
        return 130
    return 0


def _run(benchmark: Benchmark, options: argparse.Namespace, screen: Screen) -> None:
    figures = benchmark.run(options, screen)
    file = write_figures(options.out, benchmark.name, {"machine": facts(), **figures})
    screen.show(benchmark.table(figures))
    screen.say(f"figures: {file}")


def _options() -> argparse.Namespace:
    about = "\n".join(f"  {b.name:<12} {b.about}" for b in BENCHMARKS.values())
    parser = argparse.ArgumentParser(
        prog="python -m bench",
        description=f"Benchmarks (all of them, where none is named):\n{about}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("names", metavar="NAME", nargs="*", help=f"one of: {', '.join(BENCHMARKS)}")
    parser.add_argument("--out", type=Path, default=Path(".bench"), help="folder for the figures [%(default)s]")
    parser.add_argument(
        "--clients", type=count, action="append", metavar="N", help="how many; for reconcile it may be repeated"
    )
    parser.add_argument("--logs", type=Path, metavar="DIR", help="keep the logs of operator and issuer here")
    for benchmark in BENCHMARKS.values():
        benchmark.add_options(parser.add_argument_group(benchmark.name, benchmark.about))
    options = parser.parse_args()
    if unknown := [name for name in options.names if name not in BENCHMARKS]:
        parser.error(f"there is no benchmark {', '.join(unknown)}; choose from: {', '.join(BENCHMARKS)}")
    return options


if __name__ == "__main__":
    sys.exit(main())
