"""Several installations in one cluster: only their Leases and SigningKeys."""

import asyncio
import random
from copy import deepcopy
from datetime import timedelta
from typing import Any, cast

from scopewright.controller.claims import Claims
from scopewright.controller.lease import Lease
from scopewright.core.claims import LEASE_NAME
from scopewright.core.config import Config
from scopewright.core.failures import Conflict, Unavailable
from scopewright.core.plan import Event
from scopewright.stores.kubernetes.answers import NotFound
from scopewright.stores.kubernetes.api import Api
from tests.harness.clock import Clock
from tests.harness.samples import ISSUER

Raw = dict[str, Any]


class Cluster:
    """The objects of the API server. `random` delays requests, so that they overtake each other."""

    def __init__(self, seed: int = 0) -> None:
        self.random = random.Random(seed)
        self.clock = Clock()
        self.objects: dict[tuple[str, str, str], Raw] = {}
        self.version = 0
        self.writes: list[str] = []
        self.skew = 0.0
        """Seconds by which the clocks of API servers differ from `clock`."""

    def names(self, plural: str) -> set[str]:
        """Namespaces with an object of this kind."""
        return {namespace for of, namespace, _ in self.objects if of == plural}

    def delete(self, plural: str, namespace: str) -> None:
        for key in [key for key in self.objects if key[:2] == (plural, namespace)]:
            del self.objects[key]

    def lease(self, namespace: str) -> Raw:
        return self.objects["leases", namespace, LEASE_NAME]


class ReplicaApi:
    """The `Api` of one replica. Once `dead`, none of its requests arrives; `dies_after` counts writes until then."""

    def __init__(self, cluster: Cluster, user: str, uid: str) -> None:
        self.cluster, self.user, self.uid = cluster, user, uid
        self.dead = False
        self.dies_after = -1

    async def get(self, path: str, **query: str) -> Raw:
        return await self.request("GET", path, query=query)

    async def request(self, method: str, path: str, *, body: Any = None, **_: Any) -> Raw:
        await self._delay()
        if self.dead:
            raise Unavailable("dead")
        answer = self._respond(method, path.strip("/").split("/"), body)
        if method != "GET":
            self.dies_after -= 1
            self.dead = self.dies_after == 0
        await self._delay()
        return deepcopy(answer)

    async def _delay(self) -> None:
        for _ in range(self.cluster.random.randrange(4)):
            await asyncio.sleep(0)

    def _respond(self, method: str, parts: list[str], body: Any) -> Raw:
        if parts[-1] == "selfsubjectreviews":
            return {"status": {"userInfo": {"username": self.user, "uid": self.uid}}}
        plural, namespace, name = _place(parts)
        objects, key = self.cluster.objects, (plural, namespace, name)
        if method == "GET" and not name:
            items = [o for (of, at, _), o in objects.items() if of == plural and namespace in ("", at)]
            return {"metadata": {"resourceVersion": "1"}, "items": items}
        if method == "POST":
            key = plural, namespace, body["metadata"]["name"]
            if key in objects:
                raise Conflict("already exists")
            return self._store(key, body, None)
        if key not in objects:
            raise NotFound("not found", named=True)
        known = objects[key]
        if method == "GET":
            return known
        if body["metadata"]["resourceVersion"] != known["metadata"]["resourceVersion"]:
            raise Conflict("changed")
        return self._store(key, body, known)

    def _store(self, key: tuple[str, str, str], body: Raw, known: Raw | None) -> Raw:
        cluster = self.cluster
        cluster.version += 1
        cluster.writes.append("/".join(key))
        created = cluster.clock.now + timedelta(seconds=cluster.random.uniform(-cluster.skew, cluster.skew))
        former = known["metadata"] if known else {}
        meta = {
            **body["metadata"],
            "namespace": key[1],
            "uid": former.get("uid") or f"{cluster.random.getrandbits(64):016x}",
            "creationTimestamp": former.get("creationTimestamp") or created.strftime("%Y-%m-%dT%H:%M:%SZ"),
            "resourceVersion": str(cluster.version),
        }
        cluster.objects[key] = {**deepcopy(body), "metadata": meta}
        return cluster.objects[key]


class Replica:
    """One replica of the operator of the installation in `namespace`: only its leadership."""

    def __init__(self, cluster: Cluster, namespace: str, identity: str = "", **settings: Any) -> None:
        self.config = Config(issuer=ISSUER, namespace=namespace, **settings)
        self.events: list[Event] = []
        self.cluster = cluster
        self.api = ReplicaApi(cluster, f"system:serviceaccount:{namespace}:scopewright-operator", f"uid of {namespace}")
        api, name = cast("Api", self.api), identity or f"operator of {namespace}"
        self.claims = Claims(api, self.config, self.events.append, monotonic=cluster.clock)
        self.lease = Lease(api, namespace, LEASE_NAME, name, self.claims, monotonic=cluster.clock)

    @property
    def leads(self) -> bool:
        return not self.api.dead and self.lease.leads

    async def try_to_lead(self) -> bool:
        return await self.lease._try()


def _place(parts: list[str]) -> tuple[str, str, str]:
    """Plural, namespace and name of a path of the API."""
    rest, namespace = parts[2:] if parts[0] == "api" else parts[3:], ""
    if rest[0] == "namespaces":
        namespace, rest = rest[1], rest[2:]
    return rest[0], namespace, rest[1] if len(rest) > 1 else ""
