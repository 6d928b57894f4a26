"""The answer to a proxy: 200 with the identity headers, or the refusal (RFC 6750 §3)."""

from typing import Final

import orjson

from scopewright.gateway.decide import Decision, Refusal
from scopewright.gateway.identity_headers import IdentityHeaders
from scopewright.gateway.refusals import GatewayRefused
from scopewright.http.messages import Answer, Headers
from scopewright.verifier.refusals import KeysUnavailable, challenge

_NO_STORE: Final = (b"cache-control", b"no-store")
_JSON: Final = (b"content-type", b"application/json")
_BAD_REQUEST: Final = 400
_FORBIDDEN: Final = 403


def answer(decision: Decision, identity: IdentityHeaders) -> Answer:
    """200, 400, 401, 403 or 503. A proxy that does not understand 400 gets 403 with the same error code."""
    nonce: Headers = ((b"dpop-nonce", decision.nonce.encode("ascii")),) if decision.nonce else ()
    refusal = decision.refusal
    if refusal is None:
        return Answer(200, (_NO_STORE, *identity.of(decision.token), *nonce), b"")
    status = refusal.status
    if status == _BAD_REQUEST and decision.profile.few_statuses:
        status = _FORBIDDEN
    return json_answer(status, _members(refusal), (*_refusal_headers(decision, refusal), *nonce))


def json_answer(status: int, content: object, headers: Headers = ()) -> Answer:
    return Answer(status, (*headers, _JSON, _NO_STORE), orjson.dumps(content))


def _refusal_headers(decision: Decision, refusal: Refusal) -> Headers:
    if isinstance(refusal, KeysUnavailable):
        return ((b"retry-after", b"%d" % refusal.retry_after),)
    if isinstance(refusal, GatewayRefused):
        parameters = {"error": refusal.error, "error_description": refusal.description} if refusal.error else {}
        challenges = [challenge("Bearer", None, parameters)]
    elif decision.api is not None:
        challenges = decision.api.protection.challenges(refusal)
    else:
        challenges = [refusal.challenge()]
    return tuple((b"www-authenticate", value.encode("ascii")) for value in challenges)


def _members(refusal: Refusal) -> dict[str, str]:
    error = "temporarily_unavailable" if isinstance(refusal, KeysUnavailable) else refusal.error
    scope = getattr(refusal, "scope", "")
    members = {"error": error, "error_description": refusal.description, "scope": scope}
    return {name: value for name, value in members.items() if value}
