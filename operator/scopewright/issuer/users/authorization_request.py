"""Parses and validates an authorization request (RFC 6749 §4.1.1, RFC 7636, RFC 8707, OpenID Connect Core §3.1.2.1),
which a browser brings or the client has pushed (RFC 9126).

Before client and redirect URI are known to be right, an error is a page (`UntrustedRequest`). After that it is a
redirect to the client (`RefusedRequest`).
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from scopewright.api import redirect_uris
from scopewright.core.profile import allows_method
from scopewright.core.records.client import Login, RequestedAccess
from scopewright.issuer.protocol.errors import AuthorizationErrorCode
from scopewright.issuer.protocol.request import Form, parameter, repeated_parameters
from scopewright.issuer.state.entries import Client
from scopewright.issuer.state.registry import Registry
from scopewright.issuer.tokens.authorise import AUTHORIZATION_CODE
from scopewright.issuer.users.problems import PageProblem
from scopewright.issuer.users.pushed import FoundPushed
from scopewright.issuer.users.requested_access import RefusedAccess, requested_access

PARAMETERS: Final = (
    "client_id",
    "redirect_uri",
    "response_type",
    "response_mode",
    "scope",
    "resource",
    "state",
    "nonce",
    "code_challenge",
    "code_challenge_method",
    "prompt",
    "max_age",
    "login_hint",
    "id_token_hint",
    "dpop_jkt",
    "acr_values",
    "ui_locales",
)
"""The parameters that matter. `claims_locales`, `display` and unknown ones are ignored."""
PROMPTS: Final = frozenset(("none", "login", "consent", "select_account"))

_NOT_PUSHED: Final = "push the request (RFC 9126), and send the browser with client_id and request_uri only"
_SHA256: Final = re.compile(r"[A-Za-z0-9_-]{43}")
_SECONDS: Final = re.compile(r"[0-9]{1,9}")

HintedSubject = Callable[[str], str | None]
"""Returns the `sub` of an ID token of this issuer, expired or not; None if it is not one."""


class UntrustedRequest(PageProblem):
    """The request does not show where its answer may be sent."""


@dataclass(frozen=True, slots=True)
class ResponseTarget:
    """Where the answer to a request is sent: a registered redirect URI, with the `state` of the request."""

    client: Client
    redirect_uri: str
    state: str


class RefusedRequest(Exception):
    """An error that is sent to the client."""

    def __init__(self, target: ResponseTarget, error: AuthorizationErrorCode, description: str) -> None:
        super().__init__(error)
        self.target = target
        self.error: AuthorizationErrorCode = error
        self.description = description


@dataclass(frozen=True, slots=True)
class AuthorizationRequest:
    """A valid request. `scopes` are those of OpenID Connect, `access` are scopes of APIs in the client's manifest."""

    target: ResponseTarget
    login: Login
    scopes: tuple[str, ...]
    access: tuple[RequestedAccess, ...]
    code_challenge: str
    nonce: str
    prompt: frozenset[str]
    max_age: int | None
    login_hint: str
    hinted_subject: str
    """The user of `id_token_hint`; empty without one."""
    dpop_jkt: str
    acr_values: str = ""
    """For the provider, as `ui_locales`."""
    ui_locales: str = ""
    pushed: FoundPushed | None = None
    """How it is stored; None if its parameters came with the browser."""

    @property
    def client(self) -> Client:
        return self.target.client

    @property
    def interactive(self) -> bool:
        """Whether pages may be shown."""
        return "none" not in self.prompt

    @property
    def is_native(self) -> bool:
        """Whether any program of the user's machine could have sent it, and could receive the code."""
        return self.client.public and redirect_uris.is_native(self.target.redirect_uri)


def read(
    form: Form, registry: Registry, hinted_subject: HintedSubject, *, pushed: bool = False
) -> AuthorizationRequest:
    """Raises UntrustedRequest or RefusedRequest. `pushed`: the client has sent the form itself (RFC 9126)."""
    client, login = client_of(form, registry)
    repeated = repeated_parameters(form)
    target = ResponseTarget(
        client, _redirect_uri(form, client, login), "" if "state" in repeated else parameter(form, "state")
    )

    def refused(error: AuthorizationErrorCode, description: str) -> RefusedRequest:
        return RefusedRequest(target, error, description)

    if repeated:
        raise refused("invalid_request", "a parameter is repeated")
    _check_response(form, refused)
    if AUTHORIZATION_CODE not in client.grant_types:
        raise refused("unauthorized_client", "spec.grantTypes of the OAuthClient does not allow authorization_code")
    if not pushed and pushed_requests_required(login, registry):
        raise refused("invalid_request", _NOT_PUSHED)
    hint = parameter(form, "id_token_hint")
    subject = hinted_subject(hint) if hint else ""
    if subject is None:
        raise refused("invalid_request", "id_token_hint is not an ID token of this issuer")
    try:
        scopes, access = requested_access(form, client, registry)
    except RefusedAccess as reason:
        raise refused(reason.error, reason.description) from None
    needs_pkce = login.pkce_required or client.public or registry.is_fapi2
    return AuthorizationRequest(
        target=target,
        login=login,
        scopes=scopes,
        access=access,
        code_challenge=_code_challenge(form, refused, required=needs_pkce),
        nonce=parameter(form, "nonce"),
        prompt=_prompt(form, refused),
        max_age=_max_age(form, refused),
        login_hint=parameter(form, "login_hint"),
        hinted_subject=subject,
        dpop_jkt=_dpop_jkt(form, refused),
        acr_values=parameter(form, "acr_values"),
        ui_locales=parameter(form, "ui_locales"),
    )


def pushed_requests_required(login: Login, registry: Registry) -> bool:
    """Whether a request is refused unless it was pushed: by the OAuthClient, or by FAPI 2.0 §5.3.2.2."""
    return login.pushed_requests_required or registry.is_fapi2


def parameters_to_keep(form: Form, request: AuthorizationRequest) -> dict[str, Sequence[str]]:
    """The parameters of a valid request as they wait for the user, with the subject in place of `id_token_hint`."""
    kept = {name: form[name] for name in PARAMETERS if name in form}
    return kept | ({"id_token_hint": (request.hinted_subject,)} if request.hinted_subject else {})


def too_large(request: AuthorizationRequest) -> RefusedRequest:
    """The pending request does not fit into a cookie."""
    description = (
        "the request is too large to wait for a login: its parameters may have about 2,400 bytes, or 8 KiB if the "
        "client pushes them (RFC 9126)"
    )
    return RefusedRequest(request.target, "invalid_request", description)


_Refused = Callable[[AuthorizationErrorCode, str], RefusedRequest]


def client_of(form: Form, registry: Registry) -> tuple[Client, Login]:
    """The client that a request names; raises UntrustedRequest."""
    client_ids = form.get("client_id", ())
    if len(client_ids) != 1:
        description = "The request names no application: client_id is missing or repeated."
        raise UntrustedRequest(description, reason="client_id")
    client = registry.clients.get(client_ids[0])
    if client is None:
        raise UntrustedRequest(
            "No application with this client_id is registered here. Its OAuthClient may have been deleted.",
            reason="unknown_client",
        )
    if client.login is None:
        raise UntrustedRequest(
            "This application does not log users in: its OAuthClient has no login.",
            reason="no_login",
            client_id=client.client_id,
        )
    if client.disabled:
        raise UntrustedRequest("This application is disabled.", reason="disabled", client_id=client.client_id)
    if not allows_method(registry.require_issuer().profile, client.declared_method):
        raise UntrustedRequest(
            "The platform's profile does not allow this application to log users in: its OAuthClient must have "
            "authentication.method PrivateKeyJWT.",
            reason="profile",
            client_id=client.client_id,
        )
    return client, client.login


def _redirect_uri(form: Form, client: Client, login: Login) -> str:
    uris = form.get("redirect_uri", ())
    if len(uris) != 1:
        raise UntrustedRequest(
            "The request does not say where to return to: redirect_uri is missing or repeated.",
            reason="redirect_uri_missing",
            client_id=client.client_id,
        )
    if not redirect_uris.is_registered(uris[0], login.redirect_uris, public=client.public):
        raise UntrustedRequest(
            "The redirect_uri of the request is not registered for this application. It must be one of "
            "login.redirectURIs of the OAuthClient, character by character.",
            reason="redirect_uri_unregistered",
            client_id=client.client_id,
            redirect_uri=uris[0],
        )
    return uris[0]


def _check_response(form: Form, refused: _Refused) -> None:
    if "request" in form:
        raise refused("request_not_supported", "send the parameters themselves: request is not supported")
    if "request_uri" in form:
        raise refused("request_uri_not_supported", "send the parameters themselves: request_uri is not supported")
    if parameter(form, "response_mode") not in ("", "query"):
        raise refused("invalid_request", "response_mode must be query")
    response_type = parameter(form, "response_type")
    if not response_type:
        raise refused("invalid_request", "response_type is missing; send response_type=code")
    if response_type != "code":
        raise refused("unsupported_response_type", "response_type must be code")


def _code_challenge(form: Form, refused: _Refused, *, required: bool) -> str:
    """RFC 7636. A method without a challenge is refused too: it may be what is left of a challenge."""
    challenge, method = parameter(form, "code_challenge"), parameter(form, "code_challenge_method")
    if not challenge and not method and not required:
        return ""
    if not challenge:
        raise refused("invalid_request", "code_challenge is missing; send one with code_challenge_method=S256")
    if method != "S256":
        raise refused("invalid_request", "code_challenge_method must be S256")
    if not _SHA256.fullmatch(challenge):
        raise refused("invalid_request", "code_challenge must be a SHA-256 in base64url without padding")
    return challenge


def _prompt(form: Form, refused: _Refused) -> frozenset[str]:
    prompt = frozenset(parameter(form, "prompt").split())
    if not prompt <= PROMPTS:
        raise refused("invalid_request", "prompt may have the values none, login, consent and select_account")
    if "none" in prompt and len(prompt) > 1:
        raise refused("invalid_request", "prompt=none allows no other value")
    return prompt


def _max_age(form: Form, refused: _Refused) -> int | None:
    text = parameter(form, "max_age")
    if not text:
        return None
    if not _SECONDS.fullmatch(text):
        raise refused("invalid_request", "max_age must be a number of seconds")
    return int(text)


def _dpop_jkt(form: Form, refused: _Refused) -> str:
    jkt = parameter(form, "dpop_jkt")
    if jkt and not _SHA256.fullmatch(jkt):
        raise refused("invalid_request", "dpop_jkt must be the SHA-256 thumbprint of a key, in base64url")
    return jkt
