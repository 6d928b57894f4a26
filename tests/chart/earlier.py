"""An earlier commit of this repository, as files: its chart, code and example, to upgrade from."""

import warnings
from pathlib import Path
from typing import Final

from tests.harness.earlier_commit import unpack

EARLIER: Final = "d9766cf3eec59da1dd2c3a6b7491513de2e69128"
"""The oldest commit from which an upgrade is supported: the first with a documented chart. Update it at a major change.

In a shallow clone the upgrade is from the same commit, with a warning in pytest's summary.
"""


def unpacked(folder: Path) -> Path:
    """Unpack its `operator/`, `charts/` and `examples/` into the folder."""
    paths = "operator", "charts", "examples"
    if not unpack(EARLIER, folder, *paths):
        warnings.warn(f"this clone has no {EARLIER[:7]} to upgrade from: git fetch --unshallow", stacklevel=2)
        unpack("HEAD", folder, *paths)
    return folder
