"""Plans one key, by its kind: what the cache and the store have, and the core's decision."""

from scopewright.api import IdentityProvider, OAuthClient, ResourceServer, ScopeGrant
from scopewright.controller.cache import Cache
from scopewright.controller.orphan_records import OrphanRecords, Recorded
from scopewright.controller.provider_checks import LastChecks
from scopewright.controller.provider_views import ProviderViews
from scopewright.controller.views import Dependencies, ReconcileProgress, ViewBuilder
from scopewright.core.client.plan import plan_client
from scopewright.core.config import Config
from scopewright.core.grant_status import plan_grant
from scopewright.core.lifecycle import is_paused_or_deleting
from scopewright.core.objects import Ref
from scopewright.core.plan import NOTHING, Plan
from scopewright.core.providers.plan import plan_provider
from scopewright.core.servers import plan_server
from scopewright.core.signing.plan import plan_signing_key
from scopewright.stores import Objects


class Planner:
    """Reads, and writes nothing."""

    def __init__(
        self, store: Objects, cache: Cache, config: Config, dependencies: Dependencies, checks: LastChecks
    ) -> None:
        self._cache = cache
        self._views = ViewBuilder(cache, config, dependencies)
        self._provider_views = ProviderViews(store, cache, config, dependencies, checks)
        self._orphan_records = OrphanRecords(store, cache, dependencies.clock)

    def set_seal_key(self, key: bytes) -> bool:
        """See `Reconciler.set_seal_key`."""
        before, self._views.seal_key = self._views.seal_key, key
        return key != before

    async def plan(self, key: Ref, progress: ReconcileProgress) -> Plan:
        """The next writes for one object, or its status where there are none. Nothing is written here."""
        obj = self._cache.declared[key.kind].get(key)
        if isinstance(obj, Recorded) and self._orphan_records.may_be_deleted(key, obj):
            return NOTHING
        if isinstance(obj, Recorded) and is_paused_or_deleting(obj.metadata):
            plan = await self._orphan_records.plan(key, obj, progress.failed_writes)
            if plan.writes:
                return plan
        if isinstance(obj, OAuthClient):
            return plan_client(self._views.client_view(obj, progress))
        if isinstance(obj, ResourceServer):
            return plan_server(self._views.server_view(obj, progress))
        if isinstance(obj, ScopeGrant):
            return plan_grant(self._views.grant_view(obj, progress))
        if isinstance(obj, IdentityProvider):
            return plan_provider(await self._provider_views.view(obj, progress))
        if key.kind == "SigningKey":
            return plan_signing_key(self._views.signing_key_view(key, obj, progress))
        self._provider_views.deleted(key)
        return await self._orphan_records.plan(key, None, progress.failed_writes)
