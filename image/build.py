"""What is in the image, a layer each: Debian's Python and what is locked, then our wheel. No shell, no package manager.

    python3 image/build.py base ROOT
    python3 image/build.py package DIST     # our wheel, into a folder
    python3 image/build.py wheel ROOT WHEEL
    python3 image/build.py hr ROOT      # what the services of examples/hr add

Dockerfile runs this in its build stages, and image/archive.py without a container engine. It takes root, Debian 12's
mmdebstrap and python3, and pip of whichever Python runs it; for the wheel, there, what requirements/build.txt pins.
"""

import argparse
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

HERE: Final = Path(__file__).resolve().parent
REQUIREMENTS: Final = HERE.parent / "requirements" / "image.txt"
DEVELOPMENT: Final = HERE.parent / "requirements" / "dev.txt"
HR: Final = HERE.parent / "examples" / "hr"
SOURCES: Final = Path("/etc/apt/sources.list.d/debian.sources")
USER: Final = 65532
"""Of the processes; the chart's `pods.runAsUser` says the same."""

EPOCH: Final = os.environ.get("SOURCE_DATE_EPOCH") or "315532800"
"""When everything was made that is in an image: the first instant that a wheel can say, unless told otherwise."""

_OF_THE_SERVICES: Final = ("starlette==", "uvicorn==")
"""What they need of it is in the layer below."""
_SUITE: Final = "bookworm"
_PYTHON: Final = "python3.11"
_PACKAGES: Final = (f"{_PYTHON}-minimal", f"lib{_PYTHON}-stdlib", "ca-certificates", "netbase", "tzdata", "base-files")
_SITE: Final = f"usr/local/lib/{_PYTHON}/dist-packages"
_PROGRAMS: Final = ("bin", "sbin", "usr/bin", "usr/sbin")
_NEVER_READ: Final = (
    "usr/share/doc",
    "usr/share/info",
    "usr/share/lintian",
    "usr/share/locale",
    "usr/share/man",
    "usr/share/perl5",
    f"usr/lib/{_PYTHON}/ensurepip",
    f"usr/lib/{_PYTHON}/idlelib",
    f"usr/lib/{_PYTHON}/lib2to3",
    f"usr/lib/{_PYTHON}/test",
    "var/cache/apt",
    "var/cache/debconf",
    "var/lib/apt",
)
# The container's own, written by whoever runs it: the builder's must not get in.
_OF_THE_CONTAINER: Final = ("etc/hostname", "etc/resolv.conf")
_FILES: Final = {
    "etc/passwd": f"root:x:0:0:root:/:/nologin\nscopewright:x:{USER}:{USER}::/:/nologin\n",
    "etc/group": f"root:x:0:\nscopewright:x:{USER}:\n",
    "etc/nsswitch.conf": "passwd: files\ngroup: files\nhosts: files dns\n",
}


def base(root: Path, sources: Path = SOURCES) -> None:
    """All but our own code, into an empty folder."""
    _debian(root, sources)
    for folder in _PROGRAMS:
        for program in (root / folder).glob("*"):
            if program.name != _PYTHON:
                _remove(program)
    for name in (*_NEVER_READ, *_OF_THE_CONTAINER):
        _remove(root / name)
    for name, text in _FILES.items():
        (root / name).write_text(text)
    _trust(root)
    _install(root, "--require-hashes", "--requirement", str(REQUIREMENTS))
    _compile(root, f"usr/lib/{_PYTHON}", _SITE)
    _forget_when(root)


def package(dist: Path, source: Path = HERE.parent) -> Path:
    """Our wheel, by what is installed here and nothing that pip would fetch for it; the same from the same source."""
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-input", "--no-index", "--no-deps"]
    _run([*pip, "--no-build-isolation", f"--wheel-dir={dist}", str(source)])
    [built] = dist.glob("scopewright-*.whl")
    return built


def wheel(root: Path, built: Path) -> None:
    """Our own code, and the one program that starts it."""
    _install(root, str(built), programs=("scopewright",))
    _compile(root, _SITE)
    _forget_when(root)


def hr(root: Path) -> None:
    """The services of examples/hr."""
    with tempfile.TemporaryDirectory() as folder:
        chosen = Path(folder) / "requirements.txt"
        locked = re.split(r"\n(?=\w)", DEVELOPMENT.read_text())
        chosen.write_text("\n".join(entry for entry in locked if entry.startswith(_OF_THE_SERVICES)))
        _install(root, "--require-hashes", "--requirement", str(chosen))
    package = root / _SITE / "examples" / "hr"
    package.mkdir(parents=True)
    for source in HR.glob("*.py"):
        shutil.copy(source, package)
    _compile(root, _SITE)
    _forget_when(root)


def _debian(root: Path, sources: Path) -> None:
    """Packages as Debian has signed them, and a record of them for whoever lists what is in the image."""
    one = 'dpkg-deb --field "$deb"; echo Status: install ok installed; echo'
    record = f'for deb in "$1"/var/cache/apt/archives/*.deb; do {one}; done > "$1"/var/lib/dpkg/status'
    options = ["--mode=root", "--variant=extract", f"--include={','.join(_PACKAGES)}", f"--extract-hook={record}"]
    _run(["mmdebstrap", *options, _SUITE, str(root), str(sources)])


def _trust(root: Path) -> None:
    """What update-ca-certificates would write, which is a shell script; Debian's OpenSSL looks for it there."""
    bundle = root / "etc/ssl/certs/ca-certificates.crt"
    bundle.parent.mkdir(parents=True, exist_ok=True)
    authorities = sorted((root / "usr/share/ca-certificates/mozilla").glob("*.crt"))
    bundle.write_text("".join(file.read_text() for file in authorities))


def _install(root: Path, *what: str, programs: Iterable[str] = ()) -> None:
    """For Debian's Python, which looks there by itself; wheels alone, so that nothing is compiled or run."""
    site = root / _SITE
    pip = [sys.executable, "-m", "pip", "--python", f"/usr/bin/{_PYTHON}", "install", "--quiet", "--no-compile"]
    _run([*pip, "--no-deps", "--only-binary=:all:", "--no-input", f"--target={site}", *what])
    for name in programs:
        (root / "usr/local/bin").mkdir(parents=True, exist_ok=True)
        shutil.move(site / "bin" / name, root / "usr/local/bin" / name)
    _remove(site / "bin")


def _compile(root: Path, *folders: str) -> None:
    """Nobody can write bytecode in a read-only image: without it each start would compile for seconds."""
    command = [f"/usr/bin/{_PYTHON}", "-m", "compileall", "-q", "--invalidation-mode=unchecked-hash"]
    _run([*command, f"-s{root}", "-p/", *(str(root / folder) for folder in folders)])


def _forget_when(root: Path) -> None:
    """The same content is the same layer, whenever it was built."""
    when = int(EPOCH)
    for path in (root, *root.rglob("*")):
        os.utime(path, (when, when), follow_symlinks=False)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _run(command: list[str]) -> None:
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, env={**os.environ, "SOURCE_DATE_EPOCH": EPOCH}, capture_output=True,
            text=True, check=False,
        )  # fmt: skip
    except FileNotFoundError:
        sys.exit(f"{command[0]} is not there, and is needed here: install Debian's package of it")
    if done.returncode:
        sys.exit(f"{shlex.join(command)} failed:\n{done.stdout}{done.stderr}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    layers = parser.add_subparsers(dest="layer", required=True)
    layers.add_parser("package").add_argument("dist", type=Path)
    for name in ("base", "wheel", "hr"):
        layers.add_parser(name).add_argument("root", type=Path)
    layers.choices["base"].add_argument("--sources", type=Path, default=SOURCES, help="which Debian: as in /etc/apt")
    layers.choices["wheel"].add_argument("built", metavar="WHEEL", type=Path)
    given = vars(parser.parse_args())
    fill: dict[str, Callable[..., object]] = {"base": base, "package": package, "wheel": wheel, "hr": hr}
    fill[given.pop("layer")](**given)


if __name__ == "__main__":
    main()
