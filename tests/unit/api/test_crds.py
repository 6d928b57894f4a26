"""The command that writes crds/, and the files that it writes."""

from pathlib import Path

import pytest
import yaml

from scopewright.api.crds import definitions, main

_CRDS = Path(__file__).resolve().parents[3] / "crds"


def test_files_in_the_repository_match_the_models(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--check", str(_CRDS)]) == 0, f"run `make crds`:\n{capsys.readouterr().out}"


def test_written_files_pass_the_check(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path / "new")]) == 0
    assert main(["--check", str(tmp_path / "new")]) == 0
    assert capsys.readouterr().out == ""


def test_differences_are_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main([str(tmp_path)])
    changed = tmp_path / "oauthclients.yaml"
    changed.write_text(changed.read_text().replace("default: 720h", "default: 721h"))
    (tmp_path / "signingkeys.yaml").unlink()
    (tmp_path / "obsolete.yaml").write_text("a: 1\n")
    assert main(["--check", str(tmp_path)]) == 1
    shown = capsys.readouterr().out
    assert "-                      default: 721h" in shown or "721h" in shown
    assert "+kind: CustomResourceDefinition" in shown
    assert "-a: 1" in shown


def test_file_contains_the_definition() -> None:
    for name, definition in definitions().items():
        assert yaml.safe_load((_CRDS / name).read_text()) == definition


def test_members_of_a_jwk_are_not_booleans() -> None:
    """Kubernetes reads YAML 1.1, where a bare y is true and a bare n is false."""
    lines = {line.strip() for line in (_CRDS / "oauthclients.yaml").read_text().splitlines()}
    assert {"'y':", "'n':"} <= lines
    assert not {"y:", "n:"} & lines


def test_names_do_not_collide_with_other_kinds() -> None:
    """In particular with OpenShift's OAuthClient and with `rs`, the short name of ReplicaSet."""
    names = [definition["spec"]["names"] for definition in definitions().values()]
    assert [name["shortNames"] for name in names] == [["swc"], ["swr"], ["swg"], ["swk"], ["swi"]]
    assert all(name["categories"] == ["oauth"] for name in names)


def test_first_columns_are_ready_and_reason() -> None:
    for definition in definitions().values():
        [version] = definition["spec"]["versions"]
        columns = version["additionalPrinterColumns"]
        assert [column["name"] for column in columns[:2]] == ["Ready", "Reason"]
        assert columns[-1]["name"] == "Age"


def test_columns_with_future_times_are_strings() -> None:
    """kubectl prints a `date` in the future as <invalid>."""
    for definition in definitions().values():
        for column in definition["spec"]["versions"][0]["additionalPrinterColumns"]:
            if column["name"] in ("Next Rotation", "Expires", "Signs Until"):
                assert column["type"] == "string"
