"""Client authentication: verifies the credential that a client presents.

Only credentials in the client's record are accepted. For a while after a change of method, they include one of the
previous method. The reason for a refusal is for the audit line; callers that hold the client's key get advice too.
"""

import hashlib
import hmac
from typing import Final

from scopewright.api.names import is_label
from scopewright.core.failures import Unavailable
from scopewright.core.profile import allows_method
from scopewright.core.records.issuer import IssuerRecord
from scopewright.issuer.authentication.assertions import CredentialRefused, VerifiedAssertion, check_client_assertion
from scopewright.issuer.authentication.clusters import TrustedClusters, cluster_of
from scopewright.issuer.authentication.service_accounts import check_service_account_token
from scopewright.issuer.protocol.errors import secrets_not_accepted
from scopewright.issuer.protocol.request import (
    PresentedAssertion,
    PresentedCredential,
    PresentedNothing,
    PresentedSecret,
)
from scopewright.issuer.state.entries import Client
from scopewright.issuer.state.recognised import Authenticated, Holds
from scopewright.issuer.state.registry import Registry
from scopewright.rate_budget import Clock
from scopewright.serving.replay import LocalReplay, ReplayStore

_MAX_LABEL_LENGTH: Final = 63


def is_client_id(client_id: str) -> bool:
    """Whether it has the form `<namespace>.<name>`. Other ids have no record."""
    namespace, _, name = client_id.partition(".")
    return is_label(namespace) and is_label(name)


def expected_client_id(presented: PresentedCredential) -> str:
    """The id of the client that is named after the ServiceAccount, for a token that names no known client.

    Its record is read as a known client's would be, so that the budgets do not show which ServiceAccounts have clients.
    """
    account = presented.service_account if isinstance(presented, PresentedAssertion) else None
    if account is None:
        return ""
    return f"{account.namespace}.{account.name.replace('.', '-')[:_MAX_LABEL_LENGTH].rstrip('-')}"


def verify_secret(
    client: Client | None, presented: PresentedSecret, now: float, issuer: IssuerRecord | None = None
) -> Authenticated | None:
    """Compares with every credential in constant time, whether an earlier one matched or not."""
    if client is None or client.disabled:
        return None
    digest = hashlib.sha256(presented.secret.encode()).digest()
    until = 0.0
    for sha256, end in client.credentials:
        if hmac.compare_digest(sha256, digest):
            digest, until = sha256, max(until, end)  # the record's object, which is in memory anyway
    return Authenticated(client, digest, issuer, until) if now < until else None


def accept_public(client: Client | None) -> Authenticated | None:
    """A client that has no credential by its record; it proves nothing (RFC 6749 §2.1)."""
    if client is None or client.disabled or not client.public:
        return None
    return Authenticated(client, client.identity)


class Authenticator:
    def __init__(self, registry: Registry, replay: ReplayStore, clusters: TrustedClusters, clock: Clock) -> None:
        self._registry = registry
        self._replay = replay
        self._local_replay = replay if isinstance(replay, LocalReplay) else None
        self._clusters = clusters
        self._clock = clock

    def authenticate_from_memory(self, presented: PresentedCredential, now: float) -> Authenticated | None:
        """A client with a valid credential, or a public client. None if the credential is not valid, and where checking
        it may need I/O.
        """
        if isinstance(presented, PresentedSecret) and self.accepts_secrets:
            registry = self._registry
            return verify_secret(registry.clients.get(presented.client_id), presented, now, registry.issuer)
        if isinstance(presented, PresentedNothing):
            return accept_public(self._registry.clients.get(presented.client_id))
        if isinstance(presented, PresentedAssertion) and self._local_replay is not None:
            return self._verify_assertion_here(presented, self._local_replay)
        return None

    async def authenticate(self, presented: PresentedCredential) -> Authenticated:
        """Raises `CredentialRefused`; `Unavailable` while the credential cannot be checked."""
        if isinstance(presented, PresentedAssertion):
            return await self._verify_assertion(presented)
        if not self.accepts_secrets:
            raise secrets_not_accepted()
        client = self._registry.clients.get(presented.client_id)
        if isinstance(presented, PresentedNothing):
            if public := accept_public(client):
                return public
            _require_enabled(client)
            raise CredentialRefused("not_public")
        if authenticated := verify_secret(client, presented, self._clock(), self._registry.issuer):
            return authenticated
        raise CredentialRefused("wrong_secret" if _require_enabled(client).credentials else "other_method")

    async def resolve_client_id(self, presented: PresentedCredential) -> None:
        """For a ServiceAccount token without `client_id`: sets the client that names it, if there is exactly one."""
        if presented.client_id or not isinstance(presented, PresentedAssertion):
            return
        if account := presented.service_account:
            trusted = self._clusters.of(self._registry.require_issuer().clusters)
            cluster = await cluster_of(presented.signed.claims, trusted)
            clients = self._registry.clients.ids_of_account(cluster, account.namespace, account.name) if cluster else ()
            presented.client_id, presented.looked_up = clients[0] if len(clients) == 1 else "", True

    async def _verify_assertion(self, presented: PresentedAssertion) -> Authenticated:
        """Verifies again if the record changed in the meantime: the checks may wait for seconds."""
        is_marked_used = False
        while True:
            client = _require_enabled(self._registry.clients.get(presented.client_id))
            issuer = self._registry.issuer
            verified = self._checked(client, presented) or await self._service_account(client, presented)
            if verified.jti and not is_marked_used:
                if not await self._replay.first_use(client.client_id, verified.jti, verified.expires_at):
                    raise CredentialRefused(
                        "assertion_replayed", "the assertion was used before; make a new one for each request"
                    )
                is_marked_used = True
            if self._registry.clients.get(client.client_id) is client:
                if verified.holds is None:
                    return Authenticated(client, verified.digest)
                holds = self._only_client(client, verified.holds) if presented.looked_up else verified.holds
                return Authenticated(client, verified.digest, issuer, verified.until, verified.since, holds)

    def _only_client(self, client: Client, holds: Holds) -> Holds:
        """Whether the client is also still the only one of its ServiceAccount: the request does not name it."""
        account, clients, found = client.service_account, self._registry.clients, (client.client_id,)
        if account is None:
            return lambda: False
        cluster, namespace, name = account.cluster, client.namespace, account.name
        return lambda: holds() and clients.ids_of_account(cluster, namespace, name) == found

    def _verify_assertion_here(self, presented: PresentedAssertion, replay: LocalReplay) -> Authenticated | None:
        """As `_verify_assertion`, without a task for the request: for an assertion by a key of the client, where the
        memory is that of this process. What is refused is refused in the same way, and not verified again.
        """
        client, issuer = self._registry.clients.get(presented.client_id), self._registry.issuer
        if client is None or client.disabled or issuer is None or not _is_by_own_key(client, presented):
            return None
        try:
            verified = self._check_by_own_key(client, presented, issuer)
            presented.checked = client, issuer, verified
            if replay.first_use_here(client.client_id, verified.jti, verified.expires_at):
                return Authenticated(client, verified.digest)
        except CredentialRefused as refused:
            presented.checked = client, issuer, refused
        except Unavailable:
            pass
        return None

    def _check_by_own_key(
        self, client: Client, presented: PresentedAssertion, issuer: IssuerRecord
    ) -> VerifiedAssertion:
        if not allows_method(issuer.profile, client.declared_method):
            raise CredentialRefused("profile")
        return check_client_assertion(client, presented.signed, issuer, self._clock())

    def _checked(self, client: Client, presented: PresentedAssertion) -> VerifiedAssertion | None:
        """The assertion, if the client has signed it; None if it may be of a ServiceAccount."""
        issuer = self._registry.require_issuer()
        checked = presented.checked
        if checked is not None and checked[0] is client and checked[1] is issuer:
            return _result(checked[2])
        if _is_by_own_key(client, presented):
            return self._check_by_own_key(client, presented, issuer)
        if not allows_method(issuer.profile, client.declared_method):
            raise CredentialRefused("profile")
        if client.method == "ServiceAccount":
            return None
        raise CredentialRefused("other_method")

    async def _service_account(self, client: Client, presented: PresentedAssertion) -> VerifiedAssertion:
        issuer, signed = self._registry.require_issuer(), presented.signed
        clusters = self._clusters.of(issuer.clusters)
        if client.service_account is None:
            raise CredentialRefused("no_service_account")
        if (cluster := clusters.get(client.service_account.cluster)) is None:
            raise CredentialRefused("unknown_cluster")
        keys = await cluster.keys(signed.header.get("kid"))
        issuers = await cluster.issuer(), issuer.issuer
        reserved = frozenset(issuer.reserved_audiences)
        token = check_service_account_token(client, signed, keys, *issuers, reserved, issuer.clock_skew, self._clock())
        token.holds = cluster.holds(keys, issuers[0])
        if not await cluster.review(presented.jwt, issuer.issuer):
            raise CredentialRefused("token_review", "the API server rejects the token; its Pod may have been deleted")
        return token

    @property
    def accepts_secrets(self) -> bool:
        """FAPI 2.0 §5.3.2.1 allows neither client secrets nor public clients: both are refused for every client id,
        before any lookup.
        """
        return not self._registry.is_fapi2


def _result(checked: VerifiedAssertion | CredentialRefused) -> VerifiedAssertion:
    if isinstance(checked, CredentialRefused):
        raise checked
    return checked


def _is_by_own_key(client: Client, presented: PresentedAssertion) -> bool:
    return client.method == "PrivateKeyJWT" or (
        bool(client.keys) and presented.signed.claims.get("iss") == client.client_id
    )


def _require_enabled(client: Client | None) -> Client:
    if client is None:
        raise CredentialRefused("unknown_client")
    if client.disabled:
        raise CredentialRefused("disabled")
    return client
