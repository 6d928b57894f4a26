"""`make cluster`: the control plane in the foreground, with its data in .cluster/."""

import argparse
import shlex
import signal
import sys
import time
from pathlib import Path

from .controlplane import ControlPlane
from .errors import ControlPlaneError

_FOLDER = Path(__file__).resolve().parents[2] / ".cluster"


def main() -> int:
    arguments = argparse.ArgumentParser(prog="make cluster", description=__doc__)
    arguments.add_argument("--check", action="store_true", help="start, see that it is ready, and end")
    check: bool = arguments.parse_args().check
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        started = time.monotonic()
        with ControlPlane(_FOLDER) as cluster:
            print(f"cluster ready: export KUBECONFIG={shlex.quote(str(cluster.kubeconfig))}", flush=True)
            print(f"{cluster.server}, up in {time.monotonic() - started:.1f} s; a kubectl that fits: {cluster.kubectl}")
            if check:
                return 0 if cluster.ready() else 1
            print("Ctrl-C ends it; what it holds is kept for the next time.", flush=True)
            while True:
                time.sleep(1)
                cluster.check()
    except ControlPlaneError as error:
        print(f"control plane: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("ended")
        return 0


if __name__ == "__main__":
    sys.exit(main())
