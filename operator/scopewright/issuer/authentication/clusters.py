"""The keys of the clusters whose ServiceAccount tokens are taken: given, at a URL, or at the API server next door."""

import asyncio
import logging
from collections.abc import Mapping
from typing import Any, Final, Protocol

from scopewright.core.failures import Rejected, Unavailable
from scopewright.core.records import LOCAL_CLUSTER, Cluster
from scopewright.issuer.rate_budget import Clock
from scopewright.singleflight import RefreshDecision
from scopewright.stores import ServiceAccountIssuer
from scopewright.verifier.discovery import DEFAULT_MAX_AGE, Fetched, KeySource
from scopewright.verifier.keycache import KeyCache
from scopewright.verifier.keyset import KeySet
from scopewright.verifier.refusals import KeysUnavailable as KeysUnavailable
from scopewright.verifier.remote import RemoteKeys

log: Final = logging.getLogger(__name__)


class ClusterKeys(Protocol):
    async def ready(self) -> KeySet: ...

    async def ready_for_unknown_kid(self) -> KeySet: ...


class StaticKeys:
    """Keys out of the platform's configuration."""

    def __init__(self, keys: tuple[dict[str, str], ...]) -> None:
        self._keys = KeySet.parse({"keys": list(keys)})

    async def ready(self) -> KeySet:
        return self._keys

    async def ready_for_unknown_kid(self) -> KeySet:
        return self._keys


class ApiServerKeys:
    """The keys that our API server publishes about itself (OIDC discovery); fetched once for all that wait."""

    def __init__(self, api: ServiceAccountIssuer, clock: Clock) -> None:
        self.issuer = ""
        self._api = api
        self._clock = clock
        self._cache = KeyCache()
        self._fetching: asyncio.Task[None] | None = None

    async def ready(self) -> KeySet:
        need = self._cache.need(self._clock())
        if need in (RefreshDecision.NOW, RefreshDecision.SOON):
            fetching = self._fetch()
            if need is RefreshDecision.NOW:
                await asyncio.shield(fetching)
        return self._keys()

    async def ready_for_unknown_kid(self) -> KeySet:
        if self._cache.need_for_unknown_kid(self._clock()) is RefreshDecision.NOW:
            await asyncio.shield(self._fetch())
        elif self._fetching is not None:
            await asyncio.shield(self._fetching)
        return self._keys(asked=True)

    def _keys(self, *, asked: bool = False) -> KeySet:
        if self._cache.keys is None or (asked and not self._cache.reachable):
            raise Unavailable("the keys of the cluster cannot be had", retry_after=1.0)
        return self._cache.keys

    def _fetch(self) -> asyncio.Task[None]:
        if self._fetching is None:
            self._fetching = asyncio.create_task(self._discover(), name="cluster keys")
        return self._fetching

    async def _discover(self) -> None:
        try:
            self.issuer, jwks = await self._api.discover()
            keys = KeySet.parse(jwks, self._cache.keys)
            self._cache.received(Fetched("", keys, None, DEFAULT_MAX_AGE), self._clock())
        except (Rejected, Unavailable, ValueError) as failure:
            self._cache.failed(self._clock())
            log.warning("the keys of the cluster's ServiceAccount tokens: %s", failure)
        finally:
            self._fetching = None


class TrustedCluster:
    """A cluster whose tokens are taken."""

    def __init__(self, cluster: Cluster, keys: ClusterKeys, reviewer: ServiceAccountIssuer | None) -> None:
        self._cluster = cluster
        self._keys = keys
        self._reviewer = reviewer

    @property
    def must_be_asked(self) -> bool:
        """For its `iss`."""
        return not self._cluster.issuer and isinstance(self._keys, ApiServerKeys)

    async def issuer(self) -> str:
        """The `iss` of its tokens. `Unavailable` while that is not known."""
        if self._cluster.issuer or not isinstance(self._keys, ApiServerKeys):
            return self._cluster.issuer
        await self._keys.ready()
        return self._keys.issuer

    async def keys(self, kid: object) -> KeySet:
        """A set with the key of this id, if there is one. `Unavailable` where the cluster cannot be asked."""
        try:
            keys = await self._keys.ready()
            return keys if keys.get(str(kid)) else await self._keys.ready_for_unknown_kid()
        except KeysUnavailable as away:
            raise Unavailable("the keys of the cluster cannot be had", retry_after=away.retry_after) from None

    async def reviewed(self, token: str, audience: str) -> bool:
        """Whether the API server takes it still, where it is to be asked."""
        return self._reviewer is None or await self._reviewer.review(token, audience)


class TrustedClusters:
    """By name, as the issuer record says; what has not changed in it keeps its keys."""

    def __init__(self, next_door: ServiceAccountIssuer | None, clock: Clock) -> None:
        self._next_door = next_door
        self._clock = clock
        self._records: tuple[Cluster, ...] = ()
        self._trusted: dict[str, TrustedCluster] = {}

    def of(self, records: tuple[Cluster, ...]) -> Mapping[str, TrustedCluster]:
        if records is not self._records:
            before = dict(zip((c.name for c in self._records), self._records, strict=True))
            kept = {n: t for n, t in self._trusted.items() if n in before and before[n] in records}
            made = {c.name: self._trust(c) for c in records if c.name not in kept}
            self._trusted = kept | {name: cluster for name, cluster in made.items() if cluster}
            self._records = records
        return self._trusted

    def _trust(self, cluster: Cluster) -> TrustedCluster | None:
        keys = self._source(cluster)
        return TrustedCluster(cluster, keys, self._next_door if cluster.token_review else None) if keys else None

    def _source(self, cluster: Cluster) -> ClusterKeys | None:
        if cluster.keys:
            return StaticKeys(cluster.keys)
        if cluster.name == LOCAL_CLUSTER and not cluster.jwks_uri:
            return ApiServerKeys(self._next_door, self._clock) if self._next_door else None
        try:
            return RemoteKeys(KeySource(cluster.issuer, cluster.jwks_uri or None), None, self._clock, KeyCache())
        except ValueError as error:
            log.warning("cluster %s is not taken: %s", cluster.name, error)
            return None


async def cluster_of(claims: Mapping[str, Any], trusted: Mapping[str, TrustedCluster]) -> str | None:
    """The name of the cluster whose token it says to be. One that has to be asked first is asked last."""
    for name, cluster in sorted(trusted.items(), key=lambda item: item[1].must_be_asked):
        if claims.get("iss") == await cluster.issuer():
            return name
    return None
