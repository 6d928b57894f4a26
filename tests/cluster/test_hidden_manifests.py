"""kubectl reads the files that `scopewright plan` must not overlook (tests/unit/cli/test_plan_unseen.py)."""

import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.cases.hidden_manifests import READ_BY_KUBECTL
from tests.controlplane import binaries

GRANT = "scopewright.dev/v1alpha1 ScopeGrant sneak;"
READ = "{range .items[*]}{.apiVersion} {.kind} {.metadata.name};{end}{.apiVersion} {.kind} {.metadata.name};"


def test_kubectl_reads_a_grant_from_each_file(tmp_path: Path) -> None:
    """Without an API server: kubectl parses the files before it sends a request."""
    kubectl = binaries.find().kubectl

    def read_by_kubectl(case: str) -> str:
        text = READ_BY_KUBECTL[case]
        file = tmp_path / f"{list(READ_BY_KUBECTL).index(case)}.yaml"
        file.write_bytes(text if isinstance(text, bytes) else text.encode())
        command = [str(kubectl), "label", "--local", "-f", str(file), "-o", f"jsonpath={READ}", "x=y"]
        return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False).stdout

    with ThreadPoolExecutor(2) as pool:
        texts = dict(zip(READ_BY_KUBECTL, pool.map(read_by_kubectl, READ_BY_KUBECTL), strict=True))
    assert [case for case, text in texts.items() if GRANT not in text] == []
