"""Decides about one request: allowed, refused, or unavailable. Refuses whatever no rule allows.

No decision is stored. A token that was verified before needs no I/O; its expiry, key and revocation are checked for
each request.
"""

import itertools
from collections.abc import Awaitable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

from scopewright.gateway.apis import ApiTable, GatewayApi
from scopewright.gateway.identity_headers import token_id
from scopewright.gateway.profiles import AuthRoute, OriginalRequest, Profile
from scopewright.gateway.refusals import GatewayRefused
from scopewright.http.messages import HttpRequest
from scopewright.verifier.bearer import has_token, sent_token
from scopewright.verifier.canonical_path import PathRefused, canonical_path
from scopewright.verifier.patterns import PathAuthentication
from scopewright.verifier.refusals import KeysUnavailable, Reason, TokenRejected
from scopewright.verifier.rules import METHOD_OVERRIDES, Rule, is_method
from scopewright.verifier.token import Token

Refusal = TokenRejected | GatewayRefused | KeysUnavailable

_OVERRIDES: Final = frozenset(
    "".join(characters).encode("ascii")
    for name in METHOD_OVERRIDES
    for characters in itertools.product(*("-_" if character == "-" else character for character in name))
)
"""Services with CGI variables read an underscore as a hyphen."""


class Result(StrEnum):
    ALLOWED = "allowed"
    REFUSED = "refused"
    UNAVAILABLE = "unavailable"


@dataclass(slots=True)
class Decision:
    """What was decided, for the answer, metrics and the audit log. Filled in as far as the request was read.

    `original` is None if the proxy's request cannot be read, `api` if the request leads to none. `token` is set if it
    was verified, also if it lacks a scope or a role.
    """

    profile: Profile
    original: OriginalRequest | None = None
    api: GatewayApi | None = None
    rule: str = ""
    token: Token | None = field(default=None, repr=False)
    refusal: Refusal | None = None
    nonce: str | None = field(default=None, repr=False)
    """The header DPoP-Nonce of the answer (RFC 9449 §9)."""

    @property
    def result(self) -> Result:
        if self.refusal is None:
            return Result.ALLOWED
        return Result.UNAVAILABLE if isinstance(self.refusal, KeysUnavailable) else Result.REFUSED

    @property
    def reason(self) -> str:
        """A label: of `Reason` or `GatewayReason`; empty if the request is allowed or the result is unavailable."""
        refusal = self.refusal
        return "" if refusal is None or isinstance(refusal, KeysUnavailable) else refusal.reason.value

    @property
    def api_key(self) -> str:
        """`<namespace>/<name>` of the ResourceServer, or empty."""
        return self.api.key if self.api is not None else ""

    @property
    def client_id(self) -> str:
        """Of the verified token, or empty."""
        return self.token.client_id if self.token is not None else ""

    @property
    def token_id(self) -> str:
        """The `jti` of the verified token, or empty."""
        return token_id(self.token) if self.token is not None else ""


class Decider:
    """`apis` is replaced whenever a record changes. Until it is set, every decision is unavailable."""

    def __init__(self) -> None:
        self.apis: ApiTable | None = None

    def decide(self, request: HttpRequest, route: AuthRoute) -> Decision | Awaitable[Decision]:
        """The decision if no I/O is needed, else an awaitable. Raises nothing: a refusal is in the decision."""
        decision = Decision(route.profile)
        if self.apis is None:
            return _refused(decision, KeysUnavailable(1.0, "The gateway has not read the rules yet; try again"))
        try:
            return _decide(decision, self.apis, request, route)
        except (TokenRejected, GatewayRefused, KeysUnavailable) as refusal:
            return _refused(decision, refusal)
        except PathRefused:
            return _refused(decision, TokenRejected(Reason.PATH))


def _decide(
    decision: Decision, apis: ApiTable, request: HttpRequest, route: AuthRoute
) -> Decision | Awaitable[Decision]:
    """Raises `GatewayRefused`, `PathRefused`, `TokenRejected` and `KeysUnavailable`."""
    decision.original = original = route.original(request)
    if not _OVERRIDES.isdisjoint(request.headers):
        raise TokenRejected(Reason.METHOD_OVERRIDE)
    if not is_method(original.method):
        raise TokenRejected(Reason.METHOD)
    api, below = apis.find(original.hostname, canonical_path(original.target))
    decision.api = api
    rule = api.rule(original.method, below)
    decision.rule = rule.name
    if rule.authentication is PathAuthentication.NONE:
        return decision
    authorization = _authorization(request)
    token = _cached(api, authorization, original.target)
    if token is not None:
        decision.token = token
        api.requirements[rule.name].check(token)
        return decision
    if rule.authentication is PathAuthentication.OPTIONAL and not has_token(authorization):
        return decision
    return _verify(decision, api, rule, _arguments(decision, api, request, original, authorization))


def _authorization(request: HttpRequest) -> list[str]:
    """The one value of the header, or none. Raises `TokenRejected` for several."""
    value = request.headers.get(b"authorization")
    if value is None:
        return []
    if b"," in value:  # the values of a repeated header are joined by commas
        raise TokenRejected(Reason.TWO_WAYS)
    return [value.decode("latin-1")]


def _cached(api: GatewayApi, authorization: list[str], target: bytes) -> Token | None:
    """The fast path, for a token that was verified before. A cached token is well-formed, so nothing is parsed."""
    if not authorization or not authorization[0].startswith("Bearer ") or b"access_token" in target:
        return None
    return api.verifier.cached(authorization[0][len("Bearer ") :])


def _arguments(
    decision: Decision, api: GatewayApi, request: HttpRequest, original: OriginalRequest, authorization: list[str]
) -> dict[str, Any]:
    """The arguments of `Verifier.verify`. Raises `TokenRejected`, whose answer needs the nonce too."""
    path, _, query = original.target.decode("ascii").partition("?")
    proof = request.headers.get(b"dpop")
    decision.nonce = api.verifier.nonce() if proof is not None else None
    scheme, token = sent_token(authorization, query)
    if scheme == "bearer":
        return {"token": token}
    proofs = [proof.decode("latin-1")] if proof is not None else []  # a repeated one has commas, and is refused
    url = f"https://{original.hostname}{path}"
    return {"token": token, "proof": proofs, "method": original.method, "url": url}


async def _verify(decision: Decision, api: GatewayApi, rule: Rule, arguments: dict[str, Any]) -> Decision:
    try:
        decision.token = token = await api.verifier.verify(**arguments)
        api.requirements[rule.name].check(token)
    except (TokenRejected, KeysUnavailable) as refusal:
        return _refused(decision, refusal)
    return decision


def _refused(decision: Decision, refusal: Refusal) -> Decision:
    """The traceback is removed: its frames refer to the decision."""
    if decision.api is not None and decision.rule:
        decision.api.protection.name_scopes(refusal, decision.api.requirements[decision.rule].scopes)
    decision.refusal = refusal.with_traceback(None)
    return decision
