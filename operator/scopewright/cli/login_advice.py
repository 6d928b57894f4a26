"""What `scopewright dev` adds to the reason of a refused login: what happened, and what to do."""

from typing import Final

LOGIN_ADVICE: Final = {
    # At /authorize, as a page
    "client_id": "send client_id once",
    "unknown_client": "no OAuthClient has this client_id, which is <namespace>.<name>; the Secret has it too",
    "no_login": "add spec.login and grant type authorization_code to the OAuthClient",
    "redirect_uri_missing": "send redirect_uri once",
    "redirect_uri_unregistered": "send it exactly as login.redirectURIs lists it, or list it there; localhost "
    "and 127.0.0.1 are two hosts, and / at the end counts",
    # At /token, as invalid_grant
    "unknown_code": "the code is not of this issuer, or older than 60 s; log in again",
    "code_replayed": "the code was used before, so its tokens have ended; redeem each code once, and log in again",
    "code_verifier": "it is missing, or not that of the code_challenge of this login; send the one you made for it",
    "redirect_uri": "it is not the redirect_uri that was sent to /authorize; send the same",
    "dpop_key": "the proof is of another key than the code or refresh token; use the key of the login",
    "unknown_refresh_token": "it is not of this issuer, or has ended, such as by a logout; log in again",
    "refresh_token_expired": "it was not used for too long, or the login is too old; log in again",
    "refresh_token_replayed": "a newer one has replaced it, so all tokens of this login at the client have ended; "
    "keep the refresh_token of each response, and log in again",
    "not_theirs": "it was issued to another client; send the client_id of the login",
    "session_ended": "the user logged out, or the login is too old; log in again",
    "consent_withdrawn": "the user withdrew the consent; log in again",
    "user_gone": "the user is not in users.yaml any more, the identity provider no longer confirms the login, or its "
    "IdentityProvider was deleted or created again; log in again",
    "too_many_groups": "the provider lists too many groups of the user; narrow claimMappings.groups.allow of the "
    "IdentityProvider",
    "redirect_uri_withdrawn": "login.redirectURIs no longer lists the redirect URI of this login",
    "login_policy": "spec.login of the OAuthClient does not admit this user",
}
