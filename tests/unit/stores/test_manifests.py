"""Objects declared in a directory of manifests, and the diagnostics: file, line, and fix."""

import os
from pathlib import Path
from typing import Any

import pytest

from scopewright.core.objects import Ref
from scopewright.manifests.load import load
from scopewright.manifests.validate import Diagnostic, Manifests

CLIENT = """\
apiVersion: scopewright.dev/v1alpha1
kind: OAuthClient
metadata:
  name: worker
  namespace: leave
spec:
  access:
    - resourceServer: payroll-api
      namespace: payroll
      scopes: [payroll.read]
"""
WORKER = Ref("OAuthClient", "leave", "worker")


def put(directory: Path, name: str, text: str | bytes) -> Path:
    path = directory / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def only(seen: Manifests) -> Diagnostic:
    assert len(seen.problems) == 1, [str(p) for p in seen.problems]
    return seen.problems[0]


def read(directory: Path, text: str | bytes, name: str = "a.yaml") -> Manifests:
    put(directory, name, text)
    return load(directory)


def test_files_of_every_extension_and_level_are_read(tmp_path: Path) -> None:
    put(tmp_path, "a.yaml", CLIENT)
    put(tmp_path, "deep/er/b.yml", CLIENT.replace("worker", "second"))
    put(
        tmp_path,
        "c.json",
        '{\n\t"apiVersion": "scopewright.dev/v1alpha1", "kind": "OAuthClient",\n\t"metadata": {"name": "third"}}',
    )
    put(tmp_path, "d.txt", "not: [read")
    seen = load(tmp_path)
    assert not seen.problems
    assert sorted(map(str, seen.objects)) == [
        "OAuthClient default/third",
        "OAuthClient leave/second",
        "OAuthClient leave/worker",
    ]
    assert seen.sources[WORKER].file == "a.yaml"


def test_documents_and_lists_are_split_into_objects(tmp_path: Path) -> None:
    listed = "apiVersion: v1\nkind: List\nitems:\n- " + CLIENT.replace("worker", "listed").replace("\n", "\n  ")
    seen = read(tmp_path, f"%YAML 1.1\n# a comment\n---\n{CLIENT}---\n---\n# nothing\n---\n{listed}")
    assert not seen.problems
    assert {ref.name for ref in seen.objects} == {"worker", "listed"}
    assert seen.sources[WORKER].line == 4


def test_missing_namespace_is_default_as_with_kubectl(tmp_path: Path) -> None:
    seen = read(tmp_path, CLIENT.replace("  namespace: leave\n", "", 1))
    (manifest,) = seen.objects.values()
    assert manifest["metadata"] == {"name": "worker", "namespace": "default"}


def test_null_field_is_omitted(tmp_path: Path) -> None:
    seen = read(tmp_path, CLIENT.split("spec:")[0] + "spec: {rotation: , access: [], credentials: {secretName: ~}}\n")
    assert not seen.problems
    assert seen.objects[WORKER]["spec"] == {"access": [], "credentials": {}}


def test_fields_set_by_the_api_server_are_dropped(tmp_path: Path) -> None:
    exported = CLIENT.replace(
        "  name: worker\n", "  name: worker\n  uid: abc\n  resourceVersion: '7'\n  managedFields: []\n"
    )
    seen = read(tmp_path, exported + "status: {clientID: forged}\n")
    assert seen.objects[WORKER]["metadata"] == {"name": "worker", "namespace": "leave"}
    assert "status" not in seen.objects[WORKER]


def test_unquoted_timestamp_stays_text(tmp_path: Path) -> None:
    seen = read(tmp_path, CLIENT + "  rotation: {revokedBefore: 2026-11-22T10:00:00Z}\n")
    assert seen.objects[WORKER]["spec"]["rotation"]["revokedBefore"] == "2026-11-22T10:00:00Z"


@pytest.mark.parametrize(
    "text",
    [
        "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: x}\nspec: {a: 1, a: 2}\n",
        "apiVersion: oauth.openshift.io/v1\nkind: OAuthClient\nmetadata: {name: x}\n",
        "resources: [a.yaml]\n",
        "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\n",
        "image: {tag: 1}\nreplicas: 2\n",
        "",
        "# only a comment\n",
        "null\n",
    ],
)
def test_manifests_of_other_kinds_are_ignored(tmp_path: Path, text: str) -> None:
    assert load_both(tmp_path, text) == ((), 1)


def load_both(directory: Path, text: str) -> tuple[tuple[Diagnostic, ...], int]:
    put(directory, "good.yaml", CLIENT)
    seen = read(directory, text, "other.yaml")
    return seen.problems, len(seen.objects)


def test_labels_of_namespaces_are_read(tmp_path: Path) -> None:
    seen = read(tmp_path, "apiVersion: v1\nkind: Namespace\nmetadata: {name: leave, labels: {team: hr}}\n")
    assert seen.objects[Ref("Namespace", "", "leave")]["metadata"]["labels"] == {"team": "hr"}


BROKEN: list[tuple[str, str | bytes, int, str]] = [
    ("no YAML", CLIENT + "spec: {\n", 12, "not YAML"),
    ("a tab", CLIENT.replace("  name: worker", "\tname: worker"), 4, "spaces, never tabs"),
    ("a list", "- 1\n- 2\n", 1, "not a manifest but a list"),
    ("a text", "\nhello\n", 2, "not a manifest but a text"),
    ("another version", CLIENT.replace("v1alpha1", "v1"), 1, "write apiVersion: scopewright.dev/v1alpha1"),
    (
        "a mistyped group",
        CLIENT.replace("scopewright.dev", "scopewrite.dev"),
        1,
        "write apiVersion: scopewright.dev/v1alpha1",
    ),
    ("no apiVersion", CLIENT.split("\n", 1)[1], 1, "apiVersion is missing"),
    ("a mistyped kind", CLIENT.replace("OAuthClient", "OauthClient"), 2, "did you mean OAuthClient?"),
    ("no kind", CLIENT.replace("kind: OAuthClient\n", ""), 1, "kind is missing"),
    ("a wrong type", CLIENT.replace("[payroll.read]", "payroll.read"), 10, "spec.access[0].scopes"),
    ("a mistyped field", CLIENT.replace("  access:", "  acess:"), 7, "did you mean access"),
    ("a mistyped field further in", CLIENT.replace("      namespace", "      namspace"), 9, "did you mean namespace"),
    ("a mistyped field at the top", CLIENT.replace("spec:", "spce:"), 6, "did you mean spec?"),
    (
        "a mistyped field of metadata",
        CLIENT.replace("  namespace: leave", "  namspace: leave"),
        5,
        "did you mean namespace?",
    ),
    ("no metadata", "apiVersion: scopewright.dev/v1alpha1\nkind: OAuthClient\n", 1, "metadata must be a mapping"),
    ("no name", CLIENT.replace("  name: worker\n", ""), 3, "metadata.name is missing"),
    ("a number for a name", CLIENT.replace("worker", "12"), 4, "quote it"),
    ("a name that climbs", CLIENT.replace("worker", "../../etc"), 4, "not a DNS label"),
    ("a namespace that climbs", CLIENT.replace("leave", "'..'"), 5, "not a DNS label"),
    ("a very long name", CLIENT.replace("worker", "x" * 10_000), 4, "not a DNS label"),
    (
        "a label that is no text",
        CLIENT.replace("spec:", "  labels: {a: true}\nspec:"),
        6,
        "metadata.labels.a must be text",
    ),
    ("a key twice", CLIENT + "spec: {}\n", 11, "is duplicated"),
    ("a binary file", b"\x7fELF\x00\x01", 1, "binary"),
    ("Latin-1", CLIENT.encode() + "# é\n".encode("latin-1"), 11, "not UTF-8"),
    ("UTF-16", CLIENT.encode("utf-16"), 1, "UTF-8"),
    ("a control character", CLIENT + "# \x07\n", 11, "control character"),
    ("a language's own tag", CLIENT.replace("worker", "!!python/name:os.system x"), 4, "tag"),
    ("a template", CLIENT.replace("worker", "{{ .Values.name }}"), 4, "template"),
    ("nested for ever", CLIENT + "  x: " + "[" * 50_000, 11, "nested deeper"),
    ("an alias of itself", CLIENT + "  x: &a [*a]\n", 11, "aliases"),
    ("an alias of nothing", CLIENT + "  x: *nothing\n", 11, "anchor"),
    ("a bad instant", CLIENT + "  rotation: {revokedBefore: 2026-99-99}\n", 11, "revokedBefore"),
    ("a label with a truth value for its name", CLIENT.replace("spec:", "  labels: {on: x}\nspec:"), 6, "quote it"),
    ("a merge of nothing", CLIENT + "  <<: 5\n", 11, "merges"),
]


@pytest.mark.parametrize(("text", "line", "expected"), [b[1:] for b in BROKEN], ids=[b[0] for b in BROKEN])
def test_malformed_file_is_reported_and_the_others_are_read(
    tmp_path: Path, text: str | bytes, line: int, expected: str
) -> None:
    good = put(tmp_path, "good.yaml", CLIENT.replace("worker", "other"))
    seen = read(tmp_path, text, "bad.yaml")
    problem = only(seen)
    assert problem.file == str(good.with_name("bad.yaml"))
    assert problem.line == line
    assert expected in str(problem)
    assert problem.fix
    assert len(str(problem)) < 600
    assert list(seen.objects) == [Ref("OAuthClient", "leave", "other")]


def test_malformed_document_does_not_affect_others_of_its_file(tmp_path: Path) -> None:
    seen = read(tmp_path, f"a: {{\n---\n{CLIENT}---\nb: ]\n")
    assert [p.line for p in seen.problems] == [2, 14]
    assert list(seen.objects) == [WORKER]
    assert seen.is_incomplete("a.yaml")


def test_expanding_aliases_are_refused(tmp_path: Path) -> None:
    bomb = "a0: &a0 [x]\n" + "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 12))
    seen = read(tmp_path, CLIENT.replace("spec:\n", bomb + "spec:\n"))
    assert "aliases" in only(seen).message


def test_file_that_is_too_large_is_reported(tmp_path: Path) -> None:
    assert "larger than 4 MiB" in only(read(tmp_path, CLIENT + "#" * (4 << 20))).message


def test_duplicate_object_is_reported_and_the_first_one_used(tmp_path: Path) -> None:
    put(tmp_path, "b.yaml", "\n" + CLIENT.replace("payroll.read", "payroll.write"))
    put(tmp_path, "a.yaml", CLIENT)
    seen = load(tmp_path)
    assert only(seen).file == str(tmp_path / "b.yaml")
    assert only(seen).line == 2
    assert f"{tmp_path / 'a.yaml'}:1" in only(seen).message
    assert seen.objects[WORKER]["spec"]["access"][0]["scopes"] == ["payroll.read"]


def test_unreadable_file_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = put(tmp_path, "a.yaml", CLIENT)
    real = os.open

    def refuse(name: Any, *args: Any, **rest: Any) -> int:
        if name == path:
            raise PermissionError(13, "Permission denied")
        return real(name, *args, **rest)

    monkeypatch.setattr(os, "open", refuse)
    assert "chmod u+r" in only(load(tmp_path)).fix
    assert load(tmp_path).is_incomplete("a.yaml")


def test_symlinks_are_followed_inside_the_directory_only(tmp_path: Path) -> None:
    outside = put(tmp_path, "outside.yaml", CLIENT)
    root = tmp_path / "manifests"
    put(root, "..data/real.yaml", CLIENT)
    (root / "a.yaml").symlink_to("..data/real.yaml")
    (root / "b.yaml").symlink_to(outside)
    (root / "c.yaml").symlink_to("nothing")
    (root / "loop.yaml").symlink_to(".")
    os.mkfifo(root / "pipe.yaml")
    seen = load(root)
    assert list(seen.objects) == [WORKER]
    assert [Path(p.file).name for p in seen.problems] == ["b.yaml", "c.yaml", "loop.yaml", "pipe.yaml"]
    assert all(p.fix for p in seen.problems)


@pytest.mark.parametrize("where", ["nothing", "file"])
def test_missing_directory_is_reported_as_unreadable(tmp_path: Path, where: str) -> None:
    put(tmp_path, "file", "")
    seen = load(tmp_path / where)
    assert only(seen).fix
    assert not seen.readable


def test_directory_deleted_during_the_read_is_not_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path, "a.yaml", CLIENT)
    put(tmp_path, "deleted/b.yaml", CLIENT)
    real = os.scandir

    def scandir(path: Any = ".") -> Any:
        if str(path).rstrip("/").endswith("deleted"):
            raise FileNotFoundError(2, "No such file or directory")
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    assert list(load(tmp_path).objects) == [WORKER]
    assert not load(tmp_path).problems
