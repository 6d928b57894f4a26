"""Images of one program that is installed on this machine, alone with the libraries that it is linked with."""

import re
import shutil
import subprocess
import tempfile
from pathlib import Path

from image.__main__ import architecture
from image.archive import pack_image, pack_layer


def program_image(file: Path, image: str, program: str | Path, *arguments: str) -> Path:
    """Write an archive with an image that runs the program with these arguments, and return the path of the archive."""
    linked = subprocess.run(["ldd", program], capture_output=True, text=True, check=True).stdout
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch) / "root"
        for library in re.findall(r"(/\S+) \(0x", linked):
            (root / library[1:]).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(library, root / library[1:])
        shutil.copy(program, root / "program")
        pack_layer(root, Path(scratch) / "layer")
        config = {"Entrypoint": ["/program", *arguments], "WorkingDir": "/"}
        pack_image(file, image, [Path(scratch) / "layer"], config, architecture())
    return file
