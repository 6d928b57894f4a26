"""`make image`: both images as archives, without a container engine, by the build.py that Dockerfile runs too."""

import argparse
import hashlib
import os
import platform
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Final

from image import build
from image.archive import pack_image, pack_layer

ROOT: Final = Path(__file__).resolve().parents[1]
SCOPEWRIGHT: Final = "scopewright.example/scopewright:built"
HR: Final = "scopewright.example/hr:built"
CONFIG: Final[dict[str, Any]] = {
    "User": f"{build.USER}:{build.USER}",
    "Entrypoint": ["scopewright"],
    "Env": ["PATH=/usr/local/bin:/usr/bin"],
    "WorkingDir": "/",
    "Labels": {"org.opencontainers.image.title": "scopewright", "org.opencontainers.image.licenses": "Apache-2.0"},
}


def images(folder: Path) -> list[Path]:
    """Write the archives to a directory and return their paths. Layers are cached by the content of their inputs."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        wheel = build.package(Path(scratch))
        recipe = Path(build.__file__)
        base = _layer("base", (recipe, build.REQUIREMENTS, build.SOURCES), build.base)
        scopewright = _layer("wheel", (recipe, wheel), lambda root: build.wheel(root, wheel))
        hr = _layer("hr", (recipe, build.DEVELOPMENT, *build.hr_files()), build.hr)
    pack_image(folder / "scopewright.tar", SCOPEWRIGHT, [base, scopewright], CONFIG, architecture())
    pack_image(folder / "hr.tar", HR, [base, scopewright, hr], {**CONFIG, "Entrypoint": []}, architecture())
    return [folder / "scopewright.tar", folder / "hr.tar"]


def architecture() -> str:
    """The architecture of this machine, by its name in OCI images."""
    return {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())


def _layer(name: str, inputs: Iterable[Path], fill: Callable[[Path], None]) -> Path:
    """The cached layer, built if it is missing. The rename is atomic, as two runs may build at once."""
    digest = hashlib.sha256()
    for file in inputs:
        digest.update(file.read_bytes())
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "scopewright" / "image"
    layer = cache / f"{name}-{digest.hexdigest()[:20]}.tar.gz"
    if not layer.exists():
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache, prefix=".building-") as scratch:
            root = Path(scratch) / "root"
            root.mkdir(mode=0o755)
            fill(root)
            pack_layer(root, Path(scratch) / "layer")
            (Path(scratch) / "layer").rename(layer)
    return layer


def main() -> None:
    parser = argparse.ArgumentParser(prog="make image", description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?", default=ROOT / ".image")
    for archive in images(parser.parse_args().folder):
        print(archive)


if __name__ == "__main__":
    main()
