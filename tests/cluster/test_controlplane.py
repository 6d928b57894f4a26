"""Properties of the control plane that the other tests rely on."""

import os
from collections.abc import Callable

import pytest
from kubernetes import client

from tests.controlplane import Cluster
from tests.controlplane.binaries import VERSION

from .waiting import eventually, returns_status


def _config_map(core: client.CoreV1Api, namespace: str, name: str) -> client.V1ObjectMeta:
    made = core.create_namespaced_config_map(
        namespace, client.V1ConfigMap(metadata=client.V1ObjectMeta(name=name), data={"a": "b"})
    )
    assert made.metadata is not None
    return made.metadata


def _managed_secret(core: client.CoreV1Api, namespace: str) -> None:
    owner = client.V1OwnerReference(
        api_version="v1", kind="ConfigMap", name="owner", uid=str(_config_map(core, namespace, "owner").uid)
    )
    core.create_namespaced_secret(
        namespace, client.V1Secret(metadata=client.V1ObjectMeta(name="owned", owner_references=[owner]))
    )


def _collected(core: client.CoreV1Api, namespace: str) -> bool:
    core.delete_namespaced_config_map("owner", namespace)
    return eventually(lambda: returns_status(404, lambda: core.read_namespaced_secret("owned", namespace)))


@pytest.mark.skipif("KUBEBUILDER_ASSETS" in os.environ, reason="KUBEBUILDER_ASSETS names another version")
def test_the_control_plane_has_the_version_that_the_tests_build(restartable: Cluster, api: client.ApiClient) -> None:
    assert client.VersionApi(api).get_code().git_version == VERSION


def test_the_four_kinds_are_served(crds: Cluster, api: client.ApiClient) -> None:
    served = client.CustomObjectsApi(api).get_api_resources("scopewright.dev", "v1alpha1").resources
    kinds = {resource.kind for resource in served}
    assert {"OAuthClient", "ResourceServer", "ScopeGrant", "SigningKey"} <= kinds


def test_the_garbage_collector_deletes_owned_objects(api: client.ApiClient, namespace: str) -> None:
    core = client.CoreV1Api(api)
    _managed_secret(core, namespace)
    assert _collected(core, namespace)


def test_a_deleted_namespace_takes_its_objects_with_it(api: client.ApiClient, namespace: str) -> None:
    core = client.CoreV1Api(api)
    _managed_secret(core, namespace)
    core.delete_namespace(namespace)
    assert eventually(lambda: returns_status(404, lambda: core.read_namespace(namespace)))


def test_a_new_namespace_gets_its_service_account(api: client.ApiClient, namespace: str) -> None:
    core = client.CoreV1Api(api)
    assert eventually(lambda: returns_status(200, lambda: core.read_namespaced_service_account("default", namespace)))


def test_a_user_without_rights_is_refused(
    as_user: Callable[..., client.ApiClient], api: client.ApiClient, namespace: str
) -> None:
    stranger = client.CoreV1Api(as_user("stranger", "visitors"))
    with pytest.raises(client.ApiException, match='User \\\\"stranger\\\\" cannot list') as refusal:
        stranger.list_namespaced_secret(namespace)
    assert refusal.value.status == 403
    client.RbacAuthorizationV1Api(api).create_namespaced_role_binding(
        namespace,
        client.V1RoleBinding(
            metadata=client.V1ObjectMeta(name="visitors"),
            role_ref=client.V1RoleRef(api_group="rbac.authorization.k8s.io", kind="ClusterRole", name="edit"),
            subjects=[client.RbacV1Subject(api_group="rbac.authorization.k8s.io", kind="Group", name="visitors")],
        ),
    )
    assert eventually(lambda: returns_status(200, lambda: stranger.list_namespaced_secret(namespace)))


def test_a_restarted_api_server_keeps_its_data(restartable: Cluster, api: client.ApiClient, namespace: str) -> None:
    core = client.CoreV1Api(api)
    _managed_secret(core, namespace)
    before = _config_map(core, namespace, "kept")
    restartable.stop_apiserver()
    try:
        with pytest.raises(Exception, match="refused"):
            core.read_namespaced_config_map("kept", namespace)
    finally:
        restartable.start_apiserver()
    after = core.read_namespaced_config_map("kept", namespace)
    assert after.data == {"a": "b"}
    assert after.metadata is not None
    assert after.metadata.resource_version == before.resource_version
    assert _collected(core, namespace)
