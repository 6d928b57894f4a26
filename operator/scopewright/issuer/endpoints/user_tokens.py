"""The grants of users at the token endpoint: authorization_code (RFC 6749 §4.1.3) and refresh_token (§6).

Both read the store once, together with the session, decide from the records, sign, and then write once. The write is a
compare-and-set: it uses up the code, or moves the family of refresh tokens on. Only after it is there an answer.
"""

from dataclasses import dataclass, field, replace
from typing import Any, Final

import orjson

from scopewright.api import redirect_uris
from scopewright.core.records.client import Login
from scopewright.issuer.authentication.authenticator import Authenticated
from scopewright.issuer.authentication.dpop import DpopProofs, proof_required
from scopewright.issuer.endpoints.base import Outcome
from scopewright.issuer.protocol.errors import OAuthError, invalid_request, unavailable
from scopewright.issuer.protocol.request import Form, parameter
from scopewright.issuer.protocol.responses import NO_STORE, Answer
from scopewright.issuer.revocations import Revocations
from scopewright.issuer.state.entries import Client
from scopewright.issuer.state.registry import Registry
from scopewright.issuer.tokens.authorise import require_grant_type
from scopewright.issuer.tokens.sign import IssuedToken
from scopewright.issuer.tokens.signer import Signer
from scopewright.issuer.users.codes import CODE_SECONDS, Codes, FoundCode, grant_id_of, proves_challenge, redeemed
from scopewright.issuer.users.id_tokens import IdTokens
from scopewright.issuer.users.login_policy import refusal_of
from scopewright.issuer.users.refresh_tokens import (
    BegunFamily,
    FoundFamily,
    NewFamily,
    RefreshTokenFamilies,
    Use,
    has_expired,
    use_token,
)
from scopewright.issuer.users.stored import DelegatedAccess, Redemption, Session
from scopewright.issuer.users.user_authorisation import UserAuthorisation, authorise_user
from scopewright.stores.sessions.sealed import SealedSessions

AUTHORIZATION_CODE: Final = "authorization_code"
REFRESH_TOKEN: Final = "refresh_token"  # noqa: S105  # a grant type
USER_GRANT_TYPES: Final = (AUTHORIZATION_CODE, REFRESH_TOKEN)
ISSUED: Final = "issued"

_MAX_ATTEMPTS: Final = 5
"""Of a compare-and-set: each failure means that another request has just written."""


@dataclass(slots=True)
class UserGrantRequest:
    """The parameters of the two grants: `credential` is the code or the refresh token."""

    grant_type: str
    credential: str = field(repr=False)
    redirect_uri: str = ""
    verifier: str = field(default="", repr=False)
    resources: tuple[str, ...] = ()
    scopes: tuple[str, ...] = ()
    proofs: tuple[bytes, ...] = field(default=(), repr=False)


@dataclass(slots=True)
class _Issued:
    """The parts of an answer."""

    authorised: UserAuthorisation
    session: Session
    token: IssuedToken
    id_token: str = ""
    refresh_token: str = ""


class UserGrants:
    def __init__(
        self,
        registry: Registry,
        store: SealedSessions,
        families: RefreshTokenFamilies,
        dpop: DpopProofs,
        signer: Signer,
        revocations: Revocations,
        id_tokens: IdTokens,
    ) -> None:
        self._registry = registry
        self._store = store
        self._codes = Codes(store)
        self._refresh_tokens = families
        self._dpop = dpop
        self._signer = signer
        self._revocations = revocations
        self._id_tokens = id_tokens

    async def serve(self, authenticated: Authenticated, request: UserGrantRequest, now: float) -> Outcome:
        client = authenticated.client
        require_grant_type(client, request.grant_type)
        if client.login is None:
            raise _invalid_grant("no_login")
        if not request.proofs:
            if client.dpop_required:
                raise proof_required()
            return await self._issue(client, client.login, request, "", now)
        nonce = self._dpop.nonce_header(now)
        try:
            jkt = await self._dpop.verify(request.proofs, client.client_id, now)
            outcome = await self._issue(client, client.login, request, jkt, now)
        except OAuthError as error:
            error.headers += nonce
            raise
        outcome.answer.headers += nonce
        return outcome

    async def _issue(self, client: Client, login: Login, request: UserGrantRequest, jkt: str, now: float) -> Outcome:
        grant = self._redeem if request.grant_type == AUTHORIZATION_CODE else self._refresh
        for _ in range(_MAX_ATTEMPTS):
            issued = await grant(client, login, request, jkt, now)
            if issued is not None:
                return _outcome(issued, client, request.grant_type, jkt)
        raise unavailable("try again shortly", reason="contention")

    # Codes

    async def _redeem(
        self, client: Client, login: Login, request: UserGrantRequest, jkt: str, now: float
    ) -> _Issued | None:
        """None if the code or the user's record was written in the meantime."""
        found = await self._codes.find(request.credential)
        if found is None:
            raise _invalid_grant("unknown_code")
        code = found.code
        _check_owner(client, code.delegated)
        if request.redirect_uri != code.redirect_uri:
            raise _invalid_grant("redirect_uri")
        if not proves_challenge(code.code_challenge, request.verifier):
            raise _invalid_grant("code_verifier")
        _check_key(code.delegated, jkt)
        if code.redemption is not None:
            await self._end_redeemed(client, found, code.redemption)
            raise _invalid_grant("code_replayed")
        session = self._check_current(client, login, code.redirect_uri, found.session)
        grant_id, family = grant_id_of(found.handle), None
        if REFRESH_TOKEN in client.grant_types:
            family = await self._begin_family(client, login, found, session, jkt)
            if self._registry.clients.get(client.client_id) is not client:
                raise _client_changed()
        of_tokens = family.session if family else session
        issued = self._sign(client, code.delegated, of_tokens, grant_id, request, jkt, now)
        self._add_id_token(issued, client, session.sid, code.nonce, now)
        issued.refresh_token = family.token if family else ""
        redemption = Redemption(family.family_id if family else "")
        seconds = max(CODE_SECONDS, issued.token.expires_in, login.refresh_max_lifetime if family else 0)
        writes = family.writes if family else ()
        return issued if await self._store.write(redeemed(found, redemption, seconds), *writes) else None

    async def _begin_family(
        self, client: Client, login: Login, found: FoundCode, session: Session, jkt: str
    ) -> BegunFamily:
        """Public clients have a token that rotates, or one that is bound to their key."""
        delegated = replace(found.code.delegated, jkt=jkt) if client.public and jkt else found.code.delegated
        new = NewFamily(
            delegated, session, grant_id_of(found.handle), found.code.redirect_uri, rotates=client.public and not jkt
        )
        begun = await self._refresh_tokens.begin(new, login)
        if begun is None:
            raise _invalid_grant("session_ended")
        return begun

    async def _end_redeemed(self, client: Client, found: FoundCode, redemption: Redemption) -> None:
        """End what the first redemption gave: the second one has proven as much."""
        self._revocations.end_grant(client.uid_hash, grant_id_of(found.handle))
        if redemption.family:
            await self._refresh_tokens.end(redemption.family, found.code.delegated.subject)

    # Refresh tokens

    async def _refresh(
        self, client: Client, login: Login, request: UserGrantRequest, jkt: str, now: float
    ) -> _Issued | None:
        """None if the family was written in the meantime."""
        found = await self._refresh_tokens.find(request.credential)
        if found is None:
            raise _invalid_grant("unknown_refresh_token")
        family = found.family
        _check_owner(client, family.delegated)
        _check_key(family.delegated, jkt)
        if client.public and not family.secret and not family.delegated.jkt:
            raise _invalid_grant("unbound_refresh_token")
        if has_expired(family, login, found.store_now):
            raise _invalid_grant("refresh_token_expired")
        refreshed = use_token(found, login)
        if refreshed.use is Use.REPLAYED:
            await self._end_family(client, found)
            raise _invalid_grant("refresh_token_replayed")
        session = self._check_current(client, login, family.redirect_uri, found.session)
        issued = self._sign(client, family.delegated, session, family.grant_id, request, jkt, now)
        self._add_id_token(issued, client, family.login_sid, "", now)
        issued.refresh_token = refreshed.token
        if refreshed.use is Use.WRITE and not await self._refresh_tokens.save(found, refreshed.family, login):
            return None
        return issued

    async def _end_family(self, client: Client, found: FoundFamily) -> None:
        self._revocations.end_grant(client.uid_hash, found.family.grant_id)
        await self._refresh_tokens.end(found.token.family_id, found.family.delegated.subject)

    # Both

    def _check_current(self, client: Client, login: Login, redirect_uri: str, session: Session | None) -> Session:
        """The session, if it has not ended and the client may still have it; raises OAuthError."""
        if self._registry.clients.get(client.client_id) is not client:
            raise _client_changed()
        if session is None:
            raise _invalid_grant("session_ended")
        if not redirect_uris.is_registered(redirect_uri, login.redirect_uris, public=client.public):
            raise _invalid_grant("redirect_uri_withdrawn")
        if refusal_of(login, session.provider, session.groups):
            raise _invalid_grant("login_policy")
        return session

    def _sign(
        self,
        client: Client,
        delegated: DelegatedAccess,
        session: Session,
        grant_id: str,
        request: UserGrantRequest,
        jkt: str,
        now: float,
    ) -> _Issued:
        authorised = authorise_user(
            client, delegated, session, grant_id, request.resources, request.scopes, self._registry, now
        )
        authorisation = authorised.authorisation
        if not jkt and (authorisation.server.record.dpop_required or self._registry.is_fapi2):
            raise proof_required()
        authorisation.jkt = jkt
        return _Issued(authorised, session, self._signer.sign(authorisation, now))

    def _add_id_token(self, issued: _Issued, client: Client, sid: str, nonce: str, now: float) -> None:
        scopes = issued.authorised.openid_scopes
        if "openid" in scopes:
            issued.id_token = self._id_tokens.issue(
                client, issued.session, scopes, sid=sid, now=now, access_token=issued.token.value, nonce=nonce
            )


def read_user_grant(
    form: Form, grant_type: str, resources: tuple[str, ...], scopes: tuple[str, ...], proofs: tuple[bytes, ...]
) -> UserGrantRequest:
    """The parameters of one of the two grants; raises OAuthError."""
    name = "code" if grant_type == AUTHORIZATION_CODE else "refresh_token"
    credential = parameter(form, name)
    if not credential:
        raise invalid_request(f"{name} is missing", reason=f"{name}_missing")
    request = UserGrantRequest(grant_type, credential, resources=resources, proofs=proofs)
    if grant_type == AUTHORIZATION_CODE:
        request.redirect_uri, request.verifier = parameter(form, "redirect_uri"), parameter(form, "code_verifier")
    else:
        request.scopes = scopes
    return request


def _check_owner(client: Client, delegated: DelegatedAccess) -> None:
    """The client that the user delegated to, and not a new one of the same name."""
    if (delegated.client_id, delegated.client_uid_hash) != (client.client_id, client.uid_hash):
        raise _invalid_grant("not_theirs")


def _check_key(delegated: DelegatedAccess, jkt: str) -> None:
    if delegated.jkt and delegated.jkt != jkt:
        raise _invalid_grant("dpop_key")


def _outcome(issued: _Issued, client: Client, grant_type: str, jkt: str) -> Outcome:
    token, authorisation = issued.token, issued.authorised.authorisation
    content: dict[str, Any] = {
        "access_token": token.value.decode(),
        "token_type": "DPoP" if jkt else "Bearer",
        "expires_in": token.expires_in,
        "scope": issued.authorised.scope,
    }
    if issued.refresh_token:
        content["refresh_token"] = issued.refresh_token
    if issued.id_token:
        content["id_token"] = issued.id_token
    entry: dict[str, Any] = {
        "client": client.client_id,
        "grant_type": grant_type,
        "audience": authorisation.server.audience,
        "scope": authorisation.granted.scope,
        "kid": token.kid,
        "jti": token.jti,
        "expires_in": token.expires_in,
    }
    if authorisation.user:
        entry |= {"sub": authorisation.user.subject, "sid": authorisation.user.sid}
    if jkt:
        entry["jkt"] = jkt
    return Outcome(Answer(200, NO_STORE, orjson.dumps(content)), ISSUED, entry)


def _client_changed() -> OAuthError:
    return unavailable("the client has changed; try again", reason="client_changed")


def _invalid_grant(reason: str) -> OAuthError:
    """The same text for every reason: the caller may be somebody who has found a code or a refresh token."""
    return OAuthError(
        "invalid_grant",
        "the code or refresh token is unknown, expired, used or revoked, or it is of another client, redirect_uri, "
        "code_verifier or DPoP key",
        reason=reason,
    )
