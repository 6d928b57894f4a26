"""Files from Go modules, such as the CRDs of other projects: downloaded once into a cache."""

import hashlib
import json
import os
import shutil
import subprocess
import tempfile
import zipfile
from pathlib import Path


def go_module_file(module: str, digest: str, path: str) -> str:
    """The text of a file of `module@version`, whose checksum in go.sum is `digest`."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "scopewright" / "modules"
    kept = cache / hashlib.sha256(f"{module} {digest} {path}".encode()).hexdigest()[:20]
    if not kept.exists():
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache, prefix=".fetching-") as scratch:
            fetched = Path(scratch) / "file"
            fetched.write_bytes(_fetch(module, digest, path, scratch))
            fetched.rename(kept)
    return kept.read_text()


def _fetch(module: str, digest: str, path: str, folder: str) -> bytes:
    go = shutil.which("go")
    assert go, f"'go' is needed on PATH to fetch {module}: install Go 1.26 or later"
    command = [go, "mod", "download", "-json", module]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{module} cannot be fetched: {done.stdout}{done.stderr}"
    download = json.loads(done.stdout)
    assert download["Sum"] == digest, f"{module} is {download['Sum']}, not the pinned digest"
    with zipfile.ZipFile(download["Zip"]) as archive:
        return archive.read(f"{module}/{path}")
