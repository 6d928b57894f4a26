"""The remote side of an issuer, which verifiers of several audiences share: keys, revocations and introspection."""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import Enum

from scopewright.issuer_metadata import IssuerMismatch
from scopewright.singleflight import Http
from scopewright.verifier.discovery import KeySource
from scopewright.verifier.feedcache import FeedCache, RevocationFeed
from scopewright.verifier.fetch import RemoteFeed, RemoteKeys
from scopewright.verifier.introspection import Introspection
from scopewright.verifier.introspection_requests import IntrospectionAnswer, IntrospectionRequests
from scopewright.verifier.keycache import KeyCache
from scopewright.verifier.keyset import KeySet
from scopewright.verifier.refusals import KeysUnavailable


class FetchStep(Enum):
    """Fetch what is due. The result of both is the current keys."""

    READY = "keys and revocations"
    UNKNOWN_KID = "keys, because of a kid that is not in the key set"


@dataclass(frozen=True, slots=True)
class IntrospectStep:
    """Ask the issuer about a token. The result is an `IntrospectionAnswer`."""

    requests: IntrospectionRequests
    token: str = field(repr=False)


IssuerStep = FetchStep | IntrospectStep
"""What a verification needs of the issuer."""


class RemoteIssuer:
    """`keys` and `feed` are the caches, which need no I/O to read."""

    def __init__(
        self,
        source: KeySource,
        http: Http | None,
        clock: Callable[[], float],
        feed: RevocationFeed | None,
        introspection: Introspection | None,
    ) -> None:
        self.keys = KeyCache()
        self.feed = FeedCache(feed)
        self._remote_keys = RemoteKeys(source, http, clock, self.keys)
        self._remote_feed = RemoteFeed(source, feed.uri if feed else None, http, clock, self.feed)
        self.introspection = IntrospectionRequests(introspection) if introspection is not None else None

    async def start(self, timeout: float) -> None:
        """Fetches keys and revocations that are due. Raises `IssuerMismatch` or `KeysUnavailable`."""
        with _raise_mismatch():
            await self._remote_keys.ready(timeout)
            await self._remote_feed.ready(timeout)

    def start_sync(self, timeout: float) -> None:
        with _raise_mismatch():
            self._remote_keys.ready_sync(timeout)
            self._remote_feed.ready_sync(timeout)

    def current_keys(self, now: float) -> KeySet | None:
        """The keys, if neither they nor the revocations are due to be fetched; else None."""
        self._remote_keys.check_process()
        return self.keys.keys if now < self.keys.due and now < self.feed.due else None

    async def perform(self, step: IssuerStep) -> KeySet | IntrospectionAnswer:
        """Raises `KeysUnavailable`."""
        if isinstance(step, IntrospectStep):
            return await step.requests.ask(step.token)
        if step is FetchStep.UNKNOWN_KID:
            return await self._remote_keys.ready_for_unknown_kid()
        keys = await self._remote_keys.ready()
        await self._remote_feed.ready()
        return keys

    def perform_sync(self, step: IssuerStep) -> KeySet | IntrospectionAnswer:
        if isinstance(step, IntrospectStep):
            return step.requests.ask_sync(step.token)
        if step is FetchStep.UNKNOWN_KID:
            return self._remote_keys.ready_for_unknown_kid_sync()
        keys = self._remote_keys.ready_sync()
        self._remote_feed.ready_sync()
        return keys


@contextlib.contextmanager
def _raise_mismatch() -> Iterator[None]:
    try:
        yield
    except KeysUnavailable as unavailable:
        if isinstance(cause := unavailable.__cause__, IssuerMismatch):
            raise IssuerMismatch(cause.problem, cause.named) from None
        raise
