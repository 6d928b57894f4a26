"""The token endpoint: request → authenticate → authorise → sign, from memory.

`decide` is all of it wherever memory is enough; what is left over is a credential that memory does not know.
"""

import asyncio
import logging
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import orjson

from scopewright.core.failures import Rejected, Unavailable
from scopewright.issuer import audit
from scopewright.issuer.authenticate import Authenticated, authenticate, can_exist, reason
from scopewright.issuer.authorise import Grant, authorise
from scopewright.issuer.errors import OAuthError, from_failure, refused_credential, unavailable, unexpected
from scopewright.issuer.fresh import Clock, FreshReads
from scopewright.issuer.messages import NO_STORE, Answer, HttpRequest
from scopewright.issuer.metrics import ISSUED, Metrics
from scopewright.issuer.registry import Registry
from scopewright.issuer.request import TokenRequest, parse
from scopewright.issuer.sign import Randomness, Token, sign, tail

log: Final = logging.getLogger(__name__)

FLOOR: Final = 0.1
"""Seconds that every refusal of a credential takes at least, whether there was something to read or not."""


NoteUse = Callable[[bytes, float], None]
"""Takes the SHA-256 of a credential that was accepted, and when, in seconds since the epoch."""


@dataclass(slots=True)
class Undecided:
    """A request whose credential memory does not know."""

    request: TokenRequest
    peer: str
    begun: float


class TokenEndpoint:
    def __init__(
        self,
        registry: Registry,
        fresh: FreshReads,
        metrics: Metrics,
        *,
        clock: Clock = time.time,
        monotonic: Clock = time.monotonic,
        random: Randomness = os.urandom,
        sink: audit.Sink = audit.to_log,
        floor: float = FLOOR,
        note_use: NoteUse = lambda digest, now: None,
    ) -> None:
        self._registry = registry
        self._fresh = fresh
        self._metrics = metrics
        self._clock = clock
        self._monotonic = monotonic
        self._random = random
        self._sink = sink
        self._floor = floor
        self._note_use = note_use
        self._unsigned: set[str] = set()

    def decide(self, http: HttpRequest) -> Answer | Undecided:
        """The answer, without any I/O; or what has to be read before it can be refused."""
        begun = self._monotonic()
        request: TokenRequest | None = None
        try:
            request = parse(http)
            who = self._authenticate(request)
            if who is None:
                return Undecided(request, http.peer, begun)
            return self._issue(who, request, http.peer, begun)
        except OAuthError as error:
            return self._refuse(error, request, http.peer, begun, known=request is not None)
        except Exception:
            log.exception("a token request failed")
            return self._refuse(unexpected(), None, http.peer, begun, known=False)

    async def settle(self, undecided: Undecided) -> Answer:
        """One path for unknown and wrong: read afresh, compare again, and take no less time than the floor."""
        request, peer, begun = undecided.request, undecided.peer, undecided.begun
        client_id = request.presented.client_id
        try:
            if can_exist(client_id):
                await self._fresh.refresh(client_id)
            who = self._authenticate(request)
            if who is not None:
                return self._issue(who, request, peer, begun)
            error = refused_credential(
                reason=reason(self._registry.client(client_id)), challenge=request.presented.challenge
            )
        except OAuthError as refusal:
            return self._refuse(refusal, request, peer, begun, known=True)
        except (Rejected, Unavailable) as failure:
            error = from_failure(failure)
        except Exception:
            log.exception("a token request failed")
            error = unexpected()
        await asyncio.sleep(self._floor - (self._monotonic() - begun))
        return self._refuse(error, request, peer, begun, known=self._registry.client(client_id) is not None)

    def _authenticate(self, request: TokenRequest) -> Authenticated | None:
        presented = request.presented
        return authenticate(self._registry.client(presented.client_id), presented, self._clock())

    def _issue(self, who: Authenticated, request: TokenRequest, peer: str, begun: float) -> Answer:
        now = self._clock()
        grant = authorise(who, request, self._registry, now)
        token = self._sign(grant, now)
        self._note_use(who.digest, now)
        self._sink(audit.issued(grant, token, now, peer))
        self._metrics.count(ISSUED, self._monotonic() - begun)
        body = b'{"access_token":"%s","token_type":"Bearer","expires_in":%d,"scope":%s}' % (
            token.value,
            token.expires_in,
            orjson.dumps(token.scope),
        )
        return Answer(200, NO_STORE, body)

    def _sign(self, grant: Grant, now: float) -> Token:
        issuer = self._registry.issuer
        if issuer is None:
            raise unavailable("the issuer is starting", reason="no_issuer_record")
        name = grant.server.record.signing_key
        key = self._registry.keys.signing(name, now, tail(issuer))
        if key is None:
            if name not in self._unsigned:
                self._unsigned.add(name)
                log.error("no key of SigningKey %s may sign now: is the operator running?", name)
            raise unavailable("no signing key is in force", reason="no_signing_key", retry_after=5.0)
        self._unsigned.discard(name)
        return sign(grant, key, issuer, now, self._random)

    def _refuse(
        self, error: OAuthError, request: TokenRequest | None, peer: str, begun: float, *, known: bool
    ) -> Answer:
        self._sink(audit.refused(error, request, self._clock(), peer, known=known))
        self._metrics.count(error.error, self._monotonic() - begun)
        return error.answer()
