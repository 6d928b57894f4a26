"""The one call of this room: `await verifier.verify(token, scopes=...)`."""

import time
from collections.abc import Callable, Iterable

from scopewright.verifier.check import ALGORITHMS, Policy, check_with_key, require_scopes, required_scopes
from scopewright.verifier.discovery import Source
from scopewright.verifier.feedcache import FeedCache, RevocationFeed
from scopewright.verifier.keycache import KeyCache
from scopewright.verifier.keyset import KeySet
from scopewright.verifier.refusals import Reason, Rejected
from scopewright.verifier.remote import Http, RemoteFeed, RemoteKeys
from scopewright.verifier.seen import Seen, Verified
from scopewright.verifier.token import Token


class Verifier:
    """Verifies access tokens (RFC 9068) of one issuer for one audience; for a whole process, threads and tasks alike.

    `issuer` and `audience` are compared byte for byte. `scopes` are needed by every token, besides those of each call.
    `leeway` is the tolerated difference of clocks in seconds. The issuer's keys are found through its metadata unless
    `jwks_uri` is given. `http` replaces the HTTP client (for a private CA, say): a `Client`, or an `AsyncClient` where
    only `verify` is used. `cache_size` is the number of verified tokens that are remembered. With `revocations` the
    issuer's revocation feed is polled while the service is used: every 5 s, or as a `RevocationFeed` says.
    """

    def __init__(
        self,
        issuer: str,
        audience: str,
        *,
        scopes: Iterable[str] = (),
        leeway: float = 60.0,
        algorithms: Iterable[str] = ALGORITHMS,
        jwks_uri: str | None = None,
        http: Http | None = None,
        clock: Callable[[], float] = time.time,
        max_token_bytes: int = 16 * 1024,
        cache_size: int = 10_000,
        revocations: bool | RevocationFeed = False,
    ) -> None:
        self.policy = Policy(issuer, audience, required_scopes(scopes), leeway, frozenset(algorithms), max_token_bytes)
        self._clock = clock
        self._keys = KeyCache()
        self._remote = RemoteKeys(Source(issuer, jwks_uri), http, clock, self._keys)
        self._seen = Seen(cache_size)
        feed = RevocationFeed() if revocations is True else revocations or None
        self._feed = FeedCache(feed)
        self._polled = RemoteFeed(issuer, feed.uri if feed else None, http, clock, self._feed)

    async def verify(self, token: str, *, scopes: Iterable[str] = ()) -> Token:
        """Raises `Rejected`, or `Unavailable` where keys or revocations cannot be had.

        Costs a few microseconds for a token seen.
        """
        known = self.cached(token, scopes=scopes)
        if known is not None:
            return known
        keys = await self._remote.ready()
        await self._polled.ready()
        try:
            verified = self._check(token, keys)
        except Rejected as refusal:
            if refusal.reason is not Reason.UNKNOWN_KEY:
                raise
            verified = self._check(token, await self._remote.ready_for_unknown_kid())
        return self._with_scopes(verified, scopes)

    def verify_sync(self, token: str, *, scopes: Iterable[str] = ()) -> Token:
        """`verify` for threads (WSGI): it may block while keys are fetched."""
        known = self.cached(token, scopes=scopes)
        if known is not None:
            return known
        keys = self._remote.ready_sync()
        self._polled.ready_sync()
        try:
            verified = self._check(token, keys)
        except Rejected as refusal:
            if refusal.reason is not Reason.UNKNOWN_KEY:
                raise
            verified = self._check(token, self._remote.ready_for_unknown_kid_sync())
        return self._with_scopes(verified, scopes)

    def cached(self, token: str, *, scopes: Iterable[str] = ()) -> Token | None:
        """The token if it was verified before and is still good, else None: `verify` then knows more. Never blocks.

        Raises `Rejected` where it lacks a scope.
        """
        now = self._clock()
        found = self._seen.get(token)
        if found is None or now >= self._keys.due or now >= self._feed.due:
            return None
        if found.revoked is not self._feed.revoked or not self._still_good(found, now):
            return None
        return self._with_scopes(found.token, scopes)

    def _still_good(self, found: Verified, now: float) -> bool:
        keys = self._keys.keys
        return keys is not None and found.key in keys and now < found.token.expires_at + self.policy.leeway

    def _check(self, token: str, keys: KeySet) -> Token:
        """A token that was seen costs no signature, and is held against each feed once."""
        now = self._clock()
        found = self._seen.get(token)
        if found is None or not self._still_good(found, now):
            self._seen.forget(token)
            found = Verified(*check_with_key(token, keys, self.policy, now))
        elif found.revoked is self._feed.revoked:
            return found.token
        revoked = self._feed.revoked
        if revoked is not None and revoked.has_ended(found.token.claims, found.key.kid):
            self._seen.forget(token)
            raise Rejected(Reason.REVOKED)
        self._seen.add(token, Verified(found.token, found.key, revoked))
        return found.token

    def _with_scopes(self, token: Token, scopes: Iterable[str]) -> Token:
        needed = self.policy.scopes
        if scopes:
            needed = needed | required_scopes(scopes)
        require_scopes(token, needed)
        return token
