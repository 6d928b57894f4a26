"""Second step: what a client presents proves who it is, or does not.

What the record holds is accepted, and nothing because it was sent; for a while after a change of method, that is also a
credential of the one before. Why not is for the audit; the caller learns it only where it has proved to hold the key.
"""

import hashlib
import hmac
import re
from dataclasses import dataclass, field
from typing import Final

from scopewright.core.records import IssuerRecord
from scopewright.issuer.authentication import assertions, service_accounts
from scopewright.issuer.authentication.assertions import AuthenticationProof, CredentialRefused
from scopewright.issuer.authentication.clusters import TrustedClusters, cluster_of
from scopewright.issuer.authentication.replay import ReplayStore
from scopewright.issuer.protocol.errors import secret_not_taken, unavailable
from scopewright.issuer.protocol.request import PresentedAssertion, PresentedCredential, PresentedSecret
from scopewright.issuer.rate_budget import Clock
from scopewright.issuer.state.entries import Client
from scopewright.issuer.state.registry import Registry

_LONGEST_LABEL: Final = 63
_LABEL: Final = "[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?"
_CLIENT_ID: Final = re.compile(rf"{_LABEL}\.{_LABEL}", re.ASCII)


@dataclass(slots=True)
class Authenticated:
    """A client that has proved who it is, with what has this SHA-256."""

    client: Client
    digest: bytes = field(repr=False)


def is_client_id(client_id: str) -> bool:
    """Whether it is `<namespace>.<name>` at all, and so worth a read."""
    return _CLIENT_ID.fullmatch(client_id) is not None


def expected_client_id(presented: PresentedCredential) -> str:
    """Of a ServiceAccount's token that no known client is for: the client that is named after it. Its record is read
    afresh, as that of a known client would be, so that the budgets do not show which ServiceAccounts have clients.
    """
    account = presented.service_account if isinstance(presented, PresentedAssertion) else None
    if account is None:
        return ""
    return f"{account.namespace}.{account.name.replace('.', '-')[:_LONGEST_LABEL].rstrip('-')}"


def verify_secret(client: Client | None, presented: PresentedSecret, now: float) -> Authenticated | None:
    """Every credential is compared, in constant time, whatever the ones before gave."""
    if client is None or client.disabled:
        return None
    digest = hashlib.sha256(presented.secret.encode()).digest()
    accepted = False
    for sha256, end in client.credentials:
        accepted |= hmac.compare_digest(sha256, digest) and now < end
    return Authenticated(client, digest) if accepted else None


class Authenticator:
    def __init__(self, registry: Registry, replay: ReplayStore, clusters: TrustedClusters, clock: Clock) -> None:
        self._registry = registry
        self._replay = replay
        self._clusters = clusters
        self._clock = clock

    def from_memory(self, presented: PresentedCredential) -> Authenticated | None:
        """Where a look at the record is enough."""
        if isinstance(presented, PresentedSecret) and self.takes_secrets:
            return verify_secret(self._registry.client(presented.client_id), presented, self._clock())
        return None

    async def prove(self, presented: PresentedCredential) -> Authenticated:
        """Or `CredentialRefused`. `Unavailable` where that cannot be told."""
        if isinstance(presented, PresentedAssertion):
            return await self._by_assertion(presented)
        if not self.takes_secrets:
            raise secret_not_taken()
        client = self._registry.client(presented.client_id)
        if who := verify_secret(client, presented, self._clock()):
            return who
        raise CredentialRefused("wrong_secret" if _of(client).credentials else "other_method")

    async def identify(self, presented: PresentedCredential) -> None:
        """Find out which client a token of a ServiceAccount means without `client_id`: the only one that names it."""
        if presented.client_id or not isinstance(presented, PresentedAssertion):
            return
        if account := presented.service_account:
            cluster = await cluster_of(presented.signed.claims, self._clusters.of(self._issuer().clusters))
            named = self._registry.clients_of_account(cluster, account.namespace, account.name) if cluster else ()
            presented.client_id = named[0] if len(named) == 1 else ""

    async def _by_assertion(self, presented: PresentedAssertion) -> Authenticated:
        """What was waited for may have taken seconds: the record must be the one that was looked at."""
        used = False
        while True:
            client = _of(self._registry.client(presented.client_id))
            proof = await self._proof(client, presented)
            if proof.once and not used:
                if not await self._replay.first_use(client.client_id, proof.once, proof.until):
                    raise _replayed()
                used = True
            if self._registry.client(client.client_id) is client:
                return Authenticated(client, proof.digest)

    async def _proof(self, client: Client, presented: PresentedAssertion) -> AuthenticationProof:
        if self._issuer().profile == "FAPI2" and client.method != "PrivateKeyJWT":
            raise CredentialRefused("profile")
        own = bool(client.keys) and presented.signed.claims.get("iss") == client.client_id
        if own or client.method == "PrivateKeyJWT":
            return self._private_key_jwt(client, presented)
        if client.method == "ServiceAccount":
            return await self._service_account(client, presented)
        raise CredentialRefused("other_method")

    def _private_key_jwt(self, client: Client, presented: PresentedAssertion) -> AuthenticationProof:
        return assertions.check(client, presented.signed, self._issuer(), self._clock())

    async def _service_account(self, client: Client, presented: PresentedAssertion) -> AuthenticationProof:
        issuer, signed = self._issuer(), presented.signed
        trusted = self._clusters.of(issuer.clusters)
        if client.service_account is None:
            raise CredentialRefused("no_service_account")
        if (cluster := trusted.get(client.service_account.cluster)) is None:
            raise CredentialRefused("unknown_cluster")
        keys = await cluster.keys(signed.header.get("kid"))
        names = await cluster.issuer(), issuer.issuer, frozenset(issuer.reserved_audiences)
        proof = service_accounts.check(client, signed, keys, *names, issuer.clock_skew, self._clock())
        if not await cluster.reviewed(presented.jwt, issuer.issuer):
            raise CredentialRefused(
                "token_review", "the API server does not take the token any more: its Pod may be gone"
            )
        return proof

    @property
    def takes_secrets(self) -> bool:
        """FAPI 2.0 §5.3.2.1 knows no shared secrets: the same refusal for every client id, before anything is read."""
        return self._registry.issuer is None or self._registry.issuer.profile != "FAPI2"

    def _issuer(self) -> IssuerRecord:
        if self._registry.issuer is None:
            raise unavailable("the issuer is starting", reason="no_issuer_record")
        return self._registry.issuer


def _replayed() -> CredentialRefused:
    return CredentialRefused("assertion_replayed", "the assertion was used before: make a new one for each request")


def _of(client: Client | None) -> Client:
    if client is None:
        raise CredentialRefused("unknown_client")
    if client.disabled:
        raise CredentialRefused("disabled")
    return client
