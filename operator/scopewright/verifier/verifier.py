"""The entry point of the package: `await verifier.verify(token, scopes=...)`."""

import copy
import dataclasses
import inspect
import os
import time
from collections.abc import Callable, Collection, Generator, Iterable, Sequence
from typing import Any, Self, Unpack

from scopewright.http_flow import run, run_sync
from scopewright.origins import host_names
from scopewright.singleflight import Http
from scopewright.verifier.check import ALGORITHMS, Policy, check_with_key, require_scopes, required_scopes
from scopewright.verifier.discovery import KeySource
from scopewright.verifier.dpop import DpopRules, require_first_use, set_challenge
from scopewright.verifier.feedcache import RevocationFeed, feed_of
from scopewright.verifier.introspection import (
    Introspection,
    Introspector,
    check_answer,
    check_opaque,
    introspection_of,
    is_opaque,
)
from scopewright.verifier.introspection_requests import IntrospectionAnswer, IntrospectionRequests
from scopewright.verifier.jws import require_token_text
from scopewright.verifier.keyset import Key, KeySet
from scopewright.verifier.nonces import Nonces
from scopewright.verifier.options import VerifierOptions, allow_http_of, audiences_of, issuer_of, require_http
from scopewright.verifier.refusals import PROOF_ALGORITHMS, Reason, TokenRejected
from scopewright.verifier.remote_issuer import FetchStep, IntrospectStep, IssuerStep, RemoteIssuer
from scopewright.verifier.replay import Replay
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
        introspection: Introspector | Introspection | None = None,
    ) -> None:
        self.policy = Policy(issuer, audience, required_scopes(scopes), leeway, frozenset(algorithms), max_token_bytes)
        self._clock = clock
        self._verified = TokenCache(cache_size)
        self._dpop = DpopRules(
            required=dpop_required, algorithms=dpop_algorithms, replay=replay, nonces=nonces, clock=clock, leeway=leeway
        )
        self.dpop_required = self.may_require_dpop = self._dpop.required
        self.dpop_algorithms = self._dpop.algorithms
        source = KeySource(issuer, jwks_uri, host_names("allow_http=", allow_http))
        require_http(http)
        self._remote = RemoteIssuer(source, http, clock, feed_of(revocations), introspection_of(introspection))
        self._keys, self._feed, self._introspection = self._remote.keys, self._remote.feed, self._remote.introspection

    @classmethod
    def from_env(
        cls,
        *,
        issuer: str | None = None,
        audience: str | Collection[str] | None = None,
        **options: Unpack[VerifierOptions],
    ) -> Self:
        """A verifier with the issuer, audience and `allow_http` of `SCOPEWRIGHT_ISSUER`, `SCOPEWRIGHT_AUDIENCE` and
        `SCOPEWRIGHT_ALLOW_HTTP`. Several audiences or hosts are separated by spaces or commas.

        Arguments precede the variables. Raises ValueError, which names the variable, if issuer or audience is missing.
        """
        defaults = VerifierOptions(allow_http=allow_http_of(os.environ))
        return cls(
            issuer_of(os.environ) if issuer is None else issuer,
            audiences_of(os.environ) if audience is None else audience,
            **(defaults | options),
        )

    def for_audience(self, audience: str, *, dpop_required: bool | None = None) -> Self:
        """A verifier of tokens for another audience, with the same options. `dpop_required` replaces this one's.

        It shares the keys, the revocations, the HTTP client, the used proofs and the cache of this one: `cache_size` is
        the number of tokens of all audiences.
        """
        other = copy.copy(self)
        if dpop_required is not None:
            other._dpop = self._dpop.with_required(dpop_required)  # noqa: SLF001  # of the same class
            other.dpop_required = other.may_require_dpop = dpop_required
        other.policy = dataclasses.replace(self.policy, audience=audience)
        return other

    async def ready(self, timeout: float = 5) -> None:
        """Fetches keys, and revocations if they are enabled, unless they are cached. Call it when the service starts.

        Raises `IssuerMismatch` (a ValueError) if the issuer's metadata names another issuer: correct the argument.
        Raises `KeysUnavailable`, within `timeout` seconds, if the issuer cannot be reached: the service may still
        start, because `verify` fetches what it needs. With `jwks_uri` no metadata is read.
        """
        await self._remote.start(timeout)

    def ready_sync(self, timeout: float = 5) -> None:
        """`ready` for threads."""
        self._remote.start_sync(timeout)

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
        known = self._known(token)
        if known is not None and proof is None and not self._needs_proof(known):
            return self._with_scopes(known, scopes)
        try:
            verified = known if known is not None else await run(self._steps(token), self._remote.perform)
            first = self._dpop.check(verified, proof, method, url)
            require_first_use(await first if inspect.isawaitable(first) else first)
            return self._with_scopes(verified, scopes)
        except TokenRejected as refusal:
            set_challenge(refusal, proof, self.dpop_algorithms)
            raise

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
        known = self._known(token)
        if known is not None and proof is None and not self._needs_proof(known):
            return self._with_scopes(known, scopes)
        try:
            verified = known if known is not None else run_sync(self._steps(token), self._remote.perform_sync)
            first = self._dpop.check(verified, proof, method, url)
            if inspect.isawaitable(first):
                raise TypeError("verify_sync needs a replay memory whose first_use is not a coroutine")
            require_first_use(first)
            return self._with_scopes(verified, scopes)
        except TokenRejected as refusal:
            set_challenge(refusal, proof, self.dpop_algorithms)
            raise

    def nonce(self) -> str | None:
        """The header DPoP-Nonce for every response to a DPoP request, or None for no header (RFC 9449 §9)."""
        return self._dpop.nonce()

    @property
    def issuers(self) -> tuple[str, ...]:
        """The issuer, as `AnyIssuer` has several."""
        return (self.policy.issuer,)

    @property
    def audiences(self) -> tuple[str, ...]:
        """The audiences, of which a token needs one."""
        return self.policy.audiences

    @property
    def scopes(self) -> frozenset[str]:
        """The scopes that every token needs."""
        return self.policy.scopes

    @property
    def keys_received_at(self) -> float | None:
        """When the issuer last sent its keys or confirmed them, in seconds since 1970. None: there are none yet."""
        return self._keys.received_at if self._keys.keys is not None else None

    @property
    def revocations_received_at(self) -> float | None:
        """As `keys_received_at`, of the revocation feed. None also without `revocations`."""
        return self._feed.received_at if self._feed.revoked is not None else None

    @property
    def introspects(self) -> bool:
        """Whether opaque tokens are accepted."""
        return self._introspection is not None

    @property
    def nonces(self) -> Nonces | None:
        return self._dpop.nonces

    def has_verified(self, token: str) -> bool:
        """Whether this verifier has accepted the token, and has it in its cache. It may be invalid by now."""
        return self._verified.get(token, self.policy) is not None

    def cached(self, token: str, *, scopes: Iterable[str] = ()) -> Token | None:
        """The Bearer token if it is cached and still valid, else None: call `verify` then.

        Never blocks. Raises `TokenRejected` if the token lacks a scope.
        """
        known = self._known(token)
        if known is None or self._needs_proof(known):
            return None
        return self._with_scopes(known, scopes)

    def _needs_proof(self, token: Token) -> bool:
        return token.jkt is not None or self.dpop_required

    def _known(self, token: str) -> Token | None:
        """The cached token if it is still valid. Its proof and its scopes are not checked."""
        cached = self._verified.get(token, self.policy)
        if cached is None:
            return None
        now = self._clock()
        if now >= cached.until:
            return None
        if cached.key is None:  # of an opaque token
            return cached.token
        if now >= self._keys.due or now >= self._feed.due or cached.revoked is not self._feed.revoked:
            return None
        return cached.token if self._is_published(cached.key) else None

    def _is_published(self, key: Key) -> bool:
        keys = self._keys.keys
        return keys is not None and key in keys

    def _steps(self, token: str) -> Generator[IssuerStep, Any, Token]:
        """Verifies the token. Yields what it needs of the issuer, and receives the results."""
        require_token_text(token)
        if self._introspection is not None and is_opaque(token):
            check_opaque(token, self.policy.max_token_bytes)
            return (yield from self._introspected(self._introspection, token, None))
        keys = self._remote.current_keys(self._clock())
        if keys is None:
            keys = yield FetchStep.READY
        try:
            checked = self._check(token, keys)
        except TokenRejected as refusal:
            if refusal.reason is not Reason.UNKNOWN_KEY:
                raise
            checked = yield from self._check_with_new_keys(token)
        if self._introspection is not None and not checked.is_introspected:
            return (yield from self._introspected(self._introspection, token, checked))
        self._verified.add(token, checked)
        return checked.token

    def _check_with_new_keys(self, token: str) -> Generator[IssuerStep, Any, CachedToken]:
        """A fetch that was in progress may have begun before the key was published: then another one follows."""
        try:
            return self._check(token, (yield FetchStep.UNKNOWN_KID))
        except TokenRejected as refusal:
            if refusal.reason is not Reason.UNKNOWN_KEY:
                raise
        return self._check(token, (yield FetchStep.UNKNOWN_KID))

    def _check(self, token: str, keys: KeySet) -> CachedToken:
        """Skips the signature of a cached token, and checks the token against each feed once."""
        now = self._clock()
        cached = self._verified.get(token, self.policy)
        if cached is None or cached.key is None or now >= cached.until or not self._is_published(cached.key):
            if cached is not None:
                self._verified.forget(token)
            verified, key = check_with_key(token, keys, self.policy, now)
            cached = CachedToken(verified, self.policy, key, verified.expires_at + self.policy.leeway)
        revoked = self._feed.revoked
        if cached.key is None or cached.revoked is revoked:
            return cached
        if revoked is not None and revoked.has_ended(cached.token.claims, cached.key.kid):
            self._verified.forget(token)
            raise TokenRejected(Reason.REVOKED)
        return dataclasses.replace(cached, revoked=revoked)

    def _introspected(
        self, requests: IntrospectionRequests, token: str, checked: CachedToken | None
    ) -> Generator[IssuerStep, IntrospectionAnswer, Token]:
        """The token, after the issuer has confirmed it. `checked` is None for an opaque token."""
        answer = yield IntrospectStep(requests, token)
        now = self._clock()
        signed = checked.token if checked is not None else None
        if signed is not None:
            requests.note_active(answer.members.get("active"))
        with requests.checking():
            verified = check_answer(answer.members, self.policy, now, token, signed)
        until = min(now + answer.fresh_for, verified.expires_at)
        key, revoked = (checked.key, checked.revoked) if checked is not None else (None, None)
        self._verified.add(token, CachedToken(verified, self.policy, key, until, revoked, is_introspected=True))
        return verified

    def _with_scopes(self, token: Token, scopes: Iterable[str]) -> Token:
        needed = self.policy.scopes
        if scopes:
            needed = needed | required_scopes(scopes)
        require_scopes(token, needed)
        return token
