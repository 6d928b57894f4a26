"""The clients of the simulation: Pods that read their Secret with a delay, and verifiers that cache the JWKS."""

import base64
import json
from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from scopewright.core.users import User
from scopewright.issuer.build import STORE_TIMEOUT_SECONDS
from scopewright.issuer.protocol.responses import HttpRequest
from scopewright.verifier.check import Policy, check
from scopewright.verifier.keyset import KeySet
from scopewright.verifier.refusals import TokenRejected
from tests.simulation.expected_access import USERS, subject
from tests.simulation.issuers import IssuerProcess
from tests.simulation.observations import (
    CREDENTIALS,
    Fact,
    Observations,
    TokenIssued,
    TokenRefused,
    TokenVerified,
    UserAccessSeen,
    credential_digest,
    owners,
)
from tests.simulation.outstanding_tokens import OutstandingTokens
from tests.simulation.pod_credentials import FORM, Pod, authentication_form
from tests.simulation.process import EPOCH
from tests.simulation.server import NamespacedName, Raw, Server, Write
from tests.simulation.settings import ISSUER

MAX_READ_DELAY_SECONDS = 3600.0


@dataclass
class Verifier:
    keys: KeySet | None = None
    body: bytes = b""
    fetched: float = -1.0
    keep: float = 0.0
    source_staleness: float = 0.0


class Pods:
    def __init__(
        self,
        server: Server,
        observed: Observations,
        issuers: list[IssuerProcess],
        rng: Random,
        observe: Callable[[Fact], None],
    ) -> None:
        self._server, self._observed, self._issuers = server, observed, issuers
        self._rng, self._observe = rng, observe
        self.pods: dict[NamespacedName, Pod] = {}
        """By the Secret that it mounts."""
        self.verifiers = [Verifier(), Verifier()]
        self.outstanding = OutstandingTokens(observed, issuers, self.pods, Random(rng.random()), observe)
        self.requested = 0
        self.issued = 0

    # Pods

    def on_secret(self, write: Write) -> None:
        """The kubelet updates mounted Secrets up to an hour late; a new Pod starts with the current one."""
        raw = write.new
        if raw is None or raw.get("type") != CREDENTIALS:
            return
        late = self._rng.uniform(1.0, MAX_READ_DELAY_SECONDS) if write.at in self.pods else 0.5
        self._server.loop.call_later(late, self._mount, write.at)

    def _mount(self, at: NamespacedName) -> None:
        raw = self._server.get("secrets", *at)
        if raw is None or raw.get("type") != CREDENTIALS:
            return
        client = self._client_of(at, raw)
        if client:
            entries = {k: base64.b64decode(v).decode() for k, v in raw["data"].items()}
            self.pods[at] = Pod(client, entries, credential_digest(raw))

    def _client_of(self, at: NamespacedName, raw: Raw) -> NamespacedName | None:
        for uid in owners(raw):
            found = self._observed.by_uid(uid)
            if found:
                return found["metadata"]["namespace"], found["metadata"]["name"]
        return self.pods[at].client if at in self.pods else None

    async def request_tokens(self) -> None:
        """Every Pod requests a token at a random replica; verifiers and issuers check outstanding tokens."""
        for pod in list(self.pods.values()):
            if self._observed.client(pod.client):
                await self.request(pod, self._rng.choice(self._issuers))
        checks_all = self._rng.choice(self.verifiers)
        for verifier in self.verifiers:
            await self.verify(verifier, checks_all=verifier is checks_all)
        await self.outstanding.check()

    async def request(self, pod: Pod, issuer: IssuerProcess) -> int:
        """The status of the answer; 0 if there is none."""
        at, digest = self._server.loop.now, pod.digest
        proof = authentication_form(pod, at)
        if not issuer.alive or issuer.issuer is None or issuer.network is None or not proof:
            return 0
        server = self._rng.choice(self._resources(pod.client) or [""])
        known = self._knows(issuer, pod, server)
        path = f"/client.{'.'.join(pod.client)}"
        reads = issuer.network.reads_of(path)
        body = (f"grant_type=client_credentials&{proof}" + (f"&resource={server}" if server else "")).encode()
        if known:
            self._look_at_users(pod, issuer, digest, at)
        network = issuer.network
        answer = await issuer.answer(HttpRequest("POST", "/token", headers=FORM, body=body, peer="10.0.0.1"))
        if answer is None or issuer.network is not network:
            return 0
        reads = network.reads_of(path) - reads
        content = json.loads(answer.body)
        self.requested += 1
        if answer.status == 200:
            self._on_token(pod, issuer, content["access_token"], digest, at, known, reads)
        else:
            error = content["error"]
            self._observe(TokenRefused(issuer.name, pod.client, digest, answer.status, error, at, known, reads))
        return answer.status

    def _resources(self, client: NamespacedName) -> list[str]:
        raw = self._observed.client(client)
        entries = raw["spec"].get("access", ()) if raw else ()
        return [f"https://{a['resourceServer']}.{a.get('namespace') or client[0]}.svc" for a in entries]

    def _knows(self, issuer: IssuerProcess, pod: Pod, resource: str) -> bool:
        """Whether the issuer has the accepted credential and a signing key in memory, and has been up long enough to
        answer at all.
        """
        assert issuer.issuer
        if not issuer.issuer.readiness.started and issuer.loop.now - issuer.started < STORE_TIMEOUT_SECONDS + 1.0:
            return False
        registry, now = issuer.issuer.registry, issuer.time()
        client = registry.clients.get(".".join(pod.client))
        server = registry.servers.by_resource(resource)
        name = server.record.signing_key if server else "default"
        ready = registry.issuer is not None and registry.keys.signing_key(name, now, registry.issuer) is not None
        held = client is not None and not client.disabled
        digest = bytes.fromhex(pod.digest)
        proofs = (*client.credentials, *((key.digest, key.end) for key in client.keys)) if client else ()
        return ready and held and any(d == digest and now < e for d, e in proofs)

    def _look_at_users(self, pod: Pod, issuer: IssuerProcess, digest: str, at: float) -> None:
        """What the issuer would put into tokens of users through the client, as it does after a login."""
        assert issuer.issuer
        registry, now = issuer.issuer.registry, issuer.time()
        client = registry.clients.get(".".join(pod.client))
        behind = at - issuer.stale_since if issuer.stale_since is not None else 0.0
        for requested in client.requested if client else ():
            server = registry.server_of(requested)
            if client is None or server is None:
                continue
            for user, groups in USERS.items():
                access = registry.user_access(client, requested, server, User(subject(user), groups), now)
                complete = access.grant(tuple(access.scope_ends)).roles if access.scope_ends else ()
                ends = access.scope_ends | {f"role {role}": access.role_ends[role] for role in complete}
                if ends:
                    since_start = {name: end - EPOCH for name, end in ends.items()}
                    self._observe(
                        UserAccessSeen(issuer.name, pod.client, digest, user, server.audience, since_start, at, behind)
                    )

    def _on_token(
        self, pod: Pod, issuer: IssuerProcess, token: str, digest: str, at: float, known: bool, reads: int
    ) -> None:
        header, payload = (json.loads(base64.urlsafe_b64decode(p + "==")) for p in token.split(".")[:2])
        claims = {**payload, "exp": payload["exp"] - EPOCH}
        behind = at - issuer.stale_since if issuer.stale_since is not None else 0.0
        issued = TokenIssued(issuer.name, pod.client, digest, claims, header["kid"], at, known, reads, behind)
        self.issued += 1
        self.outstanding.add(issued, token)
        self._observe(issued)

    # Verifiers

    async def verify(self, verifier: Verifier, *, checks_all: bool) -> None:
        """Check outstanding tokens with the cached keys, which are fetched again after up to a day from any replica.

        If `checks_all`, it checks each new token in full.
        """
        now = self._server.loop.now
        out = self.outstanding.expire()
        if verifier.keys is None or now - verifier.fetched > verifier.keep:
            await self._fetch(verifier)
        for token, value in out:
            if verifier.keys is not None:
                knows = verifier.keys.get(token.kid) is not None
                if not knows:
                    self._observe(TokenVerified(token, False, verifier.fetched, verifier.source_staleness))
                    await self._fetch(verifier)
                elif (checks_all and token.time == now) or self._rng.random() < 0.05:
                    self._check(value, token, verifier)

    def _check(self, value: str, token: TokenIssued, verifier: Verifier) -> None:
        assert verifier.keys is not None
        try:
            check(value, verifier.keys, Policy(ISSUER, token.claims["aud"], leeway=61.0), EPOCH + self._server.loop.now)
        except TokenRejected as why:
            self._observe(TokenVerified(token, False, verifier.fetched, 0.0, str(why)))

    async def _fetch(self, verifier: Verifier) -> None:
        issuer = self._rng.choice(self._issuers)
        if issuer.issuer is None or not issuer.alive or issuer.issuer.readiness.missing():
            return
        answer = await issuer.answer(HttpRequest("GET", "/jwks.json"))
        if answer is None or answer.status != 200:
            return
        if answer.body != verifier.body:
            verifier.keys = KeySet.parse(json.loads(answer.body), verifier.keys)
            verifier.body = answer.body
        verifier.fetched = now = self._server.loop.now
        verifier.keep = self._rng.uniform(3600.0, 24 * 3600.0)
        verifier.source_staleness = now - issuer.stale_since if issuer.stale_since is not None else 0.0
