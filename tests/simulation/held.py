"""What becomes of tokens that are out: issuers are asked about them, services read the feed, clients revoke some."""

import json
from collections.abc import Callable
from random import Random
from typing import Any, Final, NamedTuple

from scopewright.issuer.protocol.responses import Answer, HttpRequest
from scopewright.verifier.revoked import Revoked
from tests.simulation.issuers import IssuerProcess
from tests.simulation.ledger import SKEW, Ended, Fact, Issued, Ledger, Told, prefix_of
from tests.simulation.presenting import FORM, Pod, presented
from tests.simulation.process import EPOCH
from tests.simulation.server import At
from tests.simulation.settings import ISSUER

FRESH: Final = 0.05
"""How likely a token is asked about that has just been issued."""
ENDED: Final = 0.05
"""How likely a token is revoked when somebody looks at it."""


class Holding(NamedTuple):
    token: Issued
    value: str


class Held:
    """Of every token the issuers that are asked, and who asks, are drawn at random."""

    def __init__(
        self, ledger: Ledger, issuers: list[IssuerProcess], pods: dict[At, Pod], chance: Random,
        see: Callable[[Fact], None],
    ) -> None:  # fmt: skip
        self._ledger, self._issuers, self._pods = ledger, issuers, pods
        self._chance, self._see = chance, see
        self.tokens: list[Holding] = []

    def got(self, token: Issued, value: str) -> None:
        self.tokens.append(Holding(token, value))

    def expire(self) -> list[Holding]:
        """Those that have not."""
        now = self._ledger.now
        self.tokens = [held for held in self.tokens if held.token.claims["exp"] > now]
        return self.tokens

    async def look(self) -> None:
        for held in list(self.expire()):
            if held.token.at < self._ledger.now or self._chance.random() < FRESH:
                await self._introspect(held)
            if self._chance.random() < ENDED:
                await self._revoke(held)
        if self.tokens:
            await self._read_feed()

    # Asking

    async def _introspect(self, held: Holding) -> None:
        """By its own client, or by the API that it is for: whoever of them has something to prove that by."""
        issuer = self._chance.choice(self._issuers)
        askers = [pod for pod in self._pods.values() if pod.client in self._concerned(held.token)]
        if not askers:
            return
        pod, at = self._chance.choice(askers), self._ledger.now
        content = await self._ask(issuer, pod, "/introspect", held.value)
        if content is not None and "active" in content:
            self._told(held.token, issuer, at, "introspection", content["active"])

    def _concerned(self, token: Issued) -> list[At]:
        servers = [r for r in self._ledger.server_records().values() if r["audience"] == token.claims["aud"]]
        served_by = [tuple(name.split(".")) for r in servers for name in r.get("servedBy", ())]
        return [token.client, *((namespace, name) for namespace, name in served_by)]

    async def _read_feed(self) -> None:
        issuer, at = self._chance.choice(self._issuers), self._ledger.now
        answer = await self._get(issuer, HttpRequest("GET", "/revocations"))
        if answer is None or answer.status != 200:
            return
        feed = Revoked.parse(json.loads(answer.body), ISSUER)
        for held in self.tokens:
            good = not feed.has_ended(_as_signed(held), held.token.kid)
            self._told(held.token, issuer, at, "the feed", good)

    def _told(self, token: Issued, issuer: IssuerProcess, at: float, by: str, good: bool) -> None:
        all_in_step = max(other.in_step_since for other in self._issuers)
        self._see(Told(token, issuer.name, by, good, at, issuer.in_step_since, all_in_step, issuer.began))

    # Revoking

    async def _revoke(self, held: Holding) -> None:
        issuer = self._chance.choice(self._issuers)
        pod = next((pod for pod in self._pods.values() if pod.client == held.token.client), None)
        if pod is None or issuer.issuer is None or not issuer.alive:
            return
        jti, incarnation, knows = held.token.claims["jti"], issuer.incarnation, self._knows(issuer, held.token, pod)
        self._ledger.perhaps_ended.add(jti)
        content = await self._ask(issuer, pod, "/revoke", held.value)
        if content == {} and issuer.incarnation == incarnation and knows:
            self._ledger.ended[jti] = Ended(self._ledger.now, issuer.name)

    def _knows(self, issuer: IssuerProcess, token: Issued, pod: Pod) -> bool:
        """Whether it can tell that the token is one of this very client: of what it cannot, it says 200 as well."""
        ledger, now = self._ledger, self._ledger.now
        theirs = token.claims["jti"].startswith(prefix_of(ledger.minted_for.get(pod.digest, "")))
        if not theirs or pod.digest in ledger.restored or token.kid in ledger.lost | ledger.revoked.keys():
            return False
        return issuer.in_step_since <= now and token.claims["exp"] > now + SKEW

    async def _ask(self, issuer: IssuerProcess, pod: Pod, path: str, token: str) -> dict[str, Any] | None:
        """The content of an answer that was not refused."""
        body = f"token={token}&{presented(pod, self._ledger.now)}".encode()
        answer = await self._get(issuer, HttpRequest("POST", path, headers=FORM, body=body, peer="10.0.0.2"))
        if answer is None or answer.status != 200:
            return None
        content: dict[str, Any] = json.loads(answer.body)
        return content

    async def _get(self, issuer: IssuerProcess, http: HttpRequest) -> Answer | None:
        network = issuer.network
        answer = await issuer.answer(http)
        return answer if issuer.network is network else None


def _as_signed(held: Holding) -> dict[str, Any]:
    claims = held.token.claims
    return {**claims, "exp": claims["exp"] + EPOCH}
