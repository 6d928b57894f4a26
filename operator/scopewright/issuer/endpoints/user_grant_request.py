"""Reads the parameters of the grants of users at the token endpoint: authorization_code and refresh_token."""

from dataclasses import dataclass, field
from typing import Final

from scopewright.issuer.protocol.errors import OAuthError, invalid_request
from scopewright.issuer.protocol.request import Form, parameter
from scopewright.issuer.tokens.authorise import AUTHORIZATION_CODE, REFRESH_TOKEN

USER_GRANT_TYPES: Final = (AUTHORIZATION_CODE, REFRESH_TOKEN)


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


def invalid_grant(reason: str) -> OAuthError:
    """The same text for every reason: the caller may have found a code or a refresh token."""
    return OAuthError(
        "invalid_grant",
        "the code or refresh token is unknown, expired, used or revoked, or it is of another client, redirect_uri, "
        "code_verifier or DPoP key",
        reason=reason,
    )
