"""docs/licences.md, out of the locks and of what the installed packages say of themselves. `[--check]`.

A licence that is not in ALLOWED, or none, ends it: also one of a package that only tests need.
"""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Final

from made import keep
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT: Final = Path(__file__).resolve().parents[1]
PAGE: Final = Path(__file__).with_name("licences.md")
ALLOWED: Final = frozenset({
    "0BSD", "Apache-2.0", "BSD", "BSD-2-Clause", "BSD-3-Clause", "CC0-1.0", "ISC", "MIT", "MIT-0", "MIT-CMU",
    "MPL-2.0", "PSF-2.0", "Zlib",
})  # fmt: skip
"""Of the Python packages. MPL-2.0 asks for the changes to its own files, of which there are none here."""
SPDX: Final = {
    "3-Clause BSD License": "BSD-3-Clause",
    "Apache Software License": "Apache-2.0",
    "BSD License": "BSD",
    "ISC License (ISCL)": "ISC",
    "MIT License": "MIT",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "Python Software Foundation License": "PSF-2.0",
}
"""What classifiers say, as SPDX has it; `BSD` says not which."""


def pinned(lock: str) -> list[Requirement]:
    """What a lock pins for a machine like this one."""
    lines = re.findall(r"^(\w[^\\\n]*)", (ROOT / "requirements" / f"{lock}.txt").read_text(), re.MULTILINE)
    found = [Requirement(line.strip()) for line in lines]
    return [each for each in found if each.marker is None or each.marker.evaluate()]


def licences() -> dict[str, str]:
    """The licence of every installed package, as an SPDX identifier where it has one."""
    command = [sys.executable, "-m", "piplicenses", "--from=mixed", "--format=json", "--with-system"]
    listed = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    return {canonicalize_name(each["Name"]): spdx(each["License"]) for each in listed}


def spdx(text: str) -> str:
    """Several classifiers mean that all of these licences apply. A full text is identified by its title."""
    title = text.partition("\n")[0]
    return " AND ".join(SPDX.get(each, each) for each in title.split("; "))


def refused(licence: str) -> set[str]:
    """The licences in an SPDX expression that are not allowed."""
    return set(re.split(r" AND | OR | WITH ", licence.replace("(", "").replace(")", ""))) - ALLOWED


def page(of: dict[str, str]) -> str:
    head = f"""# Licences

Scopewright is licensed under Apache-2.0. The table lists the licences of the Python packages in its image, which
`requirements/image.txt` pins for Linux. `make docs` generates it from the packages' metadata. `make check` refuses
every other licence than these, also for packages that only tests use: {", ".join(sorted(ALLOWED))}.

| package | version | licence |
| --- | --- | --- |"""
    lines = [
        f"| {each.name} | {str(each.specifier).removeprefix('==')} | {of[canonicalize_name(each.name)]} |"
        for each in pinned("image")
    ]
    return "\n".join([head, *lines, ""])


def main() -> None:
    of = licences()
    for each in pinned("dev"):
        licence = of.get(canonicalize_name(each.name))
        if licence is None:
            sys.exit(f"{each.name} is pinned and not installed: run `make`")
        if refused(licence):
            sys.exit(f"{each.name} is under {licence}, which docs/licences.py does not allow")
    keep(PAGE, page(of), "locks have")


if __name__ == "__main__":
    main()
