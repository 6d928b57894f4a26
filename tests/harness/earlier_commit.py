"""Files of an earlier commit of this repository."""

import subprocess
import tarfile
from io import BytesIO
from pathlib import Path
from typing import Final

_REPOSITORY: Final = Path(__file__).resolve().parents[2]


def unpack(commit: str, folder: Path, *paths: str) -> bool:
    """Unpack these paths into the folder. Return False if this clone, a shallow one, does not have the commit."""
    if _git("cat-file", "-e", f"{commit}^{{commit}}").returncode:
        return False
    done = _git("archive", "--format=tar", commit, *paths)
    assert done.returncode == 0, f"git archive: {done.stderr.decode().strip()}"
    with tarfile.open(fileobj=BytesIO(done.stdout)) as archive:
        archive.extractall(folder, filter="data")
    return True


def _git(*arguments: str) -> "subprocess.CompletedProcess[bytes]":
    return subprocess.run(["git", *arguments], cwd=_REPOSITORY, capture_output=True, check=False)
