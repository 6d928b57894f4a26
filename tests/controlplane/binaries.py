"""The programs of a control plane and kubectl: from KUBEBUILDER_ASSETS, or built once into a cache."""

import contextlib
import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from .errors import ControlPlaneError

_SOURCES = Path(__file__).parent

VERSION = next(
    line.split()[1]
    for line in (_SOURCES / "go.mod").read_text().splitlines()
    if line.startswith("\tk8s.io/kubernetes ")
)

_MAJOR, _MINOR, _ = VERSION.removeprefix("v").split(".")
_NAMES = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubectl")
_COMPONENT_VERSION = "k8s.io/component-base/version"
_LDFLAGS = " ".join(
    (
        "-s -w",
        f"-X {_COMPONENT_VERSION}.gitVersion={VERSION}",
        f"-X {_COMPONENT_VERSION}.gitMajor={_MAJOR}",
        f"-X {_COMPONENT_VERSION}.gitMinor={_MINOR}",
    )
)
_FLAGS = (
    "-mod=readonly",
    "-buildvcs=false",
    "-trimpath",
    "-ldflags",
    _LDFLAGS,
)
_HINT = "Install Go 1.26 or later, or set KUBEBUILDER_ASSETS (etcd and kube-apiserver) or KUBECONFIG (a cluster)."


@dataclass(frozen=True)
class Binaries:
    etcd: Path
    apiserver: Path
    controller_manager: Path
    scheduler: Path
    kubectl: Path


def find() -> Binaries:
    """The programs in KUBEBUILDER_ASSETS, if set; the others are built."""
    assets = os.environ.get("KUBEBUILDER_ASSETS")
    if not assets:
        return build()
    given = {name: Path(assets).resolve() / name for name in _NAMES}
    missing = [name for name in ("etcd", "kube-apiserver") if not os.access(given[name], os.X_OK)]
    if missing:
        raise ControlPlaneError(f"KUBEBUILDER_ASSETS={assets} holds no {' and no '.join(missing)}")
    if os.access(given["kube-controller-manager"], os.X_OK) and os.access(given["kubectl"], os.X_OK):
        return _binaries(given)
    # The published assets of kubebuilder have no controller manager.
    return replace(build(), etcd=given["etcd"], apiserver=given["kube-apiserver"])


def build() -> Binaries:
    """Build once into a cache keyed by the sources and the Go version. After that neither network nor Go is needed."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "scopewright" / "controlplane"
    sources = _sources_digest()
    go = shutil.which("go")
    if go is None:
        for kept in sorted(cache.glob(f"{sources}-go*")):
            return _in(kept)
        raise ControlPlaneError(f"no control plane in the cache, and no 'go' on PATH to build it. {_HINT}")
    home = cache / f"{sources}-{_run(go, 'env', 'GOVERSION')}"
    if home.is_dir():
        return _in(home)
    cache.mkdir(parents=True, exist_ok=True)
    with _locked(cache / "lock"):
        if not home.is_dir():
            _build_into(go, home)
    return _in(home)


def _binaries(paths: dict[str, Path]) -> Binaries:
    return Binaries(*(paths[name] for name in _NAMES))


def _in(folder: Path) -> Binaries:
    return _binaries({name: folder / name for name in _NAMES})


def _sources_digest() -> str:
    digest = hashlib.sha256("\0".join(_FLAGS).encode())
    for name in ("main.go", "go.mod", "go.sum"):
        digest.update((_SOURCES / name).read_bytes())
    return digest.hexdigest()[:20]


def _environment() -> dict[str, str]:
    # Without cgo no C compiler is needed. A Go workspace of a parent directory is ignored.
    return {**os.environ, "CGO_ENABLED": "0", "GOWORK": "off"}


def _run(go: str, *arguments: str) -> str:
    done = subprocess.run(
        [go, *arguments], cwd=_SOURCES, env=_environment(), capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise ControlPlaneError(f"go {' '.join(arguments)} failed:\n{done.stderr[-2000:]}\n{_HINT}")
    return done.stdout.strip()


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            _say("another process is building it; waiting")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _build_into(go: str, home: Path) -> None:
    started = time.monotonic()
    _say(f"building Kubernetes {VERSION} once, into {home}: minutes, and about 4 GB of Go modules and build cache")
    with _Ticker(started) as ticker, tempfile.TemporaryDirectory(dir=home.parent, prefix=".building-") as scratch:
        staging = Path(scratch) / "ready"
        staging.mkdir()
        # With -v the build prints each package that it compiles; all other lines are errors.
        packages = set(_run(go, "list", "-deps", "-mod=readonly", ".").splitlines())
        ticker.compiling(of=len(packages))
        output = []
        with subprocess.Popen(
            [go, "build", "-v", *_FLAGS, "-o", str(staging / "controlplane"), "."],
            cwd=_SOURCES,
            env=_environment(),
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            assert process.stderr is not None
            for line in process.stderr:
                if line.strip() in packages:
                    ticker.compiled += 1
                else:
                    output.append(line)
        if process.returncode:
            raise ControlPlaneError(f"go build failed:\n{''.join(output[-40:])}\n{_HINT}")
        for name in _NAMES:
            (staging / name).symlink_to("controlplane")
        staging.rename(home)
    _say(f"built in {time.monotonic() - started:.0f} s")


class _Ticker:
    """Prints a line every ten seconds during a long build."""

    def __init__(self, started: float) -> None:
        self.compiled = 0
        self._total = 0
        self._started = started
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._tick, daemon=True)

    def compiling(self, of: int) -> None:
        self._total = of

    def __enter__(self) -> "_Ticker":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _tick(self) -> None:
        while not self._over.wait(10):
            state = "downloading modules"
            if self._total:
                state = f"compiling: {self.compiled} of {self._total} packages ({100 * self.compiled // self._total} %)"
            _say(f"{state}, {time.monotonic() - self._started:.0f} s")


def _say(text: str) -> None:
    print(f"control plane: {text}", file=sys.stderr, flush=True)
