"""Builds the layers of the images: Debian's Python with the locked dependencies, then the wheel of Scopewright.

The images have no shell and no package manager.

    python3 image/build.py base ROOT
    python3 image/build.py package DIST        # build the wheel into a directory
    python3 image/build.py wheel ROOT WHEEL
    python3 image/build.py hr ROOT             # the services and the web application of examples/hr

Dockerfile runs this in its build stages; `make image` runs it without a container engine. It needs root, Debian 12's
mmdebstrap and python3, and pip in the Python that runs it; `package` also needs requirements/build.txt installed there.
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
"""User and group id of the processes, equal to the chart's `pods.runAsUser`."""

EPOCH: Final = os.environ.get("SOURCE_DATE_EPOCH") or "315532800"
"""Modification time of every file in an image. Default: the earliest instant that a wheel can store."""

_HR_REQUIREMENTS: Final = tuple(
    f"{name}=="
    for name in ("authlib", "blinker", "fastapi", "flask", "gunicorn", "itsdangerous", "jinja2", "joserfc",
                 "markupsafe", "packaging", "starlette", "uvicorn", "werkzeug")
)  # fmt: skip
"""Their other dependencies are in the layer below."""
_SUITE: Final = "bookworm"
_PYTHON: Final = "python3.11"
_PACKAGES: Final = (f"{_PYTHON}-minimal", f"lib{_PYTHON}-stdlib", "ca-certificates", "netbase", "tzdata", "base-files")
_SITE: Final = f"usr/local/lib/{_PYTHON}/dist-packages"
_PROGRAMS: Final = ("bin", "sbin", "usr/bin", "usr/sbin")
_UNUSED: Final = (
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
# The container runtime writes these; the builder's must not be in the image.
_RUNTIME_FILES: Final = ("etc/hostname", "etc/resolv.conf")
_FILES: Final = {
    "etc/passwd": f"root:x:0:0:root:/:/nologin\nscopewright:x:{USER}:{USER}::/:/nologin\n",
    "etc/group": f"root:x:0:\nscopewright:x:{USER}:\n",
    "etc/nsswitch.conf": "passwd: files\ngroup: files\nhosts: files dns\n",
}


def base(root: Path, sources: Path = SOURCES) -> None:
    """Build everything except the code of Scopewright, into an empty directory."""
    _extract_packages(root, sources)
    for folder in _PROGRAMS:
        for program in (root / folder).glob("*"):
            if program.name != _PYTHON:
                _remove(program)
    for name in (*_UNUSED, *_RUNTIME_FILES):
        _remove(root / name)
    for name, text in _FILES.items():
        (root / name).write_text(text)
    _write_ca_bundle(root)
    _install(root, "--require-hashes", "--requirement", str(REQUIREMENTS))
    _compile(root, f"usr/lib/{_PYTHON}", _SITE)
    _set_times(root)


def package(dist: Path, source: Path = HERE.parent) -> Path:
    """Build the wheel with the installed build backend and without the network. Equal sources give equal bytes."""
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-input", "--no-index", "--no-deps"]
    _run([*pip, "--no-build-isolation", f"--wheel-dir={dist}", str(source)])
    [built] = dist.glob("scopewright-*.whl")
    return built


def wheel(root: Path, built: Path) -> None:
    """Install the wheel and the program `scopewright`."""
    _install(root, str(built), programs=("scopewright",))
    _compile(root, _SITE)
    _set_times(root)


def hr(root: Path) -> None:
    """Install the services and the web application of examples/hr."""
    with tempfile.TemporaryDirectory() as folder:
        chosen = Path(folder) / "requirements.txt"
        locked = re.split(r"\n(?=\w)", DEVELOPMENT.read_text())
        chosen.write_text("\n".join(entry for entry in locked if entry.startswith(_HR_REQUIREMENTS)))
        _install(root, "--require-hashes", "--requirement", str(chosen))
    for source in hr_files():
        target = root / _SITE / "examples" / "hr" / source.relative_to(HR)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, target)
    _compile(root, _SITE)
    _set_times(root)


def hr_files() -> list[Path]:
    """The files of examples/hr that are in the image."""
    return sorted(file for files in ("*.py", "web/*.py", "web/templates/*.html") for file in HR.glob(files))


def _extract_packages(root: Path, sources: Path) -> None:
    """Extract Debian's signed packages, and list them in dpkg's status file for scanners of images."""
    one = 'dpkg-deb --field "$deb"; echo Status: install ok installed; echo'
    record = f'for deb in "$1"/var/cache/apt/archives/*.deb; do {one}; done > "$1"/var/lib/dpkg/status'
    options = ["--mode=root", "--variant=extract", f"--include={','.join(_PACKAGES)}", f"--extract-hook={record}"]
    _run(["mmdebstrap", *options, _SUITE, str(root), str(sources)])


def _write_ca_bundle(root: Path) -> None:
    """Write the bundle that Debian's OpenSSL reads. update-ca-certificates is a shell script, and there is no shell."""
    bundle = root / "etc/ssl/certs/ca-certificates.crt"
    bundle.parent.mkdir(parents=True, exist_ok=True)
    authorities = sorted((root / "usr/share/ca-certificates/mozilla").glob("*.crt"))
    bundle.write_text("".join(file.read_text() for file in authorities))


def _install(root: Path, *arguments: str, programs: Iterable[str] = ()) -> None:
    """Install into Debian's dist-packages; from wheels only, so that no code of a package is compiled or run."""
    site = root / _SITE
    pip = [sys.executable, "-m", "pip", "--python", f"/usr/bin/{_PYTHON}", "install", "--quiet", "--no-compile"]
    _run([*pip, "--no-deps", "--only-binary=:all:", "--no-input", f"--target={site}", *arguments])
    for name in programs:
        (root / "usr/local/bin").mkdir(parents=True, exist_ok=True)
        shutil.move(site / "bin" / name, root / "usr/local/bin" / name)
    _remove(site / "bin")


def _compile(root: Path, *folders: str) -> None:
    """Write the bytecode: the root file system is read-only, and without it each start compiles for seconds."""
    command = [f"/usr/bin/{_PYTHON}", "-m", "compileall", "-q", "--invalidation-mode=unchecked-hash"]
    _run([*command, f"-s{root}", "-p/", *(str(root / folder) for folder in folders)])


def _set_times(root: Path) -> None:
    """Set every modification time to EPOCH, so that equal content gives an equal layer."""
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
        sys.exit(f"{command[0]} is not installed; install its Debian package")
    if done.returncode:
        sys.exit(f"{shlex.join(command)} failed:\n{done.stdout}{done.stderr}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    layers = parser.add_subparsers(dest="layer", required=True)
    layers.add_parser("package").add_argument("dist", type=Path)
    for name in ("base", "wheel", "hr"):
        layers.add_parser(name).add_argument("root", type=Path)
    layers.choices["base"].add_argument(
        "--sources", type=Path, default=SOURCES, help="Debian sources file, as in /etc/apt [%(default)s]"
    )
    layers.choices["wheel"].add_argument("built", metavar="WHEEL", type=Path)
    arguments = vars(parser.parse_args())
    fill: dict[str, Callable[..., object]] = {"base": base, "package": package, "wheel": wheel, "hr": hr}
    fill[arguments.pop("layer")](**arguments)


if __name__ == "__main__":
    main()
