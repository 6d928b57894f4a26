"""Tokens that have not expired: issuers introspect them, services read the revocation feed, clients revoke some."""

import json
from collections.abc import Callable
from random import Random
from typing import Any, Final, NamedTuple

from scopewright.issuer.protocol.responses import Answer, HttpRequest
from scopewright.verifier.revoked import Revoked
from tests.simulation.issuers import IssuerProcess
from tests.simulation.observations import (
    MAX_SKEW_SECONDS,
    Fact,
    Observations,
    TokenIssued,
    TokenRevoked,
    TokenStatus,
    jti_prefix,
)
from tests.simulation.pod_credentials import FORM, Pod, authentication_form
from tests.simulation.process import EPOCH
from tests.simulation.server import NamespacedName
from tests.simulation.settings import ISSUER

NEW_TOKEN_PROBABILITY: Final = 0.05
"""Probability that a token is introspected right after it was issued."""
REVOCATION_PROBABILITY: Final = 0.05
"""Probability that a token is revoked each time the outstanding tokens are checked."""


class OutstandingToken(NamedTuple):
    token: TokenIssued
    value: str


class OutstandingTokens:
    """For each token, the issuer and the introspecting client are drawn at random."""

    def __init__(
        self, observed: Observations, issuers: list[IssuerProcess], pods: dict[NamespacedName, Pod], rng: Random,
        observe: Callable[[Fact], None],
    ) -> None:  # fmt: skip
        self._observed, self._issuers, self._pods = observed, issuers, pods
        self._rng, self._observe = rng, observe
        self.tokens: list[OutstandingToken] = []

    def add(self, token: TokenIssued, value: str) -> None:
        self.tokens.append(OutstandingToken(token, value))

    def expire(self) -> list[OutstandingToken]:
        """Remove expired tokens; returns the others."""
        now = self._observed.now
        self.tokens = [held for held in self.tokens if held.token.claims["exp"] > now]
        return self.tokens

    async def check(self) -> None:
        for held in list(self.expire()):
            if held.token.time < self._observed.now or self._rng.random() < NEW_TOKEN_PROBABILITY:
                await self._introspect(held)
            if self._rng.random() < REVOCATION_PROBABILITY:
                await self._revoke(held)
        if self.tokens:
            await self._read_feed()

    # Introspection and feed

    async def _introspect(self, held: OutstandingToken) -> None:
        """By its own client or by the API of its audience, if that has a credential."""
        issuer = self._rng.choice(self._issuers)
        pods = [pod for pod in self._pods.values() if pod.client in self._introspecting_clients(held.token)]
        if not pods:
            return
        pod, at = self._rng.choice(pods), self._observed.now
        content = await self._ask(issuer, pod, "/introspect", held.value)
        if content is not None and "active" in content:
            self._observe_status(held.token, issuer, at, "introspection", content["active"])

    def _introspecting_clients(self, token: TokenIssued) -> list[NamespacedName]:
        servers = [r for r in self._observed.server_records().values() if r["audience"] == token.claims["aud"]]
        served_by = [tuple(name.split(".")) for r in servers for name in r.get("servedBy", ())]
        return [token.client, *((namespace, name) for namespace, name in served_by)]

    async def _read_feed(self) -> None:
        issuer, at = self._rng.choice(self._issuers), self._observed.now
        answer = await self._get(issuer, HttpRequest("GET", "/revocations"))
        if answer is None or answer.status != 200:
            return
        feed = Revoked.parse(json.loads(answer.body), ISSUER)
        for held in self.tokens:
            good = not feed.has_ended(_as_signed(held), held.token.kid)
            self._observe_status(held.token, issuer, at, "the feed", good)

    def _observe_status(self, token: TokenIssued, issuer: IssuerProcess, at: float, by: str, good: bool) -> None:
        all_in_step = max(other.up_to_date_since for other in self._issuers)
        self._observe(
            TokenStatus(token, issuer.name, by, good, at, issuer.up_to_date_since, all_in_step, issuer.started)
        )

    # Revocation

    async def _revoke(self, held: OutstandingToken) -> None:
        issuer = self._rng.choice(self._issuers)
        pod = next((pod for pod in self._pods.values() if pod.client == held.token.client), None)
        if pod is None or issuer.issuer is None or not issuer.alive:
            return
        jti, incarnation, knows = held.token.claims["jti"], issuer.incarnation, self._knows(issuer, held.token, pod)
        self._observed.revocation_attempts.add(jti)
        content = await self._ask(issuer, pod, "/revoke", held.value)
        if content == {} and issuer.incarnation == incarnation and knows:
            self._observed.revoked_tokens[jti] = TokenRevoked(self._observed.now, issuer.name)

    def _knows(self, issuer: IssuerProcess, token: TokenIssued, pod: Pod) -> bool:
        """Whether the issuer knows that the token is this client's. For unknown tokens it answers 200 as well."""
        observed, now = self._observed, self._observed.now
        own = token.claims["jti"].startswith(jti_prefix(observed.uid_of_digest.get(pod.digest, "")))
        if (
            not own
            or pod.digest in observed.restored_digests
            or token.kid in observed.damaged_keys | observed.revoked_keys.keys()
        ):
            return False
        return issuer.up_to_date_since <= now and token.claims["exp"] > now + MAX_SKEW_SECONDS

    async def _ask(self, issuer: IssuerProcess, pod: Pod, path: str, token: str) -> dict[str, Any] | None:
        """The content of the answer; None unless its status is 200."""
        body = f"token={token}&{authentication_form(pod, self._observed.now)}".encode()
        answer = await self._get(issuer, HttpRequest("POST", path, headers=FORM, body=body, peer="10.0.0.2"))
        if answer is None or answer.status != 200:
            return None
        content: dict[str, Any] = json.loads(answer.body)
        return content

    async def _get(self, issuer: IssuerProcess, http: HttpRequest) -> Answer | None:
        network = issuer.network
        answer = await issuer.answer(http)
        return answer if issuer.network is network else None


def _as_signed(held: OutstandingToken) -> dict[str, Any]:
    claims = held.token.claims
    return {**claims, "exp": claims["exp"] + EPOCH}
