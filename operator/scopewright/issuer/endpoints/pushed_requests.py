"""The endpoint for pushed authorization requests (RFC 9126).

The client authenticates as at the token endpoint, and the request is validated by the same code as at `/authorize`:
here, and again with each step of the login. A DPoP proof binds the code to its key (RFC 9449 §10.1). It is checked
last: anybody can send proofs in the name of a public client, and each takes room in the replay memory.
"""

from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from scopewright.issuer.authentication.dpop import DpopProofs
from scopewright.issuer.endpoints.handler import Outcome
from scopewright.issuer.protocol.errors import (
    SLOWED,
    AuthorizationErrorCode,
    ErrorCode,
    OAuthError,
    invalid_request,
    whole_seconds,
)
from scopewright.issuer.protocol.request import ClientRequest, Form
from scopewright.issuer.protocol.responses import json_answer
from scopewright.issuer.state.entries import Client
from scopewright.issuer.state.recognised import Authenticated
from scopewright.issuer.state.registry import Registry
from scopewright.issuer.users import authorization_request
from scopewright.issuer.users.authorization_request import (
    HintedSubject,
    RefusedRequest,
    UntrustedRequest,
)
from scopewright.issuer.users.push_bounds import PushBounds, TooManyPushed
from scopewright.issuer.users.pushed import PUSHED_SECONDS, PushedRequests, new_handle

MAX_REQUEST_BYTES: Final = 8 * 1024
"""Of all parameters but those of client authentication, decoded."""

_PATH: Final = "/par"
_OF_AUTHENTICATION: Final = frozenset(("client_secret", "client_assertion", "client_assertion_type"))
_CODES: Final[Mapping[AuthorizationErrorCode, ErrorCode]] = {
    "unauthorized_client": "unauthorized_client",
    "unsupported_response_type": "unsupported_response_type",
    "invalid_scope": "invalid_scope",
    "invalid_target": "invalid_target",
}
"""All others are `invalid_request` here."""


@dataclass(frozen=True, slots=True)
class PushRequest:
    form: Form = field(repr=False)
    proofs: tuple[bytes, ...] = field(repr=False)
    peer: str
    key: None = None

    def audit_fields(self) -> Mapping[str, Any]:
        """No parameters: those of the authorization request are as long as the caller likes."""
        return {}


class PushedRequestEndpoint:
    name: str = "par"

    def __init__(
        self,
        registry: Registry,
        pushed: PushedRequests,
        hinted_subject: HintedSubject,
        dpop: DpopProofs,
        bounds: PushBounds,
    ) -> None:
        self._registry = registry
        self._pushed = pushed
        self._hinted_subject = hinted_subject
        self._dpop = dpop
        self._bounds = bounds

    def admits_public(self, form: Form) -> bool:
        return True

    def read(self, request: ClientRequest) -> PushRequest:
        form = {name: values for name, values in request.form.items() if name not in _OF_AUTHENTICATION}
        if sum(len(name) + sum(len(v.encode()) for v in values) for name, values in form.items()) > MAX_REQUEST_BYTES:
            raise invalid_request(
                f"a pushed request may have {MAX_REQUEST_BYTES} bytes of parameters", reason="request_size", status=413
            )
        return PushRequest(form, request.proofs, request.peer)

    def serve(self, authenticated: Authenticated, parameters: PushRequest, now: float) -> Awaitable[Outcome]:
        return self._serve(authenticated.client, parameters, now)

    async def _serve(self, client: Client, request: PushRequest, now: float) -> Outcome:
        with self._dpop.nonce_for(request.proofs, now) as nonce:
            outcome = await self._push(client, request, now)
        outcome.answer.headers += nonce
        return outcome

    async def _push(self, client: Client, request: PushRequest, now: float) -> Outcome:
        kept = self._validated(client, request)
        self._require_room(client, request)
        if request.proofs:
            kept["dpop_jkt"] = (await self._proven_key(client, request, kept.get("dpop_jkt", ()), now),)
        handle = new_handle()
        if displaced := self._bounds.add(client, request.peer, handle):
            await self._pushed.withdraw(displaced)
        try:
            request_uri = await self._pushed.push(handle, client, kept)
        except BaseException:
            self._bounds.remove(client, handle)
            raise
        content = {"request_uri": request_uri, "expires_in": PUSHED_SECONDS}
        audited = {"client": client.client_id} | ({"jkt": kept["dpop_jkt"][0]} if "dpop_jkt" in kept else {})
        return Outcome(json_answer(201, content), "pushed", audited)

    def _validated(self, client: Client, request: PushRequest) -> dict[str, Sequence[str]]:
        """The parameters to store; raises OAuthError. `client_id` is that of the authenticated client."""
        form = {**request.form, "client_id": (client.client_id,)}
        try:
            read = authorization_request.read(form, self._registry, self._hinted_subject, pushed=True)
        except UntrustedRequest as untrusted:
            code: ErrorCode = "unauthorized_client" if untrusted.reason == "no_login" else "invalid_request"
            description = untrusted.description
            raise OAuthError(code, description, reason=untrusted.reason) from None
        except RefusedRequest as refused:
            code, description = _CODES.get(refused.error, "invalid_request"), refused.description
            raise OAuthError(code, description) from None
        return authorization_request.parameters_to_keep(form, read)

    def _require_room(self, client: Client, request: PushRequest) -> None:
        try:
            self._bounds.require_room(client, request.peer)
        except TooManyPushed as many:
            error = OAuthError(
                "temporarily_unavailable",
                "too many requests were pushed; try again later",
                reason=many.reason,
                status=429,
                headers=((b"retry-after", whole_seconds(many.retry_after).encode()),),
            )
            error.result = SLOWED
            raise error from None

    async def _proven_key(self, client: Client, request: PushRequest, asked: Sequence[str], now: float) -> str:
        """The thumbprint of the key of the proof, which must be the one that `dpop_jkt` asks for, if any."""
        jkt = await self._dpop.verify_at(_PATH, "POST", request.proofs, client.client_id, now)
        if asked and asked[0] != jkt:
            raise OAuthError(
                "invalid_dpop_proof", "dpop_jkt is not the thumbprint of the key of the DPoP proof", reason="dpop_jkt"
            )
        return jkt
