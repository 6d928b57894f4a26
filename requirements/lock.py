"""`make lock`: the locks beside this file from pyproject.toml, exact versions with hashes, for every platform."""

import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
HEADER = "# Made by `make lock` from pyproject.toml: {}.\n"


def lock(name: str, what: str, *options: str) -> None:
    """Versions that are in the file already stay, unless `--upgrade` is among the options."""
    file = HERE / f"{name}.txt"
    compiling = ["pip", "compile", "pyproject.toml", "--universal", "--python-version", "3.11", "--generate-hashes"]
    quietly = ["--quiet", "--no-header", "--no-annotate", "--output-file", str(file)]
    uv = Path(sys.executable).with_name("uv")
    subprocess.run([uv, *compiling, *quietly, *options], cwd=HERE.parent, check=True)
    file.write_text(HEADER.format(what) + file.read_text().removeprefix(HEADER.format(what)))


lock("dev", "what this repository is built and tested with", "--extra", "dev", *sys.argv[1:])
shipped = ("--extra", "operator", "--extra", "issuer", "--extra", "otel", "--constraint", "requirements/dev.txt")
lock("image", "what runs beside `scopewright` in an image", *shipped)
