"""The verifiers of a gateway: one for the issuer, from which those of the APIs share keys, revocations and proofs."""

import asyncio
import logging
import time
from collections.abc import Callable, Collection
from typing import Final

from scopewright.backoff import with_jitter
from scopewright.core.records.issuer import IssuerRecord
from scopewright.issuer_metadata import IssuerMismatch
from scopewright.rate_budget import Clock
from scopewright.singleflight import Http
from scopewright.verifier.feedcache import RevocationFeed
from scopewright.verifier.refusals import PROOF_ALGORITHMS, KeysUnavailable
from scopewright.verifier.replay import Replay
from scopewright.verifier.verifier import Verifier

log: Final = logging.getLogger(__name__)

FEED: Final = RevocationFeed(every=1.0)
"""A revocation is in force one or two seconds after the issuer publishes it. Without the issuer, the last revocations
are used for 600 s (`RevocationFeed.outage`)."""
_FETCH_INTERVAL_SECONDS: Final = 1.0
CACHED_TOKENS: Final = 20_000
"""Verified tokens of all APIs in one process, about 2.5 KB each. Half of them are in use without a second verification,
whatever the order is (`TokenCache`)."""


class Verifiers:
    """`http` fetches keys and revocations. `replay` records the used DPoP proofs of all APIs.

    `allow_http` are hosts that an issuer may have without TLS, besides loopback.
    """

    def __init__(
        self,
        http: Http | None,
        replay: Replay,
        *,
        allow_http: Collection[str] = (),
        clock: Clock = time.time,
        attempted: Callable[[], None] = lambda: None,
    ) -> None:
        self._http = http
        self._replay = replay
        self._allow_http = allow_http
        self._clock = clock
        self._attempted = attempted
        self.generation = 0
        """Grows when verifiers that were made before are not valid any more."""
        self._of: tuple[str, int, tuple[str, ...]] | None = None
        self._is_fapi2 = False
        self._issuer: Verifier | None = None
        self._wake = asyncio.Event()

    def use(self, record: IssuerRecord) -> None:
        """Use the issuer of this record.

        A change of the URL takes effect at once, like at the issuer: tokens of the former URL are refused, and until
        the new keys are fetched every token is unavailable (503).
        """
        of = (record.issuer, record.clock_skew, record.dpop_algorithms)
        if of == self._of and record.is_fapi2 == self._is_fapi2:
            return
        if of != self._of:
            self._issuer = Verifier(
                record.issuer,
                record.issuer,  # an audience that no API has: each has a verifier of its own
                leeway=record.clock_skew,
                allow_http=self._allow_http,
                http=self._http,
                clock=self._clock,
                cache_size=CACHED_TOKENS,
                dpop_algorithms=record.dpop_algorithms or PROOF_ALGORITHMS,
                replay=self._replay,
                revocations=FEED,
            )
        self._of, self._is_fapi2 = of, record.is_fapi2
        self.generation += 1
        self._wake.set()

    @property
    def issuer(self) -> str:
        """Its URL; empty while there is no record of the issuer."""
        return self._of[0] if self._of is not None else ""

    def for_api(self, audience: str, *, dpop_required: bool) -> Verifier:
        """The verifier of tokens with this audience. There is a record of the issuer."""
        if self._issuer is None:
            raise RuntimeError("there is no record of the issuer")
        return self._issuer.for_audience(audience, dpop_required=dpop_required or self._is_fapi2)

    def missing(self) -> list[str]:
        """What decisions about tokens need and was not fetched yet."""
        missing = [] if self.keys_received_at is not None else ["the keys of the issuer"]
        return missing if self.revocations_received_at is not None else [*missing, "the revocations of the issuer"]

    @property
    def keys_received_at(self) -> float | None:
        """When the issuer last sent or confirmed its keys, in seconds since the epoch."""
        return self._issuer.keys_received_at if self._issuer is not None else None

    @property
    def revocations_received_at(self) -> float | None:
        return self._issuer.revocations_received_at if self._issuer is not None else None

    async def run(self) -> None:
        """Fetch what is due every second, also without requests: the first request after a pause need not wait."""
        while True:
            if self._issuer is not None:
                await self._fetch(self._issuer)
                self._attempted()
            self._wake.clear()
            try:
                async with asyncio.timeout(with_jitter(_FETCH_INTERVAL_SECONDS, 1.0, 1.2)):
                    await self._wake.wait()
            except TimeoutError:
                continue

    async def _fetch(self, verifier: Verifier) -> None:
        try:
            await verifier.ready()
        except (KeysUnavailable, IssuerMismatch) as error:
            log.debug("fetching keys and revocations failed: %s", error)  # the verifier has logged why
