"""The grants of users at the token endpoint: authorization_code (RFC 6749 §4.1.3) and refresh_token (§6).

Both read the credential together with the session, and a code reads the record of its user as well. They decide from
the records, sign, and then write once. The write is a compare-and-set: it uses up the code, or moves the family of
refresh tokens on. Only after it is there an answer.
"""

from dataclasses import dataclass, field, replace

from scopewright.core.records.client import Login
from scopewright.issuer.authentication.dpop import DpopProofs, proof_required
from scopewright.issuer.endpoints.handler import Outcome
from scopewright.issuer.endpoints.user_grant_answer import IssuedToUser, outcome_of
from scopewright.issuer.endpoints.user_grant_conditions import UserGrantConditions, require_owner
from scopewright.issuer.endpoints.user_grant_request import UserGrantRequest, invalid_grant
from scopewright.issuer.observability.user_metrics import UserMetrics
from scopewright.issuer.protocol.errors import OAuthError
from scopewright.issuer.revocations import Revocations
from scopewright.issuer.state.entries import Client
from scopewright.issuer.state.recognised import Authenticated
from scopewright.issuer.state.registry import Registry
from scopewright.issuer.tokens.authorise import AUTHORIZATION_CODE, REFRESH_TOKEN, require_grant_type
from scopewright.issuer.tokens.signer import Signer
from scopewright.issuer.users import codes
from scopewright.issuer.users.codes import CODE_SECONDS, Codes, FoundCode, grant_id_of, proves_challenge
from scopewright.issuer.users.compare_and_set import retry_lost, save_or_lose
from scopewright.issuer.users.id_tokens import IdTokens
from scopewright.issuer.users.refresh_tokens import (
    BegunFamily,
    NewFamily,
    RefreshTokenFamilies,
    Use,
    has_expired,
    use_token,
)
from scopewright.issuer.users.stored import DelegatedAccess, Redemption, Session
from scopewright.issuer.users.turns import in_line
from scopewright.issuer.users.upstream_logins import VersionedLogin
from scopewright.issuer.users.user_authorisation import authorise_user
from scopewright.issuer.users.user_record import VersionedUser
from scopewright.stores.sessions.sealed import SealedSessions


@dataclass(slots=True)
class _Grant:
    """A request of an authenticated client. `jkt` is None until the proof has been checked."""

    client: Client
    login: Login
    request: UserGrantRequest
    now: float
    jkt: str | None
    about: dict[str, str] = field(default_factory=dict)
    """The user of the code or refresh token, for the audit line of a refusal."""


class UserGrants:
    def __init__(
        self,
        registry: Registry,
        store: SealedSessions,
        conditions: UserGrantConditions,
        families: RefreshTokenFamilies,
        dpop: DpopProofs,
        signer: Signer,
        revocations: Revocations,
        id_tokens: IdTokens,
        metrics: UserMetrics,
    ) -> None:
        self._registry = registry
        self._store = store
        self._conditions = conditions
        self._codes = Codes(store)
        self._families = families
        self._dpop = dpop
        self._signer = signer
        self._revocations = revocations
        self._id_tokens = id_tokens
        self._metrics = metrics

    async def serve(self, authenticated: Authenticated, request: UserGrantRequest, now: float) -> Outcome:
        line = in_line("codes" if request.grant_type == AUTHORIZATION_CODE else "others")
        with line, self._metrics.grant(request.grant_type):
            return await self._serve(authenticated, request, now)

    async def _serve(self, authenticated: Authenticated, request: UserGrantRequest, now: float) -> Outcome:
        client = authenticated.client
        require_grant_type(client, request.grant_type)
        if client.login is None:
            raise invalid_grant("no_login")
        if client.dpop_required and not request.proofs:
            raise proof_required()
        grant = _Grant(client, client.login, request, now, None if request.proofs else "")
        serve = self._redeem if request.grant_type == AUTHORIZATION_CODE else self._refresh
        with self._dpop.nonce_for(request.proofs, now) as nonce:
            try:
                issued = await retry_lost(lambda: serve(grant))
            except OAuthError as error:
                error.about = grant.about
                raise
        return outcome_of(issued, client, request.grant_type, grant.jkt, nonce)

    async def _key(self, grant: _Grant, delegated: DelegatedAccess) -> str:
        """The thumbprint of the key that the tokens are bound to; empty: of none.

        The proof is checked only after the code or refresh token was found, and once: anybody can send proofs in the
        name of a public client, and each takes room in the replay memory.
        """
        if grant.jkt is None:
            grant.jkt = await self._dpop.verify(grant.request.proofs, grant.client.client_id, grant.now)
        if delegated.jkt and delegated.jkt != grant.jkt:
            raise invalid_grant("dpop_key")
        return grant.jkt

    # Codes

    async def _redeem(self, grant: _Grant) -> IssuedToUser:
        """Raises LostWrite if the code or the user's record was written in the meantime."""
        client, request = grant.client, grant.request
        found = await self._codes.find(request.credential)
        if found is None:
            raise invalid_grant("unknown_code")
        code = found.code
        grant.about = {"subject": code.delegated.subject, "sid": code.delegated.sid}
        require_owner(client, code.delegated)
        if request.redirect_uri != code.redirect_uri:
            raise invalid_grant("redirect_uri")
        # A code without a challenge may be older than the profile or the method.
        needs_challenge = client.public or self._registry.is_fapi2
        if not proves_challenge(code.code_challenge, request.verifier) or (needs_challenge and not code.code_challenge):
            raise invalid_grant("code_verifier")
        jkt = await self._key(grant, code.delegated)
        grant_id = grant_id_of(found.handle)
        if code.redemption is not None:
            # This redemption has proven as much as the first one.
            await self._end_family(client, grant_id, code.redemption.family, code.delegated.subject)
            raise invalid_grant("code_replayed")
        session = await self._conditions.confirmed(
            client, grant.login, code.redirect_uri, found.session, found.store_now
        )
        user = await self._conditions.consenting_user(client, grant.login, code.delegated, session)
        user, forgotten = codes.with_redeemed(user, found)
        family = None
        if REFRESH_TOKEN in client.grant_types:
            login = await self._conditions.shared_login(code.delegated, session)
            family = self._begin_family(grant, found, session, jkt, user, login)
        issued = self._sign(grant, code.delegated, family.session if family else session, grant_id, jkt)
        self._add_id_token(issued, grant, session.sid, code.nonce)
        issued.refresh_token = family.token if family else ""
        redemption = Redemption(family.family_id if family else "")
        seconds = family.session.end_time - user.now if family else issued.token.expires_in
        writes = family.writes if family else (user.save(user.record),)
        await save_or_lose(
            self._store, codes.redeemed(found, redemption, max(CODE_SECONDS, seconds)), *writes, *forgotten
        )
        return issued

    def _begin_family(
        self,
        grant: _Grant,
        found: FoundCode,
        session: Session,
        jkt: str,
        user: VersionedUser,
        login: VersionedLogin | None,
    ) -> BegunFamily:
        """Public clients have a token that rotates, or one that is bound to their key."""
        code, public = found.code, grant.client.public
        delegated = replace(code.delegated, jkt=jkt) if public and jkt else code.delegated
        rotates = public and not jkt
        new = NewFamily(delegated, session, grant_id_of(found.handle), code.redirect_uri, rotates=rotates, login=login)
        return self._families.begin(new, grant.login, user)

    # Refresh tokens

    async def _refresh(self, grant: _Grant) -> IssuedToUser:
        """Raises LostWrite if the family was written in the meantime."""
        client = grant.client
        found = await self._families.find(grant.request.credential)
        if found is None:
            raise invalid_grant("unknown_refresh_token")
        family = found.family
        grant.about = {"subject": family.delegated.subject, "sid": family.login_sid}
        require_owner(client, family.delegated)
        jkt = await self._key(grant, family.delegated)
        if client.public and not family.secret and not family.delegated.jkt:
            raise invalid_grant("unbound_refresh_token")
        if has_expired(family, grant.login, found.store_now):
            raise invalid_grant("refresh_token_expired")
        refreshed = use_token(found, grant.login)
        if refreshed.use is Use.REPLAYED:
            await self._end_family(client, family.grant_id, found.token.family_id, family.delegated.subject)
            raise invalid_grant("refresh_token_replayed")
        session = await self._conditions.confirmed(
            client, grant.login, family.redirect_uri, found.session, found.store_now
        )
        issued = self._sign(grant, family.delegated, session, family.grant_id, jkt)
        self._add_id_token(issued, grant, family.login_sid)
        issued.refresh_token = refreshed.token
        if refreshed.use is Use.WRITE:
            await save_or_lose(self._store, self._families.next_state(found, refreshed.family, grant.login))
        return issued

    # Both

    async def _end_family(self, client: Client, grant_id: str, family_id: str, subject: str) -> None:
        """End all that a code gave: its access tokens, and those of its refresh tokens."""
        self._revocations.end_grant(client.uid_hash, grant_id, subject)
        if family_id:
            await self._families.end(family_id, subject)

    def _sign(
        self, grant: _Grant, delegated: DelegatedAccess, session: Session, grant_id: str, jkt: str
    ) -> IssuedToUser:
        request = grant.request
        authorised = authorise_user(
            grant.client, delegated, session, grant_id, request.resources, request.scopes, self._registry, grant.now
        )
        authorisation = authorised.authorisation
        if not jkt and (authorisation.server.record.dpop_required or self._registry.is_fapi2):
            raise proof_required()
        authorisation.jkt = jkt
        return IssuedToUser(authorised, session, self._signer.sign(authorisation, grant.now))

    def _add_id_token(self, issued: IssuedToUser, grant: _Grant, sid: str, nonce: str = "") -> None:
        scopes, token = issued.authorised.openid_scopes, issued.token.value
        if "openid" in scopes:
            issued.id_token = self._id_tokens.issue(
                grant.client, issued.session, scopes, sid=sid, now=grant.now, access_token=token, nonce=nonce
            )
