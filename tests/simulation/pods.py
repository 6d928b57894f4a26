"""The clients of the simulation: Pods that read their Secret late, and verifiers that cache the JWKS."""

import base64
import json
from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from scopewright.issuer.build import STORE_TIMEOUT_SECONDS
from scopewright.issuer.protocol.responses import HttpRequest
from scopewright.verifier.check import Policy, check
from scopewright.verifier.keyset import KeySet
from scopewright.verifier.refusals import TokenRejected
from tests.simulation.held import Held
from tests.simulation.issuers import IssuerProcess
from tests.simulation.ledger import CREDENTIALS, Fact, Issued, Ledger, Refused, Verified, digest_in, owners
from tests.simulation.presenting import FORM, Pod, presented
from tests.simulation.process import EPOCH
from tests.simulation.server import At, Done, Raw, Server
from tests.simulation.settings import ISSUER

LATEST_READ = 3600.0


@dataclass
class Verifier:
    keys: KeySet | None = None
    body: bytes = b""
    fetched: float = -1.0
    keep: float = 0.0
    source_behind: float = 0.0


class Pods:
    def __init__(
        self, server: Server, ledger: Ledger, issuers: list[IssuerProcess], chance: Random, see: Callable[[Fact], None]
    ) -> None:
        self._server, self._ledger, self._issuers = server, ledger, issuers
        self._chance, self._see = chance, see
        self.pods: dict[At, Pod] = {}
        """By the Secret that they mount."""
        self.verifiers = [Verifier(), Verifier()]
        self.held = Held(ledger, issuers, self.pods, Random(chance.random()), see)
        self.asked = 0
        self.issued = 0

    # Pods

    def on_secret(self, done: Done) -> None:
        """The kubelet brings what changed, up to an hour late; a Pod starts with what there is."""
        raw = done.new
        if raw is None or raw.get("type") != CREDENTIALS:
            return
        late = self._chance.uniform(1.0, LATEST_READ) if done.at in self.pods else 0.5
        self._server.loop.call_later(late, self._mount, done.at)

    def _mount(self, at: At) -> None:
        raw = self._server.get("secrets", *at)
        if raw is None or raw.get("type") != CREDENTIALS:
            return
        client = self._client_of(at, raw)
        if client:
            entries = {k: base64.b64decode(v).decode() for k, v in raw["data"].items()}
            self.pods[at] = Pod(client, entries, digest_in(raw))

    def _client_of(self, at: At, raw: Raw) -> At | None:
        for uid in owners(raw):
            found = self._ledger.by_uid(uid)
            if found:
                return found["metadata"]["namespace"], found["metadata"]["name"]
        return self.pods[at].client if at in self.pods else None

    async def ask(self) -> None:
        """Every Pod wants a token, of whichever replica answers; verifiers and issuers look at those that are out."""
        for pod in list(self.pods.values()):
            if self._ledger.client(pod.client):
                await self.request(pod, self._chance.choice(self._issuers))
        looks = self._chance.choice(self.verifiers)
        for verifier in self.verifiers:
            await self.verify(verifier, looks=verifier is looks)
        await self.held.look()

    async def request(self, pod: Pod, issuer: IssuerProcess) -> int:
        """The status of the answer; 0 where nobody listens."""
        at, digest = self._server.loop.now, pod.digest
        proof = presented(pod, at)
        if not issuer.alive or issuer.issuer is None or issuer.network is None or not proof:
            return 0
        server = self._chance.choice(self._resources(pod.client) or [""])
        known = self._knows(issuer, pod, server)
        path = f"/client.{'.'.join(pod.client)}"
        reads = issuer.network.reads_of(path)
        body = (f"grant_type=client_credentials&{proof}" + (f"&resource={server}" if server else "")).encode()
        network = issuer.network
        answer = await issuer.answer(HttpRequest("POST", "/token", headers=FORM, body=body, peer="10.0.0.1"))
        if answer is None or issuer.network is not network:
            return 0
        reads = network.reads_of(path) - reads
        content = json.loads(answer.body)
        self.asked += 1
        if answer.status == 200:
            self._got(pod, issuer, content["access_token"], digest, at, known, reads)
        else:
            error = content["error"]
            self._see(Refused(issuer.name, pod.client, digest, answer.status, error, at, known, reads))
        return answer.status

    def _resources(self, client: At) -> list[str]:
        raw = self._ledger.client(client)
        asked = raw["spec"].get("access", ()) if raw else ()
        return [f"https://{a['resourceServer']}.{a.get('namespace') or client[0]}.svc" for a in asked]

    def _knows(self, issuer: IssuerProcess, pod: Pod, resource: str) -> bool:
        """Whether the issuer has the credential in memory, accepted, and a key to sign with: if it is up long enough
        to be asked at all.
        """
        assert issuer.issuer
        if not issuer.issuer.readiness.started and issuer.loop.now - issuer.began < STORE_TIMEOUT_SECONDS + 1.0:
            return False
        registry, now = issuer.issuer.registry, issuer.time()
        client = registry.client(".".join(pod.client))
        server = registry.servers.by_resource(resource)
        name = server.record.signing_key if server else "default"
        ready = registry.issuer is not None and registry.keys.signing_key(name, now, 360) is not None
        held = client is not None and not client.disabled
        digest = bytes.fromhex(pod.digest)
        proofs = (*client.credentials, *((key.digest, key.end) for key in client.keys)) if client else ()
        return ready and held and any(d == digest and now < e for d, e in proofs)

    def _got(
        self, pod: Pod, issuer: IssuerProcess, token: str, digest: str, at: float, known: bool, reads: int
    ) -> None:
        header, payload = (json.loads(base64.urlsafe_b64decode(p + "==")) for p in token.split(".")[:2])
        claims = {**payload, "exp": payload["exp"] - EPOCH}
        behind = at - issuer.behind_since if issuer.behind_since is not None else 0.0
        issued = Issued(issuer.name, pod.client, digest, claims, header["kid"], at, known, reads, behind)
        self.issued += 1
        self.held.got(issued, token)
        self._see(issued)

    # Verifiers

    async def verify(self, verifier: Verifier, *, looks: bool) -> None:
        """With the keys it has; after up to a day it fetches them again, from any replica. One of them checks each new
        token for all that it says.
        """
        now = self._server.loop.now
        out = self.held.expire()
        if verifier.keys is None or now - verifier.fetched > verifier.keep:
            await self._fetch(verifier)
        for token, value in out:
            if verifier.keys is not None:
                knows = verifier.keys.get(token.kid) is not None
                if not knows:
                    self._see(Verified(token, False, verifier.fetched, verifier.source_behind))
                    await self._fetch(verifier)
                elif (looks and token.at == now) or self._chance.random() < 0.05:
                    self._check(value, token, verifier)

    def _check(self, value: str, token: Issued, verifier: Verifier) -> None:
        assert verifier.keys is not None
        try:
            check(value, verifier.keys, Policy(ISSUER, token.claims["aud"], leeway=61.0), EPOCH + self._server.loop.now)
        except TokenRejected as why:
            self._see(Verified(token, False, verifier.fetched, 0.0, str(why)))

    async def _fetch(self, verifier: Verifier) -> None:
        issuer = self._chance.choice(self._issuers)
        if issuer.issuer is None or not issuer.alive or issuer.issuer.readiness.missing():
            return
        answer = await issuer.answer(HttpRequest("GET", "/jwks.json"))
        if answer is None or answer.status != 200:
            return
        if answer.body != verifier.body:
            verifier.keys = KeySet.parse(json.loads(answer.body), verifier.keys)
            verifier.body = answer.body
        verifier.fetched = now = self._server.loop.now
        verifier.keep = self._chance.uniform(3600.0, 24 * 3600.0)
        verifier.source_behind = now - issuer.behind_since if issuer.behind_since is not None else 0.0
