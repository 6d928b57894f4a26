"""An earlier commit of this repository, as files: its chart, code and example, to upgrade from."""

import subprocess
import tarfile
import warnings
from io import BytesIO
from pathlib import Path
from typing import Final

from .helm import CHART

EARLIER: Final = "d9766cf3eec59da1dd2c3a6b7491513de2e69128"
"""The oldest commit from which an upgrade is supported: the first with a documented chart. Update it at a major change.

In a shallow clone the upgrade is from the same commit, with a warning in pytest's summary.
"""


def unpacked(folder: Path) -> Path:
    """Unpack its `operator/`, `charts/` and `examples/` into the folder."""
    commit = EARLIER
    if _git("cat-file", "-e", f"{EARLIER}^{{commit}}").returncode:
        warnings.warn(f"this clone has no {EARLIER[:7]} to upgrade from: git fetch --unshallow", stacklevel=2)
        commit = "HEAD"
    done = _git("archive", "--format=tar", commit, "operator", "charts", "examples")
    assert done.returncode == 0, f"git archive: {done.stderr.decode().strip()}"
    with tarfile.open(fileobj=BytesIO(done.stdout)) as archive:
        archive.extractall(folder, filter="data")
    return folder


def _git(*arguments: str) -> "subprocess.CompletedProcess[bytes]":
    return subprocess.run(["git", *arguments], cwd=CHART.parents[1], capture_output=True, check=False)
