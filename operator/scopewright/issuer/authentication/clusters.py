"""Clusters whose ServiceAccount tokens are accepted. Their keys are static, at a URL, or at the API server."""

import asyncio
import logging
from collections.abc import Mapping
from typing import Any, Final, Protocol

from scopewright.core.failures import Rejected, Unavailable
from scopewright.core.records.issuer import Cluster
from scopewright.core.records.names import LOCAL_CLUSTER
from scopewright.issuer.state.recognised import Holds
from scopewright.rate_budget import Clock
from scopewright.singleflight import RefreshDecision
from scopewright.stores import ServiceAccountIssuer
from scopewright.verifier.discovery import DEFAULT_MAX_AGE_SECONDS, Fetched, KeySource
from scopewright.verifier.fetch import RemoteKeys
from scopewright.verifier.keycache import KeyCache
from scopewright.verifier.keyset import KeySet
from scopewright.verifier.refusals import KeysUnavailable

log: Final = logging.getLogger(__name__)

_NO_KEYS: Final = "cannot fetch the keys of the cluster"


class ClusterKeys(Protocol):
    def fresh(self) -> KeySet | None:
        """The keys, if none of them are to be fetched."""

    async def ready(self) -> KeySet: ...

    async def ready_for_unknown_kid(self) -> KeySet: ...


class StaticKeys:
    """Keys in the platform's configuration."""

    def __init__(self, keys: tuple[dict[str, str], ...]) -> None:
        self._keys = KeySet.parse({"keys": list(keys)})

    def fresh(self) -> KeySet | None:
        return self._keys

    async def ready(self) -> KeySet:
        return self._keys

    async def ready_for_unknown_kid(self) -> KeySet:
        return self._keys


class ApiServerKeys:
    """The keys that the issuer's own API server publishes (OIDC discovery). All callers wait for one fetch."""

    def __init__(self, api: ServiceAccountIssuer, clock: Clock) -> None:
        self.issuer = ""
        self._api = api
        self._clock = clock
        self._cache = KeyCache()
        self._fetching: asyncio.Task[None] | None = None

    def fresh(self) -> KeySet | None:
        return self._cache.fresh(self._clock())

    async def ready(self) -> KeySet:
        need = self._cache.need(self._clock())
        if need in (RefreshDecision.NOW, RefreshDecision.SOON):
            fetching = self._fetch()
            if need is RefreshDecision.NOW:
                await asyncio.shield(fetching)
        return self._keys()

    async def ready_for_unknown_kid(self) -> KeySet:
        if self._fetching is not None:
            await asyncio.shield(self._fetching)
        elif self._cache.need_for_unknown_kid(self._clock()) is RefreshDecision.NOW:
            await asyncio.shield(self._fetch())
        return self._keys(must_be_reachable=True)

    def _keys(self, *, must_be_reachable: bool = False) -> KeySet:
        if self._cache.keys is None or (must_be_reachable and not self._cache.reachable):
            raise Unavailable(_NO_KEYS, retry_after=1.0)
        return self._cache.keys

    def _fetch(self) -> asyncio.Task[None]:
        if self._fetching is None:
            self._fetching = asyncio.create_task(self._discover(), name="cluster keys")
        return self._fetching

    async def _discover(self) -> None:
        try:
            self.issuer, jwks = await self._api.discover()
            keys = KeySet.parse(jwks, self._cache.keys)
            self._cache.received(Fetched("", keys, None, DEFAULT_MAX_AGE_SECONDS), self._clock())
        except (Rejected, Unavailable, ValueError) as failure:
            self._cache.failed(self._clock())
            log.warning("cannot fetch the keys of the cluster's ServiceAccount tokens: %s", failure)
        finally:
            self._fetching = None


class TrustedCluster:
    """A cluster whose ServiceAccount tokens are accepted."""

    def __init__(self, cluster: Cluster, keys: ClusterKeys, reviewer: ServiceAccountIssuer | None) -> None:
        self._cluster = cluster
        self._keys = keys
        self._reviewer = reviewer
        self._holds: tuple[KeySet, str, Holds] | None = None

    @property
    def needs_discovery(self) -> bool:
        """Whether its `iss` is known only from the API server."""
        return not self._cluster.issuer and isinstance(self._keys, ApiServerKeys)

    async def issuer(self) -> str:
        """The `iss` of its tokens; raises `Unavailable` while it is not known."""
        if self.needs_discovery:
            await self._keys.ready()
        return self._known_issuer

    @property
    def _known_issuer(self) -> str:
        return self._cluster.issuer or (self._keys.issuer if isinstance(self._keys, ApiServerKeys) else "")

    def holds(self, keys: KeySet, issuer: str) -> Holds | None:
        """Whether a token that these keys of this `iss` have verified is verified without asking again: as long as
        `keys` is the cluster's key set, and none are to be fetched. None: the API server reviews each token.
        """
        if self._reviewer is not None:
            return None
        if self._holds is None or self._holds[0] is not keys or self._holds[1] != issuer:
            self._holds = keys, issuer, lambda: self._keys.fresh() is keys and self._known_issuer == issuer
        return self._holds[2]

    async def keys(self, kid: object) -> KeySet:
        """The key set, with the key `kid` if the cluster has it; raises `Unavailable`."""
        try:
            keys = await self._keys.ready()
            for _ in range(2):  # a fetch in progress may have begun before the key was published
                if keys.get(str(kid)):
                    break
                keys = await self._keys.ready_for_unknown_kid()
        except KeysUnavailable as failure:
            raise Unavailable(_NO_KEYS, retry_after=failure.retry_after) from None
        return keys

    async def review(self, token: str, audience: str) -> bool:
        """Whether the API server accepts the token (TokenReview); true where no review is configured."""
        return self._reviewer is None or await self._reviewer.review(token, audience)


class TrustedClusters:
    """The clusters of the issuer record, by name. A cluster whose entry has not changed keeps its keys."""

    def __init__(self, api_server: ServiceAccountIssuer | None, clock: Clock) -> None:
        self._api_server = api_server
        self._clock = clock
        self._records: tuple[Cluster, ...] = ()
        self._trusted: dict[str, TrustedCluster] = {}

    def of(self, records: tuple[Cluster, ...]) -> Mapping[str, TrustedCluster]:
        if records is not self._records:
            before = {record.name: record for record in self._records}
            kept = {n: t for n, t in self._trusted.items() if n in before and before[n] in records}
            new = {record.name: self._trust(record) for record in records if record.name not in kept}
            self._trusted = kept | {name: cluster for name, cluster in new.items() if cluster}
            self._records = records
        return self._trusted

    def _trust(self, cluster: Cluster) -> TrustedCluster | None:
        keys = self._source(cluster)
        return TrustedCluster(cluster, keys, self._api_server if cluster.token_review else None) if keys else None

    def _source(self, cluster: Cluster) -> ClusterKeys | None:
        if cluster.keys:
            return StaticKeys(cluster.keys)
        if cluster.name == LOCAL_CLUSTER and not cluster.jwks_uri:
            return ApiServerKeys(self._api_server, self._clock) if self._api_server else None
        try:
            return RemoteKeys(KeySource(cluster.issuer, cluster.jwks_uri or None), None, self._clock, KeyCache())
        except ValueError as error:
            log.warning("ignoring cluster %s: %s", cluster.name, error)
            return None


async def cluster_of(claims: Mapping[str, Any], clusters: Mapping[str, TrustedCluster]) -> str | None:
    """The name of the cluster whose `iss` these claims have. A cluster that needs discovery is tried last."""
    for name, cluster in sorted(clusters.items(), key=lambda item: item[1].needs_discovery):
        if claims.get("iss") == await cluster.issuer():
            return name
    return None
