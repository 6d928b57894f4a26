"""Setup of a benchmark: a cluster with the CRDs of Scopewright, and a directory for logs."""

import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from bench.benchmark import BenchmarkError
from bench.progress_display import ProgressDisplay
from tests.controlplane import Cluster, open_cluster

CRDS: Final = Path(__file__).resolve().parents[1] / "crds"


@contextmanager
def open_bench_cluster(display: ProgressDisplay) -> Iterator[Cluster]:
    """The cluster that KUBECONFIG names, or a new control plane; with the CRDs applied and established."""
    if os.environ.get("KUBECONFIG"):
        display.print_line("using the cluster of KUBECONFIG")
    with open_cluster() as cluster:
        files = [f"--filename={file}" for file in sorted(CRDS.glob("*.yaml"))]
        _kubectl(cluster, "apply", "--server-side", "--force-conflicts", *files)
        _kubectl(cluster, "wait", "--for=condition=Established", "--timeout=30s", *files)
        yield cluster


def _kubectl(cluster: Cluster, *arguments: str) -> None:
    command = [str(cluster.kubectl), f"--kubeconfig={cluster.kubeconfig}", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise BenchmarkError(f"kubectl {arguments[0]}: {done.stderr.strip()}")


@contextmanager
def log_directory(kept: Path | None, name: str = "") -> Iterator[Path]:
    """The given directory, or `name` below it, created if necessary; or a temporary one."""
    if kept:
        kept = kept / name
        kept.mkdir(parents=True, exist_ok=True)
        yield kept.resolve()
    else:
        with tempfile.TemporaryDirectory(prefix="scopewright-bench-") as temporary:
            yield Path(temporary)
