"""Status of objects by the kstatus library, which Flux and kpt use: a Go program, built once into a cache."""

import json
import subprocess
from pathlib import Path
from typing import Final

from tests.go_program import go_program

from .kube import Manifest

_SOURCES: Final = Path(__file__).resolve().parents[1] / "kstatus"


def kstatus(*objects: Manifest) -> dict[str, str]:
    """`Current`, `InProgress`, `Failed`, … by `<kind> <namespace>/<name>`."""
    lines = "\n".join(json.dumps(each) for each in objects)
    done = subprocess.run(
        [go_program("kstatus", _SOURCES, ("main.go", "go.mod", "go.sum"))],
        input=lines,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    return {f"{each['kind']} {each['namespace']}/{each['name']}": each["status"] for each in answers}
