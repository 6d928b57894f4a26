"""A backup is restored into a new cluster: restored credentials work there, and no new ones are created."""

import contextlib
from collections.abc import Iterator

import httpx
import jwt
import pytest

from scopewright.core.records.names import SEAL_KEY_NAME
from tests.controlplane import ControlPlane

from .conftest import connected, serve_crds
from .installation import Installation
from .kube import SCOPEWRIGHT_KINDS, Kube, Manifest
from .payroll import Payroll
from .waiting import until


def backup(installation: Installation, *namespaces: str) -> list[Manifest]:
    """Objects as backup tools store them: without UIDs, resourceVersions, owners and status."""
    objects = []
    for namespace in (installation.namespace, *namespaces):
        for kind in ("Secret", "ConfigMap", *SCOPEWRIGHT_KINDS):
            for found in installation.kube.list(kind, namespace):
                meta = found["metadata"]
                if (
                    kind in SCOPEWRIGHT_KINDS
                    or meta.get("labels", {}).get("app.kubernetes.io/managed-by") == "scopewright"
                ):
                    names = ("name", "namespace", "labels", "annotations")
                    manifest = {k: v for k, v in found.items() if k not in ("status", "metadata")}
                    manifest["metadata"] = {name: meta[name] for name in names if name in meta}
                    objects.append({"kind": kind, **manifest})
    return objects


@contextlib.contextmanager
def restored(former: Installation, objects: list[Manifest], plane: ControlPlane) -> Iterator[Installation]:
    """The same installation in another cluster, started after its objects were restored."""
    folder = former.folder / "restored"
    folder.mkdir()
    with connected(plane.kubeconfig) as api, contextlib.closing(Kube(api)) as kube:
        for name in sorted({manifest["metadata"]["namespace"] for manifest in objects}):
            kube.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
        for manifest in objects:
            kube.apply(manifest)
        again = Installation(plane, kube, folder, former.name, resync="1s")
        again.issuer_url = former.issuer_url
        with again:
            yield again


@pytest.mark.parametrize("with_records", [True, False], ids=["all of it", "without records and signing keys"])
def test_restored_credentials_work_in_a_new_cluster(own_installation: Installation, with_records: bool) -> None:
    former = own_installation
    payroll = Payroll(former.make_namespace)
    former.apply_and_wait(*payroll.manifests)
    credentials, kids = former.credentials(payroll.client), former.jwks()
    token = former.token(*credentials)
    objects = backup(former, payroll.caller, payroll.owner)
    if not with_records:
        own = former.namespace
        objects = [m for m in objects if m["metadata"]["namespace"] != own or m["metadata"]["name"] == SEAL_KEY_NAME]
    for process in (former.operator, former.issuer):
        assert process is not None
        process.kill()
    with ControlPlane() as plane:
        serve_crds(plane)
        with restored(former, objects, plane) as again:
            again.wait_until_ready(*payroll.manifests)
            assert again.credentials(payroll.client) == credentials
            until(lambda: again.error(*credentials) == "", lambda: again.logs())
            made = [entry["reason"] for entry in again.status(payroll.client)["history"]]
            assert made == ["CredentialAdopted"]
            if with_records:
                assert again.jwks() == kids, "no new key was made"
                keys = jwt.PyJWKSet.from_dict(httpx.get(f"{again.issuer_url}/jwks.json", trust_env=False).json())
                key = next(k for k in keys.keys if k.key_id == jwt.get_unverified_header(token)["kid"])
                jwt.decode(token, key, algorithms=["ES256"], audience=payroll.audience)
