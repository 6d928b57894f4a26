"""An earlier commit of this repository, as files: its chart, code and example, to upgrade from."""

import subprocess
import tarfile
from io import BytesIO
from pathlib import Path
from typing import Final

from .helm import CHART

EARLIER: Final = "d9766cf3eec59da1dd2c3a6b7491513de2e69128"
"""The oldest that an upgrade is promised from: the first whose chart was documented. Move it on with a major change."""


def unpacked(folder: Path) -> Path:
    """Its `operator/`, `charts/` and `examples/` below the folder."""
    command = ["git", "archive", "--format=tar", EARLIER, "operator", "charts", "examples"]
    done = subprocess.run(command, cwd=CHART.parents[1], capture_output=True, check=False)
    assert done.returncode == 0, (
        f"commit {EARLIER[:7]} is needed to upgrade from, and this clone does not have it: "
        f"git fetch --unshallow ({done.stderr.decode().strip()})"
    )
    with tarfile.open(fileobj=BytesIO(done.stdout)) as archive:
        archive.extractall(folder, filter="data")
    return folder
