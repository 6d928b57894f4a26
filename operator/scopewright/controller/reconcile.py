"""One key at a time: read the level, plan, apply, plan again until nothing is to be written, then the status."""

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final, Protocol

from pydantic import ValidationError

from scopewright.api import KINDS, OAuthClient, ResourceServer, ScopeGrant, SigningKey
from scopewright.controller.world import Declared, World
from scopewright.core.client_status import ClientView
from scopewright.core.clients import plan_client
from scopewright.core.config import Config
from scopewright.core.failures import Conflict, Rejected, Unavailable
from scopewright.core.grants import GrantView, plan_grant
from scopewright.core.keys import active
from scopewright.core.objects import Deletion, Desired, Ref, Write
from scopewright.core.plan import NOTHING, Happening, Plan, soonest
from scopewright.core.servers import ServerView, plan_server, plan_server_gone
from scopewright.core.signing import FreshKey, SigningView, config_map_of, plan_signing_key
from scopewright.stores import Store

MAX_STEPS: Final = 12
"""Far more than any plan needs: what still writes then does not settle."""

log = logging.getLogger(__name__)


class Recorder(Protocol):
    """Where events go. It must not block, and may drop."""

    def record(self, obj: Declared, happening: Happening) -> None: ...


@dataclass(frozen=True, slots=True)
class Sources:
    """What the core is not allowed to have by itself: time, and randomness."""

    clock: Callable[[], datetime]
    mint: Callable[[], str]
    make_key: Callable[[str], FreshKey]


class Reconciler:
    """Brings the store to what is declared. `may_write` is asked before each write: who lost the Lease writes none."""

    def __init__(
        self,
        store: Store,
        world: World,
        config: Config,
        sources: Sources,
        recorder: Recorder,
        *,
        enqueue: Callable[[Ref], None],
        may_write: Callable[[], bool] = lambda: True,
    ) -> None:
        self._store = store
        self._world = world
        self._config = config
        self._sources = sources
        self._recorder = recorder
        self._enqueue = enqueue
        self._may_write = may_write
        self.seal_key = b""
        self.departed: dict[Ref, str] = {}
        """Declared objects that were seen to go (or found gone by a resync), which alone lets their records go."""

    async def reconcile(self, key: Ref) -> datetime | None:
        """When time alone makes another look worth while. `Unavailable` and `Rejected` mean: try again later."""
        happened: tuple[Happening, ...] = ()
        for _ in range(MAX_STEPS):
            plan = await self._plan(key, happened)
            if not plan.writes:
                break
            if await self._apply(key, plan.writes):
                happened += plan.happenings
        else:
            raise Unavailable(f"{key} does not settle: something else keeps changing what it writes")
        return await self._finish(key, plan, happened)

    async def _plan(self, key: Ref, happened: tuple[Happening, ...]) -> Plan:
        obj = self._world.declared[key.kind].get(key)
        if isinstance(obj, OAuthClient):
            return plan_client(self._client_view(obj, happened))
        if isinstance(obj, ResourceServer):
            return plan_server(self._server_view(obj, happened))
        if isinstance(obj, ScopeGrant):
            return plan_grant(self._grant_view(obj, happened))
        if key.kind == "SigningKey":
            return plan_signing_key(self._signing_view(key, obj, happened))
        return await self._plan_gone(key)

    # Views: the level, gathered

    def _client_view(self, client: OAuthClient, happened: tuple[Happening, ...]) -> ClientView:
        world, owned = self._world, self._world.owned
        at = world.record_of_client(client.namespace, client.name)
        secret = Ref("Secret", client.namespace, client.secret_name)
        own = client.namespace
        asked = {f"{a.namespace or own}/{a.resource_server}" for a in client.spec.access}
        return ClientView(
            client=client,
            record=owned.clients.get(at),
            record_object=owned.objects.get(at),
            secret=owned.objects.get(secret),
            former_secrets=tuple(s for s in owned.belonging_to(client.uid) if s.ref != secret),
            servers={key: owned.servers[key] for key in asked if key in owned.servers},
            seal_key=self.seal_key,
            config=self._config,
            now=self._sources.clock(),
            mint=self._sources.mint,
            happened=happened,
        )

    def _server_view(self, server: ResourceServer, happened: tuple[Happening, ...]) -> ServerView:
        owned, key, now = self._world.owned, f"{server.namespace}/{server.name}", self._sources.clock()
        at = self._world.record_of_server(server.namespace, server.name)
        records = owned.key_records()
        names = {r.signing_key for r in records}
        return ServerView(
            server=server,
            record=owned.servers.get(key),
            record_object=owned.objects.get(at),
            grants=self._world.grants_on(key),
            namespaces=self._world.namespaces,
            claims=owned.claims(),
            signing=frozenset(n for n in names if active(tuple(r for r in records if r.signing_key == n), now)),
            config=self._config,
            now=now,
            happened=happened,
        )

    def _grant_view(self, grant: ScopeGrant, happened: tuple[Happening, ...]) -> GrantView:
        server = self._world.get(ResourceServer, grant.namespace, grant.spec.resource_server)
        return GrantView(
            grant=grant,
            server=server,
            clients=self._world.clients_asking(f"{grant.namespace}/{grant.spec.resource_server}"),
            namespaces=self._world.namespaces,
            now=self._sources.clock(),
            happened=happened,
        )

    def _signing_view(self, key: Ref, obj: Declared | None, happened: tuple[Happening, ...]) -> SigningView:
        owned = self._world.owned
        view = SigningView(
            name=key.name,
            key=obj if isinstance(obj, SigningKey) else None,
            keys=tuple(owned.keys.values()),
            jwks=None,
            config=self._config,
            now=self._sources.clock(),
            make_key=self._sources.make_key,
            happened=happened,
        )
        name = config_map_of(view)
        jwks = owned.objects.get(Ref("ConfigMap", self._config.namespace, name)) if name else None
        return replace(view, jwks=jwks)

    async def _plan_gone(self, key: Ref) -> Plan:
        """A declared object that is not there: its record goes, once it is proven that the object did."""
        owned = self._world.owned
        client_at = self._world.record_of_client(key.namespace, key.name)
        server_at = self._world.record_of_server(key.namespace, key.name)
        at = client_at if key.kind == "OAuthClient" else server_at
        existing = owned.objects.get(at)
        if key.kind not in ("OAuthClient", "ResourceServer") or existing is None or key not in self.departed:
            return NOTHING
        client, server = owned.clients.get(client_at), owned.servers.get(f"{key.namespace}/{key.name}")
        uid = client.uid if key.kind == "OAuthClient" and client else server.uid if server else ""
        since = existing.creation_time or self._sources.clock()
        match await self._store.absence(key, uid, since):
            case "present":
                del self.departed[key]
                return NOTHING
            case "unknown":
                raise Unavailable(f"{key} is not proven to be gone: its record stays")
        if key.kind == "OAuthClient":
            return Plan((Deletion(existing),))
        return plan_server_gone(server, existing, self._config) if server else NOTHING

    # Writes

    async def _apply(self, key: Ref, writes: tuple[Write, ...]) -> bool:
        """Write in order. False after a conflict, when what exists has been read anew and is to be planned for."""
        for write in writes:
            if not self._may_write():
                raise Unavailable("this replica does not lead: nothing is written")
            ref = write.ref if isinstance(write, Desired) else write.existing.ref
            try:
                await self._write(key, write)
            except Conflict as conflict:
                log.info("%s: %s", ref, conflict.message)
                await self._refresh(key, ref)
                return False
        return True

    async def _write(self, key: Ref, write: Write) -> None:
        if isinstance(write, Deletion):
            await self._store.delete(write)
            self._tell(key, self._world.drop_owned(write.existing.ref))
            return
        existing = await self._store.write(write)
        entries = {name: value for name, value in write.entries.items() if isinstance(value, bytes)}
        if len(entries) < len(write.entries):
            await self._refresh(key, write.ref)
        else:
            self._tell(key, self._world.put_owned(existing, entries))

    async def _refresh(self, key: Ref, ref: Ref) -> None:
        found = await self._store.read(ref)
        keys = self._world.put_owned(*found) if found else self._world.drop_owned(ref)
        self._tell(key, keys)

    def _tell(self, key: Ref, keys: set[Ref]) -> None:
        for other in keys - {key}:
            self._enqueue(other)

    # Status

    async def _finish(self, key: Ref, plan: Plan, happened: tuple[Happening, ...]) -> datetime | None:
        obj = self._world.declared[key.kind].get(key)
        if obj is None:
            self.departed.pop(key, None)
            return plan.due
        if plan.status is not None and plan.status != (obj.status.to_dict() if obj.status else None):
            await self._write_status(obj, plan.status)
        for happening in (*happened, *plan.happenings):
            self._recorder.record(obj, happening)
        return soonest(plan.due, self._again(plan))

    async def _write_status(self, obj: Declared, status: dict[str, Any]) -> None:
        if not self._may_write():
            raise Unavailable("this replica does not lead: nothing is written")
        meta = obj.metadata
        manifest = {
            "kind": obj.KIND,
            "metadata": {
                "name": obj.name,
                "namespace": obj.namespace,
                "uid": obj.uid,
                "resourceVersion": meta.resource_version,
            },
        }
        written = await self._store.write_status(manifest, status)
        self._world.put(parse_declared(written))

    def _again(self, plan: Plan) -> datetime | None:
        """What is not ready is looked at again after a while, in case that what helped went unnoticed."""
        conditions = (plan.status or {}).get("conditions", ())
        lacking = any(c["type"] == "Ready" and c["status"] != "True" for c in conditions)
        return self._sources.clock() + max(self._config.resync, timedelta(seconds=5)) if lacking else None


def parse_declared(raw: Any) -> Declared:
    """The object that a store holds. `Rejected` if it is none of the four kinds as we know them."""
    kind = KINDS.get(raw.get("kind", ""))
    if kind is None:
        raise Rejected("UnknownKind", f"not one of {', '.join(KINDS)}")
    try:
        obj = kind.model_validate(raw)
    except ValidationError as error:
        first = error.errors(include_input=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise Rejected("Invalid", f"{where}: {first['msg']} (is the CRD of this version installed?)") from None
    assert isinstance(obj, Declared)  # noqa: S101 (KINDS holds these four)
    return obj
