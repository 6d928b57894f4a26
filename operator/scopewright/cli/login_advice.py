"""What `scopewright dev` prints of a login: why it was refused, and what to do."""

import json
from typing import Final

from scopewright.issuer.users.login_policy import DEVELOPER
from scopewright.serving.audit import Entry

_PROBLEM: Final = ("reason", "client", "provider", "redirect_uri", "error_id", "detail")
"""Members of an audit line that are printed."""
_NO_GROUPS: Final = (
    "if the user has groups, check that the provider sends the claim of claimMappings.groups, and that "
    "claimMappings.groups.allow has them"
)

LOGIN_ADVICE: Final = {
    # At /authorize, as a page
    "client_id": "send client_id once",
    "unknown_client": "no OAuthClient in force has this client_id; it is <namespace>.<name>, as in the Secret. "
    "If the OAuthClient exists, its condition Ready says what is missing",
    "no_login": "add spec.login and grant type authorization_code to the OAuthClient",
    "profile": "the configuration has profile: FAPI2; set authentication.method of the OAuthClient to PrivateKeyJWT",
    "redirect_uri_missing": "send redirect_uri once",
    "redirect_uri_unregistered": "send it exactly as login.redirectURIs lists it, or list it there; localhost "
    "and 127.0.0.1 are two hosts, and / at the end counts",
    # At /authorize, of a pushed request
    "request_uri_malformed": "send the request_uri of the answer of /par once, and unchanged",
    "request_uri_of_another_client": "send the client_id with which the request was pushed",
    "request_uri_expired": "push when the user presses the button; the browser must come within 90 seconds",
    "request_uri_used": "push a new request for each login",
    # At /token, as invalid_grant
    "unknown_code": "the code is not of this issuer, or older than 60 s; log in again",
    "code_replayed": "the code was used before, so its tokens have ended; redeem each code once, and log in again",
    "code_verifier": "it is missing, or not that of the code_challenge of this login; send the one you made for it",
    "redirect_uri": "it is not the redirect_uri that was sent to /authorize; send the same",
    "dpop_key": "the DPoP proof is missing or of another key; send a proof of the key of the login",
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
    # Of a login at an identity provider
    "provider_denied": "the user cancelled there, or the provider does not admit this user",
    "provider_error": "invalid_scope: the provider does not know one of oidc.scopes; for another error, look into the "
    "log of the provider",
    "response_iss": "the answer is of another issuer; find out who sent the browser to /callback",
    "id_token": "compare oidc.clientID, oidc.signingAlgorithms and the clocks with those of the provider",
    "userinfo": "correct userinfo at the provider, or set oidc.userinfo: Never if the ID token has all claims",
    "subject": "set claimMappings.subject to a claim that the provider sends",
    "login_too_old": "the provider did not ask the user again, or does not say when; reauthentication: Trusted accepts "
    "an ID token without auth_time",
    "code": "it was used already, or took too long; log in again",
    "Unreachable": "start the provider, or correct oidc.issuerURL",
    "CertificateInvalid": "set oidc.caCertificateRef to the authority of the provider's certificate",
    "Refused": "compare oidc.clientID, the client secret and the grant types of the client at the provider",
    "busy": "too many logins wait for the provider; find out why it is slow",
}


def line_of(entry: Entry) -> str:
    """Return what `dev` prints of an audit line: why a login failed, or what it lacks. "" if it is as it should be."""
    of_pages = entry["event"] in ("user_error", "authorize", "login")
    if "reason" in entry and (of_pages or entry["result"] == "invalid_grant"):
        shown = (f"{name} {json.dumps(entry[name])}" for name in _PROBLEM if name in entry)
        advice = LOGIN_ADVICE.get(str(entry["reason"]), "")
        return f"login refused: {', '.join(shown)}" + (f": {advice}" if advice else "")
    if entry["event"] == "login" and entry.get("groups") == 0 and entry["provider"] != DEVELOPER:
        return (
            f"login without groups: provider {json.dumps(entry['provider'])}, subject {entry['subject']}: {_NO_GROUPS}"
        )
    return ""
