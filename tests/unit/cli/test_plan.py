"""`scopewright plan` in CI: flags, exit codes and output."""

import json
import subprocess
import sys
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from scopewright.cli import plan as command
from scopewright.cli.plan import ACCEPTED, NO_PLAN, REFUSED, Connect, Request, plan_to_outputs
from scopewright.core.objects import Ref
from scopewright.plan.changes import Finding, Location, ObjectChange, PlanResult
from scopewright.plan.output.json import as_json
from scopewright.plan.output.markdown import LONGEST, as_markdown
from scopewright.plan.output.text import as_text
from tests.cases.crd_rules import CASES, manifest
from tests.harness.clock import START

SCOPEWRIGHT = Path(sys.executable).with_name("scopewright")
EXAMPLE = Path(__file__).parents[3] / "examples/hr/manifests"
NO_CLUSTER = cast("Connect", nullcontext)
CLIENT = """\
apiVersion: scopewright.dev/v1alpha1
kind: OAuthClient
metadata: {name: worker, namespace: leave}
"""


def run(*arguments: object, given: str = "") -> "subprocess.CompletedProcess[str]":
    command = [str(SCOPEWRIGHT), "plan", *map(str, arguments)]
    return subprocess.run(command, input=given, capture_output=True, text=True, timeout=60, check=False)


def test_the_example_is_accepted() -> None:
    process = run(EXAMPLE)
    assert process.returncode == 0, process.stderr
    line = (
        "staff/hr-desk gets payroll.read of payroll/payroll-api (granted by ScopeGrant payroll/hr-desk-reads-salaries)"
    )
    assert f"+ {line}" in process.stdout
    assert "\x1b" not in process.stdout


def test_standard_input_is_read_for_a_dash() -> None:
    process = run("-", given=CLIENT + "spec: {access: {}}\n")
    assert process.returncode == 1, process.stderr
    assert "stdin:4: spec.access" in process.stdout


@pytest.mark.parametrize("directory", ["nothing", "file.yaml"])
def test_a_path_that_is_not_a_directory_is_exit_code_2(directory: str, tmp_path: Path) -> None:
    (tmp_path / "file.yaml").write_text(CLIENT)
    process = run(tmp_path / directory)
    assert process.returncode == 2
    assert "the directory cannot be read" in process.stderr
    assert process.stdout == ""
    assert run(tmp_path, "--against", tmp_path / directory).returncode == 2


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        (Request(".", ".", cluster=True), "pass one of them"),
        (Request(".", prune=True), "--prune goes with --cluster"),
        (Request(".", outputs=("html",)), "write one of text, json, markdown, sarif"),
        (Request(".", outputs=("json=/nothing/at/all",)), "cannot be written"),
        (Request(".", config=Path("/nothing")), "cannot be read"),
        (Request(".", issuer="http://issuer.example.org"), "http is allowed for loopback only"),
    ],
)
def test_flags_that_exclude_each_other_are_exit_code_2(
    request_: Request, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert plan_to_outputs(request_, NO_CLUSTER) == NO_PLAN
    assert message in capsys.readouterr().err


def test_a_defect_of_the_command_is_not_reported_as_a_refusal(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(command, "plan_directories", broken)
    assert plan_to_outputs(Request(str(EXAMPLE)), NO_CLUSTER) == NO_PLAN
    assert "ZeroDivisionError" in caplog.text


def test_each_manifest_can_be_planned(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """All cases of the CRDs' rules at once: valid manifests are planned, invalid ones are refused with their rule."""
    for number, case in enumerate(CASES):
        named = {**case.manifest, "metadata": {**case.manifest["metadata"], "namespace": f"n-{number}"}}
        (tmp_path / f"{number}.json").write_text(json.dumps(named))
    assert plan_to_outputs(Request(str(tmp_path), outputs=("json",)), NO_CLUSTER, START) == REFUSED
    plan = json.loads(capsys.readouterr().out)
    invalid = {Path(r["file"]).stem for r in plan["refusals"] if r["reason"] == "Invalid"}
    assert invalid == {str(number) for number, case in enumerate(CASES) if case.path is not None}
    assert len(plan["objects"]) == len(CASES) - len(invalid) - plan["ignored"]


def test_the_configuration_of_the_platform_refuses_redirect_hosts_and_a_skipped_consent(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "team").mkdir()
    changes: dict[str, dict[str, Any]] = {
        "host": {"redirectURIs": ["https://evil.example/"]},
        "skip": {"consent": "Skip"},
    }
    for name, fields in changes.items():
        spec = {"grantTypes": ["authorization_code"], "login": {"redirectURIs": ["https://web.hr.example/"], **fields}}
        client = {**manifest("OAuthClient", name=name), "spec": spec}
        (tmp_path / "team" / f"{name}.json").write_text(json.dumps(client))
    config = tmp_path / "config.yaml"
    config.write_text(
        'issuer: https://issuer.example\nusers: {applications: [{namespaces: [default], hosts: ["*.hr.example"]}]}\n'
    )
    request = Request(str(tmp_path / "team"), config=config, outputs=("json",))
    assert plan_to_outputs(request, NO_CLUSTER, START) == REFUSED
    plan = json.loads(capsys.readouterr().out)
    found = {(r["name"], r["reason"]) for r in plan["refusals"]}
    assert found == {("host", "RedirectHostNotAllowed"), ("skip", "ConsentNotSkippable")}
    assert [(login["name"], login["action"]) for login in plan["logins"]] == [("skip", "made")]
    assert plan_to_outputs(replace(request, config=None), NO_CLUSTER, START) == ACCEPTED
    warned = {w["reason"] for w in json.loads(capsys.readouterr().out)["warnings"]}
    assert warned == {"RedirectHostUnchecked", "ConsentUnchecked"}
    unchanged = Request(str(tmp_path / "team"), against=str(tmp_path / "team"), outputs=("json",))
    assert plan_to_outputs(unchanged, NO_CLUSTER, START) == ACCEPTED
    assert {w["new"] for w in json.loads(capsys.readouterr().out)["warnings"]} == {False}, "they are counted only"


def test_the_configuration_of_the_platform_refuses_hostnames_and_open_paths(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "team").mkdir()
    health = {"name": "health", "paths": ["/healthz"], "authentication": "None"}
    everything = {"name": "all", "paths": ["/**"], "authentication": "Required"}
    apis: dict[str, dict[str, Any]] = {
        "own": {"hostnames": ["payroll.hr.example"], "rules": [everything]},
        "open": {"hostnames": ["payroll.hr.example"], "basePath": "/v2", "rules": [health]},
        "other": {"hostnames": ["staff.hr.example"], "rules": [everything]},
        "reserved": {"hostnames": ["issuer.example"], "rules": [everything]},
        "default": {"rules": [everything]},
    }
    for name, http in apis.items():
        server = {**manifest("ResourceServer", name=name), "spec": {"http": http}}
        (tmp_path / "team" / f"{name}.json").write_text(json.dumps(server))
    config = tmp_path / "config.yaml"
    config.write_text(
        "issuer: https://issuer.example\n"
        "gateway:\n"
        "  hostnames: [{hostname: payroll.hr.example, namespaces: [default]}]\n"
        "  unauthenticatedPaths: [/healthz]\n"
    )
    request = Request(str(tmp_path / "team"), config=config, outputs=("json",))
    assert plan_to_outputs(request, NO_CLUSTER, START) == REFUSED
    plan = json.loads(capsys.readouterr().out)
    assert {(r["name"], r["reason"]) for r in plan["refusals"]} == {
        ("open", "PublicNotAllowed"),
        ("other", "HostnameNotAllowed"),
        ("reserved", "HostnameNotAllowed"),
    }
    assert plan_to_outputs(replace(request, config=None), NO_CLUSTER, START) == ACCEPTED
    plan = json.loads(capsys.readouterr().out)
    assert [entry["paths"] for entry in plan["unauthenticated"]["gained"]] == [["/v2/healthz"]], "which is not checked"
    warned = {(w["name"], w["reason"]) for w in plan["warnings"]}
    unchecked = {(name, "HostnameUnchecked") for name in apis if name != "default"}
    assert unchecked == {(name, reason) for name, reason in warned if reason.endswith("Unchecked")}


def test_the_profile_refuses_clients_that_do_not_fit(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "team").mkdir()
    login = {"redirectURIs": ["https://web.hr.example/"]}
    key_pair = {"method": "PrivateKeyJWT"}
    specs: dict[str, dict[str, Any]] = {
        "public": {"authentication": {"method": "None"}, "login": login},
        "secret": {"login": login},
        "no-pkce": {"authentication": key_pair, "login": login | {"pkce": "Optional"}},
        "fits": {"authentication": key_pair, "login": login},
    }
    for name, spec in specs.items():
        client = {**manifest("OAuthClient", name=name), "spec": {"grantTypes": ["authorization_code"], **spec}}
        (tmp_path / "team" / f"{name}.json").write_text(json.dumps(client))
    config = tmp_path / "config.yaml"
    hosts = 'users: {applications: [{namespaces: [default], hosts: ["*.hr.example"]}]}'
    config.write_text(f"issuer: https://issuer.example\nprofile: FAPI2\n{hosts}\n")
    request = Request(str(tmp_path / "team"), config=config, outputs=("json",))
    assert plan_to_outputs(request, NO_CLUSTER, START) == REFUSED
    refusals = json.loads(capsys.readouterr().out)["refusals"]
    assert {(r["name"], r["reason"]) for r in refusals} == {
        ("public", "ProfileForbids"),
        ("secret", "ProfileForbids"),
        ("no-pkce", "ProfileForbids"),
    }


def test_one_run_writes_several_outputs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = {form: tmp_path / form for form in ("json", "markdown", "sarif")}
    outputs = ("text", *(f"{form}={file}" for form, file in files.items()))
    assert plan_to_outputs(Request(str(EXAMPLE), outputs=outputs), NO_CLUSTER, START) == ACCEPTED
    assert "Plan: 8 scopes gained" in capsys.readouterr().out
    assert all(file.read_text() for file in files.values())


def test_a_plan_leaves_no_file_beside_the_manifests(tmp_path: Path) -> None:
    (tmp_path / "client.yaml").write_text(CLIENT)
    plan_to_outputs(Request(str(tmp_path)), NO_CLUSTER, START)
    assert [path.name for path in tmp_path.iterdir()] == ["client.yaml"]


def test_a_manifest_cannot_control_a_terminal_or_comment(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    odd = '{"apiVersion": "scopewright.dev/v1alpha1", "kind": "OAuthClient", "metadata": {"name": "a"}, "%s": 1}'
    (tmp_path / "odd.json").write_text(odd % r"\u001b[2J\n````\n@everyone ![](https://evil.example)")
    assert plan_to_outputs(Request(str(tmp_path), outputs=("text", "markdown")), NO_CLUSTER, START) == REFUSED
    printed = capsys.readouterr().out
    assert "\x1b" not in printed
    fences = [line for line in printed.splitlines() if line.startswith("````")]
    assert fences == ["````text", "````"]


ODD = "##[add-mask]payroll ##vso[task.x] ###[group]a [here](https://evil.example) \u202e\x9b"


def test_a_manifest_cannot_control_a_ci_runner(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """CI runners execute `##[…]` anywhere in a line of standard output or error, and `::…::` at its beginning."""
    monkeypatch.chdir(tmp_path)
    broken = json.loads('{"apiVersion": "scopewright.dev/v1alpha1", "kind": "OAuthClient", "metadata": {"name": "a"}}')
    Path("::add-mask::x.json").write_text(json.dumps({**broken, ODD: 1}))
    Path("##[warning]y.yaml").write_text("a: {")
    outputs = ("text", "json", "markdown", "sarif")
    assert plan_to_outputs(Request(".", outputs=outputs), NO_CLUSTER, START) == NO_PLAN
    printed = capsys.readouterr()
    lines = [line.strip() for line in (printed.out + printed.err).splitlines()]
    assert not [line for line in lines if "##[" in line or "##vso[" in line or line.startswith("::")]
    assert not [line for line in lines if not line.isprintable()]
    assert "](https" not in printed.out.partition('"$schema"')[2]
    assert any(line.startswith(r"\u003a:add-mask::x.json:1: ") for line in lines)


def test_json_contains_the_texts_of_manifests_unchanged() -> None:
    result = PlanResult(refusals=(Finding(None, "Invalid", ODD, location=Location("a.yaml", 1)),))
    (refusal,) = json.loads(as_json(result))["refusals"]
    assert refusal["message"] == ODD


def test_a_markdown_comment_has_a_bounded_length() -> None:
    findings = tuple(Finding(None, "Invalid", "x" * 500, location=Location("a.yaml", n)) for n in range(1, 1000))
    text = as_markdown(PlanResult(refusals=findings))
    assert len(text) < LONGEST + 200
    assert text.count("\n````") % 2 == 0
    assert text.endswith("see the other outputs.\n")


@pytest.mark.parametrize("name", ["vault[/read]", "[red]", "a:smile:b"])
def test_names_are_escaped_for_the_terminal(name: str) -> None:
    changes = PlanResult(refusals=(Finding(None, "Invalid", name, location=Location(f"{name}.yaml", 1)),))
    assert as_text(changes).count(name) == 2
    assert as_text(changes, colour=True).count(name) == 2


def test_colours_are_printed_only_on_terminals() -> None:
    changes = PlanResult(objects=(ObjectChange(Ref("OAuthClient", "leave", "worker"), "made"),))
    assert "\x1b" in as_text(changes, colour=True)
    assert "\x1b" not in as_text(changes)
