"""Collects the current state for one IdentityProvider: the objects that it names are read each time, not watched."""

from dataclasses import replace

from scopewright.api import IdentityProvider
from scopewright.controller.cache import Cache
from scopewright.controller.provider_checks import LastChecks
from scopewright.controller.views import Dependencies, ReconcileProgress
from scopewright.core.config import Config
from scopewright.core.declared import ref_of
from scopewright.core.failures import Rejected
from scopewright.core.objects import Ref
from scopewright.core.providers.record import check_target
from scopewright.core.providers.view import ProviderView, Referenced, ReferencedObject, references
from scopewright.core.session_stores import apart_until
from scopewright.stores import Objects


class ProviderViews:
    """Builds views, and has the providers in them checked."""

    def __init__(
        self, store: Objects, cache: Cache, config: Config, dependencies: Dependencies, checks: LastChecks
    ) -> None:
        self._store = store
        self._cache = cache
        self._config = config
        self._dependencies = dependencies
        self._checks = checks

    async def view(self, provider: IdentityProvider, progress: ReconcileProgress) -> ProviderView:
        """`Unavailable` if an object that it names cannot be read at the moment."""
        key, managed = ref_of(provider), self._cache.managed
        record_object, record = managed.provider_record(provider)
        is_own_namespace = provider.namespace == self._config.namespace
        view = ProviderView(
            provider=provider,
            record=record,
            record_object=record_object,
            others=tuple(p for p in managed.providers.values() if p.record.name != provider.name),
            referenced=await self._read(provider) if is_own_namespace else {},
            config=self._config,
            now=self._dependencies.clock(),
            sessions_apart_until=apart_until(managed.usage.session_stores) if managed.usage else None,
            allow_loopback=self._dependencies.local,
            events=progress.events,
            failed_writes=progress.failed_writes,
        )
        is_checked = is_own_namespace and not provider.metadata.deletion_timestamp
        self._checks.expect(key, check_target(view) if is_checked else None)
        return replace(view, check=self._checks.last(key))

    def deleted(self, key: Ref) -> None:
        """Check the provider no longer."""
        self._checks.expect(key, None)

    async def _read(self, provider: IdentityProvider) -> Referenced:
        """The core decides which of them may be used: only then are their entries looked at."""
        if provider.metadata.deletion_timestamp:
            return {}
        found: dict[Ref, ReferencedObject | Rejected | None] = {}
        for ref in references(provider):
            try:
                stored = await self._store.read(ref)
            except Rejected as why:
                found[ref] = why
            else:
                found[ref] = ReferencedObject(*stored) if stored else None
        return found
