"""helm, built from its Go module once into a cache. After that neither network nor Go is needed."""

import functools
import json
import os
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import yaml

from tests.go_program import go_program

Values = Mapping[str, Any]
Manifest = dict[str, Any]

ROOT: Final = Path(__file__).resolve().parents[2]
CHART: Final = ROOT / "charts" / "scopewright"
NAMESPACE: Final = "scopewright-system"
REQUIRED: Final[Values] = {
    "issuer": {"url": "https://issuer.example.org"},
    "image": {"repository": "registry.example.org/scopewright"},
}

_SOURCES: Final = ROOT / "tests" / "helm"
_PACKAGE: Final = "helm.sh/helm/v3/cmd/helm"
# As in helm's Makefile: without a cluster it assumes the Kubernetes version that it is built with.
_LDFLAGS: Final = (
    "-s -w -X helm.sh/helm/v3/pkg/chartutil.k8sVersionMajor=1 -X helm.sh/helm/v3/pkg/chartutil.k8sVersionMinor=37"
)


class Refused(Exception):
    """The error output of helm."""


def helm_program() -> Path:
    return go_program("helm", _SOURCES, ("go.mod", "go.sum"), package=_PACKAGE, ldflags=_LDFLAGS)


def helm(*arguments: str, values: Values | None = None, kubeconfig: Path | None = None) -> str:
    """Run helm and return its output. `values` override those of the chart."""
    with tempfile.TemporaryDirectory() as home:
        command = [str(helm_program()), *arguments]
        if values is not None:
            file = Path(home) / "values.json"
            file.write_text(json.dumps(values))
            command += ["--values", str(file)]
        # Each run is short: collecting garbage would take two fifths of its CPU time.
        environment = {"PATH": os.defpath, "HOME": home, "KUBECONFIG": str(kubeconfig or ""), "GOGC": "off"}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Refused(done.stdout + done.stderr)
    return done.stdout


def template(values: Values | None = None) -> str:
    """The rendered chart, with the required values and these."""
    return _template(json.dumps(merged(REQUIRED, values or {})))


@functools.cache
def _template(values: str) -> str:
    return helm("template", "scopewright", str(CHART), "--namespace", NAMESPACE, values=json.loads(values))


def render(values: Values | None = None) -> list[Manifest]:
    """The rendered objects."""
    return [m for m in yaml.load_all(template(values), yaml.CSafeLoader) if m]


def merged(below: Values, above: Values) -> dict[str, Any]:
    result = dict(below)
    for name, value in above.items():
        known = result.get(name)
        result[name] = merged(known, value) if isinstance(known, Mapping) and isinstance(value, Mapping) else value
    return result


def one(manifests: list[Manifest], kind: str, name: str = "") -> Manifest:
    """The only object of that kind, or of that kind and name."""
    [found] = [m for m in manifests if m["kind"] == kind and name in ("", m["metadata"]["name"])]
    return found
