"""`make lock`: writes the lock files here from pyproject.toml: exact versions with hashes, for all platforms."""

import subprocess
import sys
import tomllib
from pathlib import Path

HERE = Path(__file__).parent
PYPROJECT = HERE.parent / "pyproject.toml"
TESTED_VERSIONS = ("--constraint", "requirements/dev.txt")
HEADER = "# Made by `make lock` from pyproject.toml: {}.\n"


def lock(name: str, purpose: str, *options: str, requirements: str = "") -> None:
    """Write `<name>.txt`. Versions in the existing file are kept unless `--upgrade` is among the options.

    `requirements`, if not empty, replaces the dependencies of pyproject.toml.
    """
    file = HERE / f"{name}.txt"
    source = "-" if requirements else PYPROJECT.name
    command = ["pip", "compile", source, "--universal", "--python-version", "3.11", "--generate-hashes"]
    output = ["--quiet", "--no-header", "--no-annotate", "--output-file", str(file)]
    uv = Path(sys.executable).with_name("uv")
    subprocess.run([uv, *command, *output, *options], cwd=HERE.parent, check=True, input=requirements.encode())
    file.write_text(HEADER.format(purpose) + file.read_text().removeprefix(HEADER.format(purpose)))


lock("dev", "packages for development and tests", "--extra", "dev", *sys.argv[1:])
shipped = ("--extra", "operator", "--extra", "issuer", "--extra", "otel")
lock("image", "runtime dependencies in the image", *shipped, *TESTED_VERSIONS)
declared = tomllib.loads(PYPROJECT.read_text())
backend = "\n".join(declared["build-system"]["requires"])
lock("build", "build dependencies of the wheel", *TESTED_VERSIONS, requirements=backend)
site = "\n".join(declared["dependency-groups"]["docs"])
lock("docs", "packages that build the documentation site", *TESTED_VERSIONS, requirements=site)
