"""No pull request hides a manifest: what kubectl would apply is planned, or the plan is refused and names the file."""

import json
import os
import shutil
from contextlib import nullcontext
from pathlib import Path
from typing import cast

import pytest

from scopewright.cli.plan import ACCEPTED, NO_PLAN, Connect, Request, plan_to_outputs
from scopewright.manifests.nodes import MAX_REPEATED
from scopewright.manifests.walk import MARKER
from scopewright.manifests.yaml import MAX_NODES
from tests.cases.hidden_manifests import GRANT, READ_BY_KUBECTL
from tests.harness.clock import START

NO_CLUSTER = cast("Connect", nullcontext)
BASE = """\
apiVersion: scopewright.dev/v1alpha1
kind: ResourceServer
metadata: {name: payroll-api, namespace: payroll}
spec: {scopes: [{name: payroll.write}]}
---
apiVersion: scopewright.dev/v1alpha1
kind: OAuthClient
metadata: {name: leave-worker, namespace: leave}
spec: {access: [{resourceServer: payroll-api, namespace: payroll, scopes: [payroll.write]}]}
"""
GETS = "+ leave/leave-worker gets payroll.write of payroll/payroll-api (granted by ScopeGrant payroll/sneak)"


class Review:
    """A review of a pull request: `base`, and `directory`, which begins as a copy of it."""

    def __init__(self, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.base = root / "base"
        self.directory = root / "dir"
        self._capsys = capsys
        for folder in (self.base, self.directory):
            folder.mkdir()
            (folder / "base.yaml").write_text(BASE)

    def put(self, name: str, text: str | bytes = GRANT) -> Path:
        path = self.directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    def plan(self) -> tuple[int, str, str]:
        code = plan_to_outputs(Request(str(self.directory), str(self.base)), NO_CLUSTER, START)
        printed = self._capsys.readouterr()
        return code, printed.out, printed.err

    def assert_refused(self, name: str) -> str:
        """The plan is refused, and names the file `name`. Returns what was printed."""
        code, out, err = self.plan()
        assert code == NO_PLAN, out
        assert f"\n  {self.directory / name}" in err
        assert "Refused\n" in out
        return err

    def assert_planned(self) -> None:
        code, out, err = self.plan()
        assert (code, err) == (ACCEPTED, "")
        assert GETS in out


@pytest.fixture
def review(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Review:
    return Review(tmp_path, capsys)


def test_unchanged_manifests_change_nothing(review: Review) -> None:
    code, out, err = review.plan()
    assert (code, err) == (ACCEPTED, "")
    assert out.startswith("Plan: nothing changes.\n")


@pytest.mark.parametrize("case", READ_BY_KUBECTL)
def test_each_file_that_kubectl_reads_is_planned_or_refused(case: str, review: Review) -> None:
    """tests/cluster/test_hidden_manifests.py shows that kubectl reads them."""
    review.put("sneak.yaml", READ_BY_KUBECTL[case])
    code, out, err = review.plan()
    if code == NO_PLAN:
        assert f"\n  {review.directory}/sneak.yaml:" in err
    else:
        assert GETS in out or "sneak.yaml:" in out.partition("Plan: ")[0]


@pytest.mark.parametrize(
    "name",
    [
        ".sneak.yaml",
        ".hidden/sneak.yaml",
        ".a/.b/.c.json",
        "..data/x.yml",
        "SNEAK.YAML",
        "a.Yml",
        "a.JSON",
        "d.yaml/x.yaml",
    ],
)
def test_no_file_name_hides_a_manifest(name: str, review: Review) -> None:
    review.put(name)
    review.assert_planned()


@pytest.mark.parametrize("folder", ["", "folder/", ".scopewright/"])
def test_a_state_directory_below_the_manifests_is_reported(folder: str, review: Review) -> None:
    review.put(f"{folder}{MARKER}", "")
    review.put(f"{folder}sneak.yaml")
    assert f"remove {MARKER}" in review.assert_refused(folder.rstrip("/"))


def test_the_git_directory_is_not_read(review: Review) -> None:
    """git does not let a user commit a path of that name."""
    review.put(".git/sneak.yaml")
    assert review.plan()[0] == ACCEPTED


def test_a_base_directory_below_the_manifests_is_not_part_of_them(review: Review) -> None:
    review.base = shutil.copytree(review.base, review.directory / ".base")
    review.put("sneak.yaml")
    review.assert_planned()


def test_symbolic_links_hide_no_manifest(review: Review, tmp_path: Path) -> None:
    """kubectl follows links to any place. Files that are mounted from a ConfigMap are read once."""
    outside = tmp_path / "outside.yaml"
    outside.write_text(GRANT)
    link = review.directory / "link.yaml"
    link.symlink_to(outside)
    review.assert_refused("link.yaml:1")
    link.unlink()
    review.put("sneak.txt")
    link.symlink_to("sneak.txt")
    review.assert_planned()
    link.unlink()
    (review.directory / "sneak.txt").rename(review.put("..data/sneak.yaml", ""))
    link.symlink_to("..data/sneak.yaml")
    review.assert_planned()


def test_directories_that_are_too_deep_and_unreadable_files_are_reported(
    review: Review, monkeypatch: pytest.MonkeyPatch
) -> None:
    deep = review.put("/".join("d" * 60) + "/sneak.yaml")
    assert "levels of directories" in review.assert_refused("d/d/d")
    shutil.rmtree(review.directory / deep.relative_to(review.directory).parts[0])
    unreadable = review.put("closed.yaml")
    real = os.open

    def refuse(path: str | Path, flags: int, mode: int = 0o777) -> int:
        if Path(path) == unreadable:
            raise PermissionError(13, "Permission denied")
        return real(path, flags, mode)

    monkeypatch.setattr(os, "open", refuse)
    assert "chmod u+r" in review.assert_refused("closed.yaml:1")


@pytest.mark.parametrize(
    "name", ["kustomization.yaml", "a/kustomization.yml", "Kustomization", "Chart.yaml", "x.jsonnet"]
)
def test_inputs_of_other_tools_are_reported(name: str, review: Review) -> None:
    review.put(name, "resources: [sneak.txt]\n")
    code, out, _ = review.plan()
    assert code == ACCEPTED
    assert f"  {review.directory / name}:1: templates are not rendered: render this" in out


@pytest.mark.parametrize("key", ["yes", "on", "y", "1", "0x10", "1e3", "1.5", "~"])
def test_an_ambiguous_label_is_reported(key: str, review: Review) -> None:
    """kubectl would label the namespace `true`, not `yes`."""
    review.put("leave.yaml", f"apiVersion: v1\nkind: Namespace\nmetadata: {{name: leave, labels: {{{key}: a}}}}\n")
    assert "quote it" in review.assert_refused("leave.yaml:3")
    review.put("leave.yaml", f"apiVersion: v1\nkind: Namespace\nmetadata: {{name: leave, labels: {{'{key}': a}}}}\n")
    assert review.plan()[0] != NO_PLAN


def test_a_yaml_merge_hides_no_field(review: Review) -> None:
    """kubectl uses the later value, and other programs that of the field."""
    merge = (
        "spec:\n  scopes: []\n  <<: {resourceServer: payroll-api, scopes: [payroll.write], to: [{namespace: leave}]}\n"
    )
    review.put("sneak.yaml", GRANT.partition("spec:")[0] + merge)
    assert "put `<<` first" in review.assert_refused("sneak.yaml:6")


def test_yaml_aliases_are_counted_over_all_files(review: Review) -> None:
    """Each file alone is within the limit."""
    bomb = "x: {a0: &a0 [y, y, y, y, y, y, y, y], " + ", ".join(
        f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 8)}]" for i in range(1, 5)
    )
    for number in range(100):
        review.put(f"{number:03}.yaml", GRANT.replace("sneak", f"sneak-{number}") + bomb + "}\n")
    printed = review.assert_refused("099.yaml:5")
    assert f"aliases repeat more than {MAX_REPEATED} values" in printed
    assert "000.yaml" not in printed


def test_repeated_texts_and_merges_count_as_aliases(review: Review) -> None:
    long = f"x: &x {'y' * 1_000_000}\nz: [{', '.join(['*x'] * 1000)}]\n"
    review.put("long.yaml", GRANT + long)
    assert "aliases repeat" in review.assert_refused("long.yaml:5")
    (review.directory / "long.yaml").unlink()
    wide = ", ".join(f"k{n}: 1" for n in range(1000))
    review.put("wide.yaml", f"a: &a {{{wide}}}\nitems: [{', '.join(['{<<: *a}'] * 1000)}]\n")
    assert "aliases repeat" in review.assert_refused("wide.yaml:1")


def test_the_size_of_a_document_is_limited(review: Review) -> None:
    review.put("wide.yaml", f"a: [{',' * MAX_NODES}]".replace(",", "1,"))
    assert "split it" in review.assert_refused("wide.yaml:1")


def test_refusals_are_in_each_output(review: Review, tmp_path: Path) -> None:
    review.put("sneak.yaml", "kind: ConfigMap\n" + GRANT)
    files = {form: tmp_path / form for form in ("json", "sarif")}
    outputs = tuple(f"{form}={file}" for form, file in files.items())
    assert plan_to_outputs(Request(str(review.directory), outputs=outputs), NO_CLUSTER, START) == NO_PLAN
    (refusal,) = json.loads(files["json"].read_text())["refusals"]
    assert (refusal["reason"], refusal["line"]) == ("NotRead", 3)
    (run,) = json.loads(files["sarif"].read_text())["runs"]
    assert [r["ruleId"] for r in run["results"] if r["level"] == "error"] == ["NotRead"]
