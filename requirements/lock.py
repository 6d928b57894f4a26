"""`make lock`: the locks beside this file from pyproject.toml, exact versions with hashes, for every platform."""

import subprocess
import sys
import tomllib
from pathlib import Path

HERE = Path(__file__).parent
PYPROJECT = HERE.parent / "pyproject.toml"
AS_TESTED = ("--constraint", "requirements/dev.txt")
HEADER = "# Made by `make lock` from pyproject.toml: {}.\n"


def lock(name: str, what: str, *options: str, asked: str = "") -> None:
    """Versions that are in the file already stay, unless `--upgrade` is among the options. `asked` is in place of what
    pyproject.toml declares.
    """
    file = HERE / f"{name}.txt"
    source = "-" if asked else PYPROJECT.name
    compiling = ["pip", "compile", source, "--universal", "--python-version", "3.11", "--generate-hashes"]
    quietly = ["--quiet", "--no-header", "--no-annotate", "--output-file", str(file)]
    uv = Path(sys.executable).with_name("uv")
    subprocess.run([uv, *compiling, *quietly, *options], cwd=HERE.parent, check=True, input=asked.encode())
    file.write_text(HEADER.format(what) + file.read_text().removeprefix(HEADER.format(what)))


lock("dev", "what this repository is built and tested with", "--extra", "dev", *sys.argv[1:])
shipped = ("--extra", "operator", "--extra", "issuer", "--extra", "otel")
lock("image", "what runs beside `scopewright` in an image", *shipped, *AS_TESTED)
backend = "\n".join(tomllib.loads(PYPROJECT.read_text())["build-system"]["requires"])
lock("build", "what makes the wheel", *AS_TESTED, asked=backend)
