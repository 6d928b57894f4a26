"""`scopewright export rules`: what is printed or written, and what is refused."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from scopewright.cli.export_rules import INVALID, NOT_EXPORTED, export_rules
from scopewright.verifier.rules import Rules
from tests.cases.crd_rules import manifest

SCOPEWRIGHT = Path(sys.executable).with_name("scopewright")
READ = {"name": "read", "methods": ["GET"], "paths": ["/salaries/**"], "scopes": ["payroll.read"]}


def declare(directory: Path, name: str, *rules: dict[str, Any], **http: Any) -> Path:
    scopes = [{"name": "payroll.read"}]
    server = manifest("ResourceServer", {"scopes": scopes, "http": {"rules": list(rules), **http}}, name)
    file = directory / f"{name}.yaml"
    file.write_text(yaml.safe_dump(server, sort_keys=False))
    return file


def run(*arguments: object, given: str = "") -> "subprocess.CompletedProcess[str]":
    command = [str(SCOPEWRIGHT), "export", "rules", *map(str, arguments)]
    return subprocess.run(command, input=given, capture_output=True, text=True, timeout=60, check=False)


def test_rules_are_printed_as_the_middleware_loads_them(tmp_path: Path) -> None:
    declare(tmp_path, "payroll", READ, basePath="/v1", caseSensitive=False)
    (tmp_path / "client.yaml").write_text(yaml.safe_dump(manifest("OAuthClient")))
    process = run(tmp_path)
    assert (process.returncode, process.stderr) == (0, "")
    assert json.loads(process.stdout) == {
        "audience": "https://payroll.default.svc",
        "basePath": "/v1",
        "caseSensitive": False,
        "rules": [READ],
    }
    (tmp_path / "rules.json").write_text(process.stdout)
    rule = Rules.load(tmp_path / "rules.json").find("HEAD", ("salaries", "7"))
    assert rule is not None
    assert rule.name == "read"


def test_manifests_are_read_from_standard_input(tmp_path: Path) -> None:
    text = declare(tmp_path, "payroll", READ).read_text()
    assert json.loads(run("-", given=text).stdout)["rules"] == [READ]


def test_one_of_several_is_named_or_each_is_written_to_a_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    manifests, out = tmp_path / "manifests", tmp_path / "out" / "rules"
    manifests.mkdir()
    declare(manifests, "payroll", READ)
    declare(manifests, "leave", {**READ, "name": "days"})
    assert export_rules(str(manifests), None, None) == NOT_EXPORTED
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "pass one of these as --resource-server" in printed.err
    assert printed.err.splitlines()[1:] == ["  default/leave", "  default/payroll"]

    assert export_rules(str(manifests), "default/leave", None) == 0
    assert json.loads(capsys.readouterr().out)["rules"][0]["name"] == "days"

    assert export_rules(str(manifests), None, out) == 0
    assert capsys.readouterr().out == ""
    names = {file.name: Rules.load(file).audience for file in out.iterdir()}
    assert names == {
        "default.leave.json": "https://leave.default.svc",
        "default.payroll.json": "https://payroll.default.svc",
    }


@pytest.mark.parametrize("name", ["default/nothing", "payroll", "default/client"])
def test_an_unknown_resource_server_is_an_error_with_those_that_have_rules(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    declare(tmp_path, "payroll", READ)
    assert export_rules(str(tmp_path), name, None) == NOT_EXPORTED
    assert f"{name} has no rules: pass one of default/payroll" in capsys.readouterr().err


def test_a_directory_without_rules_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "server.yaml").write_text(yaml.safe_dump(manifest("ResourceServer")))
    assert export_rules(str(tmp_path), None, None) == NOT_EXPORTED
    assert "add spec.http" in capsys.readouterr().err
    assert export_rules(str(tmp_path / "missing"), None, None) == NOT_EXPORTED
    assert "the directory cannot be read" in capsys.readouterr().err


def test_an_invalid_manifest_is_an_error_with_its_line_and_nothing_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    declare(tmp_path, "payroll", READ)
    broken = declare(tmp_path, "leave", {**READ, "methods": ["get"]})
    line = broken.read_text().splitlines().index("      methods:") + 1
    assert export_rules(str(tmp_path), None, tmp_path / "out") == INVALID
    printed = capsys.readouterr().err
    assert f"leave.yaml:{line}: spec.http.rules[0].methods" in printed
    assert "methods must be in upper case" in printed
    assert not (tmp_path / "out").exists()


def test_rules_that_contradict_each_other_are_an_error_with_the_line_of_the_rule(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = declare(tmp_path, "payroll", READ, {**READ, "name": "again"})
    line = file.read_text().splitlines().index("    - name: again") + 1
    assert export_rules(str(tmp_path), None, None) == INVALID
    printed = capsys.readouterr()
    assert printed.out == ""
    assert f"{file}:{line}: ResourceServer default/payroll: rules read and again both have /salaries/**" in printed.err


def test_a_rule_with_an_undeclared_scope_or_role_is_an_error_with_its_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write = {"name": "write", "paths": ["/"], "anyScope": ["payroll.write"]}
    file = declare(tmp_path, "payroll", READ, write)
    line = file.read_text().splitlines().index("    - name: write") + 1
    assert export_rules(str(tmp_path), None, None) == INVALID
    printed = capsys.readouterr().err
    assert (
        f"{file}:{line}: ResourceServer default/payroll: rule write of spec.http needs scope payroll.write" in printed
    )
    declare(tmp_path, "payroll", READ, {"name": "manage", "paths": ["/"], "roles": ["manager"]})
    assert export_rules(str(tmp_path), None, None) == INVALID
    assert "rule manage of spec.http needs role manager" in capsys.readouterr().err


def test_a_method_that_a_more_specific_pattern_hides_is_a_warning_and_the_rules_are_exported(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write = {"name": "write", "methods": ["PUT"], "paths": ["/salaries/*"], "scopes": ["payroll.read"]}
    file = declare(tmp_path, "payroll", READ, write)
    line = file.read_text().splitlines().index("    - name: write") + 1
    assert export_rules(str(tmp_path), None, None) == 0
    printed = capsys.readouterr()
    assert [rule["name"] for rule in json.loads(printed.out)["rules"]] == ["read", "write"]
    assert printed.err.startswith(
        f"scopewright: warning: {file}:{line}: ResourceServer default/payroll: GET /salaries/* is refused: "
    )
    assert printed.err.endswith("add /salaries/* to the paths of rule read\n")


def test_a_directory_that_cannot_be_written_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    declare(tmp_path, "payroll", READ)
    (tmp_path / "file").write_text("")
    assert export_rules(str(tmp_path), None, tmp_path / "file") == NOT_EXPORTED
    assert f"{tmp_path / 'file'} cannot be written (File exists): pass a directory" in capsys.readouterr().err
