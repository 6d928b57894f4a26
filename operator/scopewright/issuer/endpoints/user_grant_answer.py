"""The answer to a grant of a user, and its audit line."""

from dataclasses import dataclass
from typing import Any, Final

import orjson

from scopewright.issuer.endpoints.handler import Outcome
from scopewright.issuer.protocol.responses import NO_STORE, Answer, Headers
from scopewright.issuer.state.entries import Client
from scopewright.issuer.tokens.sign import IssuedToken
from scopewright.issuer.users.stored import Session
from scopewright.issuer.users.user_authorisation import UserAuthorisation

ISSUED: Final = "issued"


@dataclass(slots=True)
class IssuedToUser:
    """The parts of an answer."""

    authorised: UserAuthorisation
    session: Session
    token: IssuedToken
    id_token: str = ""
    refresh_token: str = ""


def outcome_of(issued: IssuedToUser, client: Client, grant_type: str, jkt: str | None, nonce: Headers) -> Outcome:
    """`jkt` is the thumbprint of the key that the token is bound to, if it is; `nonce` is the header of a new one."""
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
        entry |= {"subject": authorisation.user.subject, "sid": authorisation.user.sid}
    if jkt:
        entry["jkt"] = jkt
    return Outcome(Answer(200, NO_STORE + nonce, orjson.dumps(content)), ISSUED, entry)
