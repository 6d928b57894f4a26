"""What declared objects name: who is to look again when that changes."""

from collections import defaultdict
from typing import Any

from scopewright.api import OAuthClient, ScopeGrant
from scopewright.core.access import requested_access
from scopewright.core.declared import Declared, ref_of
from scopewright.core.objects import Ref
from scopewright.core.records.names import LOCAL_CLUSTER

Keys = set[Ref]


def status_target(obj: Declared) -> dict[str, Any]:
    """What `Objects.write_status` takes: this object, at the version that is known of it."""
    meta = {"name": obj.name, "namespace": obj.namespace, "uid": obj.uid}
    return {"kind": obj.KIND, "metadata": {**meta, "resourceVersion": obj.metadata.resource_version}}


def secret_of(client: OAuthClient) -> Ref:
    """The Secret that the client names."""
    return Ref("Secret", client.namespace, client.secret_name)


def service_account_of(client: OAuthClient) -> Ref | None:
    """The one of this cluster that the client names."""
    named = client.spec.authentication.service_account
    here = named is not None and named.cluster in (None, LOCAL_CLUSTER)
    return Ref("ServiceAccount", client.namespace, named.name) if named and here else None


class ReferenceIndex:
    """Kept by `add` and `remove` of each object; looked up without making anything."""

    def __init__(self) -> None:
        self._clients_asking: defaultdict[Any, Keys] = defaultdict(set)
        self._grants_on: defaultdict[Any, Keys] = defaultdict(set)
        self._clients_naming: defaultdict[Any, Keys] = defaultdict(set)
        self._clients_as: defaultdict[Any, Keys] = defaultdict(set)
        self._clients_by_uid: dict[str, Ref] = {}

    def clients_asking(self, server: str) -> Keys:
        """The clients that ask for something at `<namespace>/<name>`."""
        return self._clients_asking.get(server, set())

    def grants_on(self, server: str) -> Keys:
        return self._grants_on.get(server, set())

    def clients_naming(self, secret: Ref) -> Keys:
        """Clients by the Secret that they name; by the owner's mistake that may be more than one."""
        return self._clients_naming.get(secret, set())

    def clients_as(self, account: Ref) -> Keys:
        """Clients by the ServiceAccount that proves who they are."""
        return self._clients_as.get(account, set())

    def client(self, uid: str) -> Ref | None:
        return self._clients_by_uid.get(uid)

    def add(self, obj: Declared) -> None:
        for index, key in self._places(obj):
            index[key].add(ref_of(obj))
        if isinstance(obj, OAuthClient):
            self._clients_by_uid[obj.uid] = ref_of(obj)

    def remove(self, obj: Declared | None) -> None:
        if obj is None:
            return
        for index, key in self._places(obj):
            index[key].discard(ref_of(obj))
            if not index[key]:
                del index[key]
        if isinstance(obj, OAuthClient):
            self._clients_by_uid.pop(obj.uid, None)

    def _places(self, obj: Declared) -> list[tuple[defaultdict[Any, Keys], Any]]:
        if isinstance(obj, OAuthClient):
            asked = {a.resource_server for a in requested_access(obj)}
            places: list[tuple[defaultdict[Any, Keys], Any]] = [(self._clients_asking, server) for server in asked]
            if account := service_account_of(obj):
                places.append((self._clients_as, account))
            return [*places, (self._clients_naming, secret_of(obj))]
        if isinstance(obj, ScopeGrant):
            return [(self._grants_on, f"{obj.namespace}/{obj.spec.resource_server}")]
        return []
