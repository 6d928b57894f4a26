"""Health of objects by Argo CD and Flux: the checks of examples/gitops, run by their own interpreters."""

import json
import subprocess
from pathlib import Path
from typing import Any, Final

import yaml

from tests.go_program import go_program

from .kube import Manifest

EXAMPLES: Final = Path(__file__).resolve().parents[2] / "examples" / "gitops"
_SOURCES: Final = Path(__file__).resolve().parents[1] / "gitops"
_LUA: Final = "resource.customizations.health."


def argocd(*objects: Manifest) -> list[tuple[str, str]]:
    """Health and message of each: Healthy, Progressing, Degraded, Suspended."""
    scripts = yaml.safe_load((EXAMPLES / "argocd" / "argocd-cm.yaml").read_text())["data"]
    return _evaluate(*({"lua": scripts[_LUA + _group_kind(each)], "object": each} for each in objects))


def flux(*objects: Manifest, and_current: str = "") -> list[str]:
    """Status of each: Current, InProgress, Failed. `and_current` is appended to the expression for Current."""
    checks = {
        check["kind"]: {name: check[name] for name in ("failed", "current")}
        for manifest in yaml.safe_load_all((EXAMPLES / "flux" / "cluster.yaml").read_text())
        for check in manifest["spec"].get("healthCheckExprs", ())
    }
    for check in checks.values():
        check["current"] += and_current
    return [status for status, _ in _evaluate(*({"cel": checks[each["kind"]], "object": each} for each in objects))]


def refusal_of_helm_release(manifest: Manifest) -> str:
    """Why Flux's Go type refuses the manifest; "" if it does not."""
    [(_, message)] = _evaluate({"helmRelease": manifest})
    return message


def _group_kind(manifest: Manifest) -> str:
    return f"{manifest['apiVersion'].partition('/')[0]}_{manifest['kind']}"


def _evaluate(*requests: dict[str, Any]) -> list[tuple[str, str]]:
    program = go_program("gitops", _SOURCES, ("main.go", "go.mod", "go.sum"))
    lines = "\n".join(map(json.dumps, requests))
    done = subprocess.run([program], input=lines, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return [(answer["status"], answer["message"]) for answer in map(json.loads, done.stdout.splitlines())]
