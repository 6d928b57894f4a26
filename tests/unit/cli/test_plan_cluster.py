"""`scopewright plan --cluster`: manifests planned against a running installation."""

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from scopewright.cli.plan import ACCEPTED, NO_PLAN, REFUSED, Request, plan_to_outputs
from scopewright.core.config import Config
from scopewright.core.installation import plan_issuer, plan_seal_key
from scopewright.core.objects import Existing, Ref
from scopewright.core.records.names import client_record_name
from tests.harness.operator import SEAL_KEY, OperatorHarness, run_sync
from tests.harness.samples import ISSUER, NAMESPACE
from tests.unit.cli.cluster import ReadOnlyApi

SERVER = {"scopes": [{"name": "payroll.read"}, {"name": "payroll.write"}]}
GRANT = {"resourceServer": "payroll-api", "scopes": ["payroll.read"], "to": [{"namespace": "leave"}]}
CLIENT = {"access": [{"resourceServer": "payroll-api", "namespace": "payroll", "scopes": ["payroll.read"]}]}


class Repository:
    """A directory of manifests, which is planned against the cluster of the harness."""

    def __init__(self, directory: Path, harness: OperatorHarness) -> None:
        self.directory = directory / "manifests"
        self.directory.mkdir()
        self.output = directory / "plan.json"
        self.harness = harness

    def write(self, kind: str, namespace: str, name: str, spec: Any = None, **annotations: str) -> None:
        given = {f"scopewright.dev/{key}": value for key, value in annotations.items()}
        meta = {"namespace": namespace, "name": name, **({"annotations": given} if given else {})}
        manifest = {"apiVersion": "scopewright.dev/v1alpha1", "kind": kind, "metadata": meta, "spec": spec or {}}
        (self.directory / f"{namespace}-{name}.json").write_text(json.dumps(manifest))

    def plan(self, expect: int = ACCEPTED, **flags: Any) -> dict[str, Any]:
        """The plan as JSON. Asserts the exit code, and that nothing was written and nothing secret printed."""
        before = len(self.harness.store.writes)
        request = Request(str(self.directory), cluster=True, outputs=(f"json={self.output}",), **flags)
        api = ReadOnlyApi(self.harness)
        assert plan_to_outputs(request, api.connected, self.harness.clock.now) == expect
        assert len(self.harness.store.writes) == before
        plan: dict[str, Any] = json.loads(self.output.read_text())
        text = self.output.read_text()
        assert "placeholder" not in text
        assert not any(c.sha256 in text for r in self.harness.cache.managed.clients.values() for c in r.credentials)
        return plan


@pytest.fixture
def harness() -> OperatorHarness:
    """A settled installation with a ResourceServer, a client and a grant."""
    harness = OperatorHarness()
    desired = plan_issuer(harness.config, None)
    assert desired is not None
    run_sync(harness.store.write(desired))
    run_sync(harness.store.write(plan_seal_key(harness.config, SEAL_KEY)))
    harness.namespaces = {"payroll": {}, "leave": {}, NAMESPACE: {}}
    harness.apply("SigningKey", NAMESPACE, "default")
    harness.apply("ResourceServer", "payroll", "payroll-api", SERVER)
    harness.apply("ScopeGrant", "payroll", "leave-reads", GRANT)
    harness.apply("OAuthClient", "leave", "worker", CLIENT)
    harness.settle()
    harness.clock.advance(days=1)
    harness.settle()
    return harness


@pytest.fixture
def repository(tmp_path: Path, harness: OperatorHarness) -> Repository:
    return Repository(tmp_path, harness)


def write_all(repository: Repository) -> None:
    repository.write("ResourceServer", "payroll", "payroll-api", SERVER)
    repository.write("ScopeGrant", "payroll", "leave-reads", GRANT)
    repository.write("OAuthClient", "leave", "worker", CLIENT)


def unchanged(plan: dict[str, Any]) -> bool:
    sections = ("credentials", "keys", "secrets", "objects", "refusals")
    return not any(plan[s] for s in sections) and not any(plan["access"].values())


def test_manifests_that_the_cluster_has_change_nothing(repository: Repository) -> None:
    write_all(repository)
    assert unchanged(repository.plan())


def test_objects_that_the_directory_lacks_stay(repository: Repository) -> None:
    repository.write("ResourceServer", "payroll", "payroll-api", SERVER)
    assert unchanged(repository.plan())


def test_prune_deletes_only_in_the_named_namespaces(repository: Repository) -> None:
    repository.write("ResourceServer", "payroll", "payroll-api", SERVER)
    plan = repository.plan(prune=True)
    assert [o["action"] + " " + o["name"] for o in plan["objects"]] == ["deleted leave-reads"]
    assert [(a["client"], a["scope"]) for a in plan["access"]["lost"]] == [("leave/worker", "payroll.read")]


def test_prune_deletes_nothing_while_a_file_cannot_be_read(repository: Repository) -> None:
    repository.write("ResourceServer", "payroll", "payroll-api", SERVER)
    (repository.directory / "torn.yaml").write_text("kind: [")
    assert repository.plan(NO_PLAN, prune=True)["objects"] == []


def test_a_deleted_client_deletes_its_secret_and_record(repository: Repository) -> None:
    repository.write("OAuthClient", "leave", "another", CLIENT)
    plan = repository.plan(prune=True)
    assert {"kind": "OAuthClient", "namespace": "leave", "name": "worker"}.items() <= plan["credentials"][1].items()
    assert [(s["name"], s["action"]) for s in plan["secrets"]] == [
        ("another-oauth", "made"),
        ("worker-oauth", "deleted"),
    ]


def test_revoked_before_revokes_earlier_credentials(repository: Repository, harness: OperatorHarness) -> None:
    instant = f"{harness.clock.now - timedelta(hours=1):%FT%TZ}"
    repository.write("OAuthClient", "leave", "worker", {**CLIENT, "rotation": {"revokedBefore": instant}})
    (change,) = repository.plan()["credentials"]
    assert change["action"] == "revoked"
    assert "are refused until they read the new one" in change["detail"]


def test_a_rotation_that_is_due_anyway_is_not_part_of_the_plan(
    repository: Repository, harness: OperatorHarness
) -> None:
    harness.clock.advance(days=31)
    write_all(repository)
    assert unchanged(repository.plan())


def test_a_foreign_secret_is_a_conflict(repository: Repository, harness: OperatorHarness) -> None:
    harness.store.put(Existing(Ref("Secret", "leave", "new-oauth"), "", "", "Opaque"), {"a": b"b"})
    repository.write("OAuthClient", "leave", "new", CLIENT)
    (refusal,) = repository.plan(REFUSED)["refusals"]
    assert refusal["reason"] == "SecretConflict"
    assert (refusal["file"], refusal["line"]) == (str(repository.directory / "leave-new.json"), 1)


def test_a_missing_namespace_is_refused(repository: Repository) -> None:
    repository.write("OAuthClient", "nowhere", "new", CLIENT)
    assert repository.plan(REFUSED)["refusals"][0]["reason"] == "NamespaceNotFound"
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "nowhere"}}
    (repository.directory / "namespace.json").write_text(json.dumps(namespace))
    repository.plan()


def test_a_change_that_breaks_another_object_is_refused(repository: Repository) -> None:
    repository.write("ResourceServer", "payroll", "payroll-api", {"scopes": [{"name": "payroll.write"}]})
    (refusal,) = repository.plan(REFUSED)["refusals"]
    assert (refusal["kind"], refusal["name"], refusal["reason"]) == ("ScopeGrant", "leave-reads", "UnknownScope")
    assert "file" not in refusal


def test_problems_outside_the_directory_that_existed_before_are_not_refused(
    repository: Repository, harness: OperatorHarness
) -> None:
    harness.apply("ScopeGrant", "payroll", "broken", {**GRANT, "resourceServer": "nothing"})
    harness.settle()
    write_all(repository)
    assert unchanged(repository.plan())


def test_audiences_are_checked_against_the_platforms_configuration(repository: Repository, tmp_path: Path) -> None:
    repository.write("ResourceServer", "payroll", "own", {"audience": "https://payroll.example"})
    assert [w["reason"] for w in repository.plan()["warnings"]] == ["AudienceUnchecked"]
    config = tmp_path / "config.yaml"
    config.write_text("audiences: [{prefix: 'https://hr.example', namespaces: [payroll]}]")
    (refusal,) = repository.plan(REFUSED, config=config)["refusals"]
    assert refusal["reason"] == "AudienceNotAllowed"
    config.write_text("audiences: [{prefix: 'https://payroll.example', namespaces: [payroll]}]")
    assert repository.plan(config=config)["warnings"] == []


def test_the_limits_of_the_installation_are_applied(tmp_path: Path) -> None:
    strict = OperatorHarness(Config(issuer=ISSUER, max_token_lifetime=timedelta(minutes=10)))
    desired = plan_issuer(strict.config, None)
    assert desired is not None
    run_sync(strict.store.write(desired))
    strict.namespaces = {"payroll": {}}
    repository = Repository(tmp_path, strict)
    repository.write("ResourceServer", "payroll", "payroll-api", {"tokens": {"lifetime": "20m"}})
    assert [w["reason"] for w in repository.plan()["warnings"]] == ["LifetimeTooLong"]


def test_a_missing_service_account_is_not_refused(repository: Repository) -> None:
    for name in ("pods", "others"):
        authentication = {"method": "ServiceAccount", "serviceAccount": {"name": name}}
        repository.write("OAuthClient", "leave", name, {"authentication": authentication})
    plan = repository.plan()
    assert [(w["name"], w["reason"]) for w in plan["warnings"]] == [("others", "ServiceAccountNotFound")]
    assert {c["detail"] for c in plan["credentials"]} == {"none is needed: it authenticates by ServiceAccount"}


def test_an_object_that_cannot_be_parsed_does_not_stop_the_plan(
    repository: Repository, harness: OperatorHarness
) -> None:
    harness.store.apply({"kind": "ScopeGrant", "metadata": {"namespace": "leave", "name": "later"}, "spec": {"new": 1}})
    write_all(repository)
    assert "is ignored" in repository.plan()["warnings"][0]["message"]


def test_a_malformed_record_is_replaced_and_does_not_stop_the_plan(
    repository: Repository, harness: OperatorHarness
) -> None:
    harness.store.edit(Ref("Secret", NAMESPACE, client_record_name("leave", "worker")), **{"record.json": b"{"})
    write_all(repository)
    assert unchanged(repository.plan())


def test_each_missing_right_is_named(
    repository: Repository, harness: OperatorHarness, capsys: pytest.CaptureFixture[str]
) -> None:
    write_all(repository)
    request = Request(str(repository.directory), cluster=True)
    api = ReadOnlyApi(harness, "secrets", "scopegrants")
    assert plan_to_outputs(request, api.connected, harness.clock.now) == NO_PLAN
    stderr = capsys.readouterr().err
    assert 'cannot list resource "secrets"' in stderr
    assert 'cannot list resource "scopegrants"' in stderr


def test_without_an_installation_the_issuer_url_is_required(
    repository: Repository, harness: OperatorHarness, capsys: pytest.CaptureFixture[str]
) -> None:
    repository.write("OAuthClient", "leave", "worker", CLIENT)
    request = Request(str(repository.directory), cluster=True, namespace="elsewhere")
    assert plan_to_outputs(request, ReadOnlyApi(harness).connected, harness.clock.now) == NO_PLAN
    assert "--issuer-url" in capsys.readouterr().err
