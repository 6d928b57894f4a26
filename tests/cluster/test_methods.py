"""Clients with a key pair or a ServiceAccount, and clients that change their method."""

import json
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from scopewright.client import ClientCredentials, TokenError
from scopewright.core.objects import digest

from .installation import Install, Installation, decoded
from .kube import Manifest
from .payroll import MakeNamespace, Payroll
from .waiting import until

PAIR = {"method": "PrivateKeyJWT"}
ACCOUNT = {"method": "ServiceAccount", "serviceAccount": {"name": "worker"}}


class Worker:
    """The payroll client, with its Secret and its projected token as a Pod has them mounted."""

    def __init__(self, installation: Installation, make_namespace: MakeNamespace, folder: Path) -> None:
        self.installation = installation
        self.payroll = Payroll(make_namespace)
        self.folder = folder
        installation.apply_and_wait(self.payroll.server, self.payroll.grant)

    def declared(self, authentication: dict[str, Any], **annotations: str) -> Manifest:
        client = self.payroll.client
        meta = {**client["metadata"], "annotations": {f"scopewright.dev/{k}": v for k, v in annotations.items()}}
        return {**client, "metadata": meta, "spec": {**client["spec"], "authentication": authentication}}

    def record(self) -> dict[str, Any]:
        found = self.installation.client_record(self.payroll.client)
        assert found is not None
        record: dict[str, Any] = json.loads(decoded(found)["record.json"])
        return record

    def entries(self) -> dict[str, str]:
        return self.installation.secret(self.payroll.caller, "leave-worker-oauth")

    def until_entries(self, holds: str, *other_than: str | None) -> dict[str, str]:
        """Wait until the Secret has this entry, with a new value; for "", until it has no credential."""

        def look() -> dict[str, str] | None:
            found = self.entries()
            if not holds:
                return None if {"client_secret", "private_key.jwk"} & set(found) else found
            return found if found.get(holds) not in (None, *other_than) else None

        return until(look, lambda: self.installation.status(self.payroll.client))

    def mount(self, entries: dict[str, str]) -> "Worker":
        for file in self.folder.iterdir():
            if file.name != "token":
                file.unlink()
        for name, value in entries.items():
            (self.folder / name).write_text(value)
        return self

    def project_token(self) -> str:
        token = self.installation.kube.service_account_token(
            self.payroll.caller, "worker", self.installation.issuer_url
        )
        (self.folder / "token").write_text(token)
        return token

    def error(self) -> str:
        """The error of a token request by a new process with the mounted files; "" if it gets a token."""
        try:
            ClientCredentials(self.folder).token_sync()
        except TokenError as error:
            return error.error
        return ""

    def service_account(self) -> Manifest:
        meta = {"name": "worker", "namespace": self.payroll.caller}
        return {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": meta}


@pytest.fixture(scope="module")
def installation(install: Install) -> Installation:
    """Its issuer reads the keys of the cluster's ServiceAccount tokens from the API server."""
    return install("methods", resync="1s")


@pytest.fixture
def worker(installation: Installation, make_namespace: MakeNamespace, tmp_path: Path) -> Worker:
    return Worker(installation, make_namespace, tmp_path)


def test_a_key_pair_is_created_rotated_and_accepted_through_its_overlap(worker: Worker) -> None:
    worker.installation.apply_and_wait(worker.declared(PAIR))
    first = worker.entries()
    assert "client_secret" not in first
    assert worker.mount(first).error() == ""
    worker.installation.apply(worker.declared(PAIR, rotate="now"))
    second = worker.until_entries("private_key.jwk", first["private_key.jwk"])
    assert worker.mount(second).error() == ""
    assert worker.mount(first).error() == "", "the previous pair lost its overlap"
    until(lambda: "previousExpirationTime" in worker.installation.status(worker.payroll.client)["credentials"])
    by_hash = {c["sha256"]: c["jwk"]["kid"] for c in worker.record()["credentials"]}
    assert by_hash == {
        digest(entries["private_key.jwk"]): json.loads(entries["private_key.jwk"])["kid"] for entries in (first, second)
    }


def test_a_key_pair_whose_record_is_lost_is_adopted(worker: Worker) -> None:
    """The public key is in an annotation of the Secret, which the seal covers."""
    worker.installation.apply_and_wait(worker.declared(PAIR))
    first, kept = worker.entries(), worker.record()["credentials"]
    worker.installation.kube.delete(
        "Secret", worker.installation.namespace, worker.installation.client_record_name(worker.payroll.client)
    )
    until(lambda: worker.installation.client_record(worker.payroll.client))
    assert worker.record()["credentials"] == kept
    assert worker.entries() == first
    assert worker.mount(first).error() == ""


def test_a_client_changes_from_secret_to_key_pair_and_back(worker: Worker) -> None:
    worker.installation.apply_and_wait(worker.payroll.client)
    before_that = worker.entries()
    secret = before_that["client_secret"]
    worker.installation.apply_and_wait(worker.declared(PAIR))
    pair = worker.until_entries("private_key.jwk")
    assert "client_secret" not in pair
    assert worker.mount(pair).error() == ""
    assert worker.mount(before_that).error() == "", "the previous secret lost its overlap"
    until(lambda: "previousExpirationTime" in worker.installation.status(worker.payroll.client)["credentials"])
    before, now = worker.record()["credentials"]
    assert (before["sha256"], "jwk" in before, "expirationTime" in before) == (digest(secret), False, True)
    assert (now["sha256"], "expirationTime" in now) == (digest(pair["private_key.jwk"]), False)
    worker.installation.apply_and_wait(worker.declared({"method": "ClientSecret"}))
    again = worker.until_entries("client_secret", secret)
    assert "private_key.jwk" not in again
    assert worker.mount(again).error() == ""
    assert worker.mount(pair).error() == "", "the previous key pair lost its overlap"


def test_declared_public_keys_are_accepted_and_the_secret_holds_no_credential(worker: Worker) -> None:
    private = json.loads(jwt.algorithms.ECAlgorithm.to_jwk(ec.generate_private_key(ec.SECP256R1())))
    public = {name: private[name] for name in ("kty", "crv", "x", "y")} | {"kid": "laptop"}
    worker.installation.apply_and_wait(worker.declared({**PAIR, "jwks": {"keys": [public]}}))
    entries = worker.entries()
    assert not {"client_secret", "private_key.jwk"} & set(entries)
    assert worker.mount({**entries, "private_key.jwk": json.dumps(private | {"kid": "laptop"})}).error() == ""
    assert worker.record()["publicKeys"] == [public]


def test_a_service_account_is_followed_by_its_uid(worker: Worker) -> None:
    kube, account = worker.installation.kube, worker.service_account()
    worker.installation.apply(worker.declared(ACCOUNT))
    message = worker.installation.wait_for(worker.payroll.client, "ServiceAccountNotFound")["message"]
    assert f"kubectl -n {worker.payroll.caller} create serviceaccount worker" in message
    first = kube.apply(account)["metadata"]["uid"]
    worker.installation.wait_until_ready(worker.payroll.client)
    assert worker.record()["serviceAccount"] == {"name": "worker", "uid": first, "cluster": "in-cluster"}
    worker.mount(worker.until_entries(""))
    old = worker.project_token()
    assert worker.error() == ""
    kube.delete("ServiceAccount", worker.payroll.caller, "worker")
    worker.installation.wait_for(worker.payroll.client, "ServiceAccountNotFound")
    assert "serviceAccount" not in worker.record()
    second = kube.apply(account)["metadata"]["uid"]
    until(lambda: worker.record().get("serviceAccount", {}).get("uid") == second)
    worker.project_token()
    until(lambda: worker.error() == "")
    (worker.folder / "token").write_text(old)
    assert worker.error() == "invalid_client", "a token of the previous ServiceAccount is accepted"


def test_a_secret_is_accepted_until_the_service_account_exists(worker: Worker) -> None:
    worker.installation.apply_and_wait(worker.payroll.client)
    before = worker.entries()
    worker.installation.apply(worker.declared(ACCOUNT))
    worker.installation.wait_for(worker.payroll.client, "ServiceAccountNotFound")
    assert worker.entries() == before
    assert worker.mount(before).error() == ""
    worker.installation.kube.apply(worker.service_account())
    worker.installation.wait_until_ready(worker.payroll.client)
    worker.mount(worker.until_entries("")).project_token()
    assert worker.error() == ""
    until(lambda: [c for c in worker.record()["credentials"] if "expirationTime" in c])
    assert worker.installation.status(worker.payroll.client)["binding"] == {"name": "leave-worker-oauth"}


def test_a_cluster_that_is_not_configured_is_reported(worker: Worker) -> None:
    elsewhere = {"name": "worker", "cluster": "eu-1", "uid": "5c9a"}
    worker.installation.apply(worker.declared({"method": "ServiceAccount", "serviceAccount": elsewhere}))
    assert "eu-1" in worker.installation.wait_for(worker.payroll.client, "UnknownCluster")["message"]


def test_token_review_refuses_a_deleted_service_account_that_the_record_still_names(
    install: Install, make_namespace: MakeNamespace, tmp_path: Path
) -> None:
    """The client is paused, so its record still names the deleted ServiceAccount."""
    reviewing = install("reviewing", resync="1s", clusters=[{"name": "in-cluster", "tokenReview": True}])
    worker = Worker(reviewing, make_namespace, tmp_path)
    reviewing.kube.apply(worker.service_account())
    reviewing.apply_and_wait(worker.declared(ACCOUNT))
    worker.mount(worker.entries()).project_token()
    assert worker.error() == ""
    reviewing.apply(worker.declared(ACCOUNT, paused="true"))
    until(lambda: "paused" in str(reviewing.read(worker.payroll.client)["metadata"]["annotations"]))
    reviewing.delete(worker.service_account())
    until(lambda: worker.error() == "invalid_client", lambda: reviewing.logs())
    assert "token_review" in reviewing.log("issuer")
    assert "serviceAccount" in worker.record()
