"""Introspection (RFC 7662) and revocation (RFC 7009) of a token: request and answer. No I/O."""

from collections.abc import Mapping
from typing import Any, Final

from scopewright.client.credentials import MountedCredentials
from scopewright.client.endpoints import INTROSPECTION, REVOCATION
from scopewright.client.errors import invalid_response, printable
from scopewright.client.issuer_request import EndpointRequest, Flow, IssuerContext, post
from scopewright.strict_json import json_object

_TEXTS: Final = ("scope", "client_id", "username", "token_type", "sub", "iss", "jti")  # RFC 7662 §2.2
_TIMES: Final = ("exp", "iat", "nbf")


def introspect(token: str, context: IssuerContext) -> Flow[Mapping[str, Any]]:
    """The members of the answer. `active` is a bool, and the members of RFC 7662 §2.2 have their types.

    Raises `TokenError`.
    """
    answer = yield from post(_request(INTROSPECTION, token), context)
    try:
        members = json_object(answer.body)
    except ValueError:
        raise invalid_response(INTROSPECTION, "is not a JSON object") from None
    if not isinstance(members.get("active"), bool):
        raise invalid_response(INTROSPECTION, "has no member active that is true or false")
    for name, value in members.items():
        if not _is_of_its_type(name, value):
            raise invalid_response(INTROSPECTION, f"has a member {name} of another type than RFC 7662 requires")
    return members


def revoke(token: str, context: IssuerContext) -> Flow[None]:
    """Raises `TokenError` unless the issuer has stored the revocation."""
    yield from post(_request(REVOCATION, token), context)


def _request(endpoint: str, token: str) -> EndpointRequest:
    form = {"token": token, "token_type_hint": "access_token"}
    return EndpointRequest(endpoint, lambda _: form, _advice_on, hidden=(token,))


def _advice_on(error: str, issuer_text: str, credentials: MountedCredentials) -> str:
    if error == "unauthorized_client":
        return printable(f"OAuthClient {credentials.client_id} may not use this endpoint of the issuer")
    return ""


def _is_of_its_type(name: str, value: object) -> bool:
    if name in _TEXTS:
        return isinstance(value, str)
    if name in _TIMES:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if name == "aud":
        return isinstance(value, str) or (isinstance(value, list) and all(isinstance(each, str) for each in value))
    return True
