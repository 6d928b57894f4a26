"""The entry point of the package: `await verifier.verify(token, scopes=...)`."""

import contextlib
import inspect
import time
from collections.abc import Awaitable, Callable, Collection, Iterable, Iterator, Sequence

from scopewright.issuer_metadata import IssuerMismatch
from scopewright.origins import host_names
from scopewright.singleflight import Http
from scopewright.verifier.check import ALGORITHMS, Policy, check_with_key, require_scopes, required_scopes
from scopewright.verifier.discovery import KeySource
from scopewright.verifier.feedcache import FeedCache, RevocationFeed
from scopewright.verifier.fetch import RemoteFeed, RemoteKeys
from scopewright.verifier.keycache import KeyCache
from scopewright.verifier.keyset import KeySet
from scopewright.verifier.nonces import Nonces
from scopewright.verifier.proof import BadProof, check_proof
from scopewright.verifier.refusals import PROOF_ALGORITHMS, KeysUnavailable, Reason, TokenRejected
from scopewright.verifier.replay import Replay, ReplayMemory
from scopewright.verifier.token import Token
from scopewright.verifier.tokencache import CachedToken, TokenCache


class Verifier:
    """Verifies access tokens (RFC 9068) of one issuer for one audience. Share one between threads and tasks.

    `issuer` and `audience` are compared byte for byte; of several audiences, a token needs one. Every token needs
    `scopes`, besides those of each call. `leeway` is the tolerated clock difference in seconds. The issuer's keys are
    found through its metadata (RFC 8414) unless `jwks_uri` is given; over https, except on loopback and to the hosts of
    `allow_http` (each a host, or `host:port`). `http` replaces the HTTP client (for example, for a private CA): a
    `Client`, or an `AsyncClient` if only `verify` is used; a forked child then needs its own verifier. `cache_size` is
    the number of verified tokens that are cached. With `revocations` the issuer's revocation feed is polled while the
    service is used: every 5 s, or as a `RevocationFeed` configures.

    DPoP (RFC 9449): with `dpop_required`, a token that is not bound to a key is refused. A proof must be signed with
    one of `dpop_algorithms`. `replay` records used proofs; pass a shared one if several processes serve the API. With
    `nonces`, a proof must contain one of them.
    """

    def __init__(
        self,
        issuer: str,
        audience: str | Collection[str],
        *,
        scopes: Iterable[str] = (),
        allow_http: Collection[str] = (),
        leeway: float = 60.0,
        algorithms: Iterable[str] = ALGORITHMS,
        jwks_uri: str | None = None,
        http: Http | None = None,
        clock: Callable[[], float] = time.time,
        max_token_bytes: int = 16 * 1024,
        cache_size: int = 10_000,
        dpop_required: bool = False,
        dpop_algorithms: Iterable[str] = PROOF_ALGORITHMS,
        replay: Replay | None = None,
        nonces: Nonces | None = None,
        revocations: bool | RevocationFeed = False,
    ) -> None:
        self.policy = Policy(issuer, audience, required_scopes(scopes), leeway, frozenset(algorithms), max_token_bytes)
        self._clock = clock
        self._keys = KeyCache()
        source = KeySource(issuer, jwks_uri, host_names("allow_http=", allow_http))
        self._remote = RemoteKeys(source, http, clock, self._keys)
        self._verified = TokenCache(cache_size)
        feed = RevocationFeed() if revocations is True else revocations or None
        self._feed = FeedCache(feed)
        self._revocations = RemoteFeed(source, feed.uri if feed else None, http, clock, self._feed)
        self.dpop_required = dpop_required
        self.dpop_algorithms = _proof_algorithms(dpop_algorithms)
        self._replay = replay or ReplayMemory(clock=clock)
        self._nonces = nonces

    async def ready(self, timeout: float = 5) -> None:
        """Fetches keys, and revocations if they are enabled, unless they are cached. Call it when the service starts.

        Raises `IssuerMismatch` (a ValueError) if the issuer's metadata names another issuer: correct the argument.
        Raises `KeysUnavailable`, within `timeout` seconds, if the issuer cannot be reached: the service may still
        start, because `verify` fetches what it needs. With `jwks_uri` no metadata is read.
        """
        with _raise_mismatch():
            await self._remote.ready(timeout)
            await self._revocations.ready(timeout)

    def ready_sync(self, timeout: float = 5) -> None:
        """`ready` for threads."""
        with _raise_mismatch():
            self._remote.ready_sync(timeout)
            self._revocations.ready_sync(timeout)

    async def verify(
        self,
        token: str,
        *,
        scopes: Iterable[str] = (),
        proof: str | Sequence[str] | None = None,
        method: str = "",
        url: str = "",
    ) -> Token:
        """Returns the verified token. A cached Bearer token costs a few microseconds.

        Raises `TokenRejected`, or `KeysUnavailable` if keys or revocations cannot be fetched. Pass `proof` if the
        token was sent with the scheme DPoP (RFC 9449 §7.1): all values of the header DPoP (none: an empty list), with
        `method` and `url` of the request as the caller sees them.
        """
        if proof is None and (known := self.cached(token, scopes=scopes)) is not None:
            return known
        with _set_challenge(proof, self.dpop_algorithms):
            verified = self._known(token) or await self._checked(token)
            first = self._check_proof(verified, proof, method, url)
            _require_first_use(await first if inspect.isawaitable(first) else first)
            return self._with_scopes(verified, scopes)

    def verify_sync(
        self,
        token: str,
        *,
        scopes: Iterable[str] = (),
        proof: str | Sequence[str] | None = None,
        method: str = "",
        url: str = "",
    ) -> Token:
        """`verify` for threads (WSGI). It may block while keys are fetched."""
        if proof is None and (known := self.cached(token, scopes=scopes)) is not None:
            return known
        with _set_challenge(proof, self.dpop_algorithms):
            verified = self._known(token) or self._checked_sync(token)
            first = self._check_proof(verified, proof, method, url)
            if inspect.isawaitable(first):
                raise TypeError("verify_sync needs a replay memory whose first_use is not a coroutine")
            _require_first_use(first)
            return self._with_scopes(verified, scopes)

    def nonce(self) -> str | None:
        """The header DPoP-Nonce for every response to a DPoP request, or None for no header (RFC 9449 §9)."""
        return self._nonces.current(self._clock()) if self._nonces is not None else None

    def cached(self, token: str, *, scopes: Iterable[str] = ()) -> Token | None:
        """The Bearer token if it is cached and still valid, else None: call `verify` then.

        Never blocks. Raises `TokenRejected` if the token lacks a scope.
        """
        known = self._known(token)
        if known is None or known.jkt is not None or self.dpop_required:
            return None
        return self._with_scopes(known, scopes)

    def _known(self, token: str) -> Token | None:
        """The cached token if it is still valid. Its proof and its scopes are not checked."""
        now = self._clock()
        cached = self._verified.get(token)
        if cached is None or now >= self._keys.due or now >= self._feed.due:
            return None
        if cached.revoked is not self._feed.revoked or not self._is_valid(cached, now):
            return None
        return cached.token

    async def _checked(self, token: str) -> Token:
        keys = await self._remote.ready()
        await self._revocations.ready()
        try:
            return self._check(token, keys)
        except TokenRejected as refusal:
            if refusal.reason is not Reason.UNKNOWN_KEY:
                raise
            return self._check(token, await self._remote.ready_for_unknown_kid())

    def _checked_sync(self, token: str) -> Token:
        keys = self._remote.ready_sync()
        self._revocations.ready_sync()
        try:
            return self._check(token, keys)
        except TokenRejected as refusal:
            if refusal.reason is not Reason.UNKNOWN_KEY:
                raise
            return self._check(token, self._remote.ready_for_unknown_kid_sync())

    def _check_proof(
        self, token: Token, sent: str | Sequence[str] | None, method: str, url: str
    ) -> bool | Awaitable[bool]:
        """Whether the proof is used for the first time. Raises `TokenRejected` (RFC 9449 §7.1)."""
        if token.jkt is None:
            if sent is None and not self.dpop_required:
                return True
            raise TokenRejected(Reason.PROOF_NEEDED if self.dpop_required else Reason.NOT_BOUND)
        if sent is None:
            raise TokenRejected(Reason.SENDER_CONSTRAINED)
        if not method or not url:
            raise ValueError("a proof is valid for one method and one URL: pass those of the request")
        now, leeway = self._clock(), self.policy.leeway
        try:
            proof = check_proof(
                (sent,) if isinstance(sent, str) else sent,
                method=method, url=url, now=now, leeway=leeway, token=token.value, algorithms=self.dpop_algorithms,
            )  # fmt: skip
        except BadProof as bad:
            raise TokenRejected(Reason.PROOF, expected=str(bad)) from None
        if proof.jkt != token.jkt:
            raise TokenRejected(Reason.PROOF_KEY)
        if self._nonces is not None and not self._nonces.accepts(proof.nonce or "", now, leeway):
            raise TokenRejected(Reason.PROOF_NONCE)
        return self._replay.first_use(token.client_id, f"{proof.jkt} {proof.jti}", proof.expires_at)

    def _is_valid(self, cached: CachedToken, now: float) -> bool:
        keys = self._keys.keys
        return keys is not None and cached.key in keys and now < cached.token.expires_at + self.policy.leeway

    def _check(self, token: str, keys: KeySet) -> Token:
        """Skips the signature of a cached token, and checks the token against each feed once."""
        now = self._clock()
        cached = self._verified.get(token)
        if cached is None or not self._is_valid(cached, now):
            self._verified.forget(token)
            cached = CachedToken(*check_with_key(token, keys, self.policy, now))
        elif cached.revoked is self._feed.revoked:
            return cached.token
        revoked = self._feed.revoked
        if revoked is not None and revoked.has_ended(cached.token.claims, cached.key.kid):
            self._verified.forget(token)
            raise TokenRejected(Reason.REVOKED)
        self._verified.add(token, CachedToken(cached.token, cached.key, revoked))
        return cached.token

    def _with_scopes(self, token: Token, scopes: Iterable[str]) -> Token:
        needed = self.policy.scopes
        if scopes:
            needed = needed | required_scopes(scopes)
        require_scopes(token, needed)
        return token


def _proof_algorithms(wanted: Iterable[str]) -> tuple[str, ...]:
    """In the order of PROOF_ALGORITHMS. Raises ValueError for any other algorithm."""
    names = frozenset((wanted,) if isinstance(wanted, str) else wanted)
    if not names or not names <= frozenset(PROOF_ALGORITHMS):
        raise ValueError(f"dpop_algorithms must be among {', '.join(PROOF_ALGORITHMS)}")
    return tuple(name for name in PROOF_ALGORITHMS if name in names)


def _require_first_use(first: bool) -> None:
    if not first:
        raise TokenRejected(Reason.PROOF, expected="it was used before: make a new one for each request")


@contextlib.contextmanager
def _raise_mismatch() -> Iterator[None]:
    try:
        yield
    except KeysUnavailable as unavailable:
        if isinstance(unavailable.__cause__, IssuerMismatch):
            raise IssuerMismatch(str(unavailable.__cause__)) from None
        raise


@contextlib.contextmanager
def _set_challenge(proof: object, proof_algorithms: Sequence[str]) -> Iterator[None]:
    """Sets the scheme that was used, and the accepted algorithms, for the challenge of a refusal."""
    try:
        yield
    except TokenRejected as refusal:
        refusal.proof_algorithms = proof_algorithms
        if proof is not None:
            refusal.scheme = "DPoP"
        raise
