"""Index of the references between declared objects: what depends on which object."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

from scopewright.api import IdentityProvider, OAuthClient, ResourceServer, ScopeGrant, SigningKey
from scopewright.core.access import requested_access
from scopewright.core.declared import Declared, ref_of
from scopewright.core.objects import Ref
from scopewright.core.records.names import LOCAL_CLUSTER

Keys = set[Ref]
DeclaredByKind = Mapping[str, Mapping[Ref, Declared]]
K = TypeVar("K", OAuthClient, ResourceServer, ScopeGrant, SigningKey, IdentityProvider)


def all_of(declared: DeclaredByKind, kind: type[K]) -> Iterable[K]:
    return (obj for obj in declared[kind.KIND].values() if isinstance(obj, kind))


def status_target(obj: Declared) -> dict[str, Any]:
    """The argument of `Objects.write_status`: this object at its known version."""
    meta = {"name": obj.name, "namespace": obj.namespace, "uid": obj.uid}
    return {"kind": obj.KIND, "metadata": {**meta, "resourceVersion": obj.metadata.resource_version}}


def secret_of(client: OAuthClient) -> Ref:
    return Ref("Secret", client.namespace, client.secret_name)


def service_account_of(client: OAuthClient) -> Ref | None:
    """The ServiceAccount of this cluster that the client names, if any."""
    named = client.spec.authentication.service_account
    here = named is not None and named.cluster in (None, LOCAL_CLUSTER)
    return Ref("ServiceAccount", client.namespace, named.name) if named and here else None


def server_key(server: str) -> Ref:
    """The key of the ResourceServer `<namespace>/<name>`."""
    return Ref("ResourceServer", *server.split("/", 1))


class ReferenceIndex:
    """Declared objects by the objects that they name. `add` and `remove` are called for each declared object."""

    def __init__(self) -> None:
        self._referrers: defaultdict[tuple[str, Ref], Keys] = defaultdict(set)
        self._clients_by_uid: dict[str, Ref] = {}

    def referrers(self, kind: str, target: Ref) -> Keys:
        """The objects of this kind that name the ResourceServer, Secret or ServiceAccount."""
        return self._referrers.get((kind, target), set())

    def client(self, uid: str) -> Ref | None:
        return self._clients_by_uid.get(uid)

    def add(self, obj: Declared) -> None:
        for target in _targets(obj):
            self._referrers[obj.KIND, target].add(ref_of(obj))
        if isinstance(obj, OAuthClient):
            self._clients_by_uid[obj.uid] = ref_of(obj)

    def remove(self, obj: Declared | None) -> None:
        if obj is None:
            return
        for target in _targets(obj):
            referrers = self._referrers[obj.KIND, target]
            referrers.discard(ref_of(obj))
            if not referrers:
                del self._referrers[obj.KIND, target]
        if isinstance(obj, OAuthClient):
            self._clients_by_uid.pop(obj.uid, None)


def _targets(obj: Declared) -> set[Ref]:
    """The objects that this one names."""
    if isinstance(obj, OAuthClient):
        servers = {server_key(access.resource_server) for access in requested_access(obj)}
        return {*servers, secret_of(obj), *filter(None, [service_account_of(obj)])}
    return {Ref("ResourceServer", obj.namespace, obj.spec.resource_server)} if isinstance(obj, ScopeGrant) else set()
