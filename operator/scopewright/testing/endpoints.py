"""The HTTP endpoints of a fake issuer: metadata, JWKS, token, introspection, revocation and the feed. No I/O.

Paths, parameters and errors are those of the real issuer. Any client may have any scope of any resource.
"""

import base64
import hashlib
import hmac
import json
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final
from urllib.parse import parse_qs, unquote_plus, urlsplit

import httpx

from scopewright.testing.tokens import OF_LOGIN, FakeTokens
from scopewright.verifier.check import required_scopes
from scopewright.verifier.proof import BadProof, check_proof
from scopewright.verifier.refusals import PROOF_ALGORITHMS

TEST_CLIENT: Final = "test.client"
ANY_TOKEN_PATH: Final = "/testing/token"  # noqa: S105  # a path

_CLIENT_CREDENTIALS: Final = "client_credentials"
_TOKEN_EXCHANGE: Final = "urn:ietf:params:oauth:grant-type:token-exchange"  # noqa: S105  # a grant type
_ACCESS_TOKEN: Final = "urn:ietf:params:oauth:token-type:access_token"  # noqa: S105  # a token type
_JWT: Final = "urn:ietf:params:oauth:token-type:jwt"
_AUTH_METHODS: Final = ("client_secret_basic", "client_secret_post")
_FORM: Final = "application/x-www-form-urlencoded"
_PUBLIC: Final = {"cache-control": "public, max-age=300"}
_CHANGING: Final = {"cache-control": "public, max-age=1"}
_NO_STORE: Final = {"cache-control": "no-store", "pragma": "no-cache"}
_CHALLENGE: Final = {"www-authenticate": 'Basic realm="scopewright", charset="UTF-8"'}
_STATUS: Final = {"invalid_client": 401, "server_error": 500}
_LEEWAY_SECONDS: Final = 60.0
_INTROSPECTED: Final = ("scope", "client_id", "exp", "iat", "nbf", "sub", "aud", "iss", "jti", "act", "cnf", "roles")

Form = Mapping[str, list[str]]


class _OAuthRefusal(Exception):
    """An error response (RFC 6749 §5.2)."""

    def __init__(
        self, error: str, description: str, status: int = 400, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(error)
        self.response = _json(
            {"error": error, "error_description": description}, {**_NO_STORE, **(headers or {})}, status
        )


class FakeEndpoints:
    """`refused` is the error that the token endpoint answers to every request; with `is_unavailable`, every endpoint
    answers 503.
    """

    def __init__(self, tokens: FakeTokens) -> None:
        self._tokens = tokens
        self._secret_key = secrets.token_bytes(32)
        self.refused: str | None = None
        self.is_unavailable = False

    def client_secret(self, client: str) -> str:
        """The secret of the client, which exists once it is named."""
        return hmac.digest(self._secret_key, client.encode(), hashlib.sha256).hex()

    def answer(self, request: httpx.Request) -> httpx.Response:
        """The response to a request whose body has been read."""
        try:
            return self._route(request)
        except _OAuthRefusal as refusal:
            return refusal.response

    def _route(self, request: httpx.Request) -> httpx.Response:
        if self.is_unavailable:
            raise _OAuthRefusal("temporarily_unavailable", "try again shortly", 503, {"retry-after": "1"})
        path = urlsplit(self._tokens.issuer).path
        documents: Mapping[str, Callable[[], dict[str, Any]]] = {
            f"/.well-known/oauth-authorization-server{path}": self._metadata,
            f"{path}/.well-known/openid-configuration": self._openid_metadata,
            f"{path}/jwks.json": self._tokens.jwks,
            f"{path}/revocations": self._tokens.feed,
        }
        endpoints: Mapping[str, Callable[[httpx.Request, str, Form], httpx.Response]] = {
            f"{path}/token": self._token,
            f"{path}/introspect": self._introspect,
            f"{path}/revoke": self._revoke,
        }
        if (document := documents.get(request.url.path)) is not None and request.method in ("GET", "HEAD"):
            return _json(document(), _CHANGING if request.url.path == f"{path}/revocations" else _PUBLIC)
        if (endpoint := endpoints.get(request.url.path)) is not None:
            form = _form(request)
            return endpoint(request, self._authenticated(request, form), form)
        if request.url.path == f"{path}{ANY_TOKEN_PATH}" and request.method == "POST":
            return self._any_token(request)
        return _json({"error": "not_found", "error_description": "nothing is served here"}, _NO_STORE, 404)

    def _any_token(self, request: httpx.Request) -> httpx.Response:
        """A token with any content, for tests in other languages. The real issuer has no such endpoint."""
        try:
            arguments = json.loads(request.content)
            token = self._tokens.make(arguments.pop("scopes", []), **({"client": TEST_CLIENT} | arguments))
        except (ValueError, TypeError, AttributeError, OverflowError, RecursionError) as error:
            why = str(error).removeprefix("FakeTokens.make() ")
            raise _OAuthRefusal(
                "invalid_request",
                f"send the arguments of FakeIssuer.token as JSON, and a list of scopes as scopes: {why}",
            ) from None
        return httpx.Response(200, headers={"content-type": "application/jwt", **_NO_STORE}, content=token.encode())

    def _metadata(self) -> dict[str, Any]:
        issuer = self._tokens.issuer
        endpoints = {"token": "token", "introspection": "introspect", "revocation": "revoke"}
        return {
            "issuer": issuer,
            "jwks_uri": f"{issuer}/jwks.json",
            "scopewright_revocation_feed_uri": f"{issuer}/revocations",
            "response_types_supported": ["none"],
            "grant_types_supported": [_CLIENT_CREDENTIALS, _TOKEN_EXCHANGE],
            "dpop_signing_alg_values_supported": list(PROOF_ALGORITHMS),
            **{f"{name}_endpoint": f"{issuer}/{path}" for name, path in endpoints.items()},
            **{f"{name}_endpoint_auth_methods_supported": list(_AUTH_METHODS) for name in endpoints},
        }

    def _openid_metadata(self) -> dict[str, Any]:
        algorithms = {"id_token_signing_alg_values_supported": [self._tokens.algorithm]}
        return self._metadata() | {"subject_types_supported": ["public"]} | algorithms

    def _authenticated(self, request: httpx.Request, form: Form) -> str:
        """The client id (RFC 6749 §2.3.1)."""
        header, named = request.headers.get("authorization"), _single(form, "client_id")
        client, secret, challenge = named, _single(form, "client_secret"), {}
        if header is not None:
            if secret:
                raise _OAuthRefusal("invalid_request", "use one client authentication method, not several")
            (client, secret), challenge = _basic(header), _CHALLENGE
            if named and named != client:
                raise _OAuthRefusal("invalid_request", "client_id must be the client of the Authorization header")
        elif not client or not secret:
            raise _OAuthRefusal("invalid_client", "no client authentication", 401, _CHALLENGE)
        if not hmac.compare_digest(secret.encode(), self.client_secret(client).encode()):
            raise _OAuthRefusal("invalid_client", "client authentication failed", 401, challenge)
        return client

    def _token(self, request: httpx.Request, client: str, form: Form) -> httpx.Response:
        if self.refused is not None:
            raise _OAuthRefusal(self.refused, "the test refuses it", _STATUS.get(self.refused, 400))
        subject_token = _subject_token(form)
        scopes = _scopes(form)
        proofs = request.headers.get_list("dpop")
        claims = {"cnf": {"jkt": _thumbprint(request, proofs)}} if proofs else {}
        try:
            token = self._tokens.make(
                scopes, client=client, audience=self._resource(form), on_behalf_of=subject_token, claims=claims
            )
        except ValueError:
            raise _OAuthRefusal("invalid_request", "subject_token must be an active token of this issuer") from None
        issued = self._tokens.inspect(token) or {}
        body = {
            "access_token": token,
            "token_type": "DPoP" if proofs else "Bearer",
            "expires_in": issued["exp"] - issued["iat"],
            "scope": issued["scope"],
        }
        return _json(body | ({"issued_token_type": _ACCESS_TOKEN} if subject_token else {}), _NO_STORE)

    def _resource(self, form: Form) -> str:
        """The one resource (RFC 8707 §2)."""
        named: set[str] = {*form.get("resource", ()), *form.get("audience", ())} or {self._tokens.audience}
        if len(named) > 1:
            raise _OAuthRefusal("invalid_target", "a token is for one resource; request one token for each resource")
        return named.pop()

    def _introspect(self, request: httpx.Request, client: str, form: Form) -> httpx.Response:
        claims = self._tokens.inspect(_required_token(form))
        if claims is None:
            return _json({"active": False}, _NO_STORE)
        kind = "DPoP" if "cnf" in claims else "Bearer"
        known = {name: claims[name] for name in (*_INTROSPECTED, *OF_LOGIN) if name in claims}
        return _json({"active": True, "token_type": kind} | known, _NO_STORE)

    def _revoke(self, request: httpx.Request, client: str, form: Form) -> httpx.Response:
        """The answer is the same for a token that the client may not revoke."""
        token = _required_token(form)
        claims = self._tokens.inspect(token)
        if claims is not None and claims.get("client_id") == client:
            self._tokens.revoke(token)
        return _json({}, _NO_STORE)


def _json(content: object, headers: Mapping[str, str], status: int = 200) -> httpx.Response:
    body = json.dumps(content).encode()
    return httpx.Response(status, headers={"content-type": "application/json", **headers}, content=body)


def _form(request: httpx.Request) -> Form:
    if request.method != "POST":
        raise _OAuthRefusal("invalid_request", "use POST", 405, {"allow": "POST"})
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != _FORM:
        raise _OAuthRefusal("invalid_request", f"send the parameters as {_FORM}")
    try:
        form = parse_qs(request.content.decode(), errors="strict")
    except ValueError:
        raise _OAuthRefusal("invalid_request", "the body is not UTF-8") from None
    if any(len(values) > 1 for name, values in form.items() if name not in ("resource", "audience")):
        raise _OAuthRefusal("invalid_request", "a parameter is repeated")
    return form


def _single(form: Form, name: str) -> str:
    return form.get(name, [""])[0]


def _required_token(form: Form) -> str:
    if not (token := _single(form, "token")):
        raise _OAuthRefusal("invalid_request", "token is missing")
    return token


def _subject_token(form: Form) -> str | None:
    """The token to exchange (RFC 8693 §2.1); None for client_credentials."""
    grant_type = _single(form, "grant_type")
    if not grant_type:
        raise _OAuthRefusal("invalid_request", "grant_type is missing")
    if grant_type == _CLIENT_CREDENTIALS:
        return None
    if grant_type != _TOKEN_EXCHANGE:
        names = f"{_CLIENT_CREDENTIALS}, {_TOKEN_EXCHANGE}"
        raise _OAuthRefusal("unsupported_grant_type", f"grant_type must be one of: {names}")
    token, token_type = _single(form, "subject_token"), _single(form, "subject_token_type")
    if not token or not token_type:
        raise _OAuthRefusal("invalid_request", "send subject_token and subject_token_type")
    for name in ("subject_token_type", "requested_token_type"):
        if _single(form, name) not in ("", _ACCESS_TOKEN, _JWT):
            raise _OAuthRefusal("invalid_request", f"{name} must be {_ACCESS_TOKEN} or {_JWT}")
    if form.keys() & {"actor_token", "actor_token_type"}:
        raise _OAuthRefusal("invalid_request", "actor_token is not supported; the authenticated client is the actor")
    return token


def _scopes(form: Form) -> list[str]:
    """Each requested scope once, in order. No issuer grants one that is malformed."""
    names = list(dict.fromkeys(_single(form, "scope").split()))
    try:
        required_scopes(names)
    except ValueError:
        raise _OAuthRefusal("invalid_scope", "a requested scope is malformed") from None
    return names


def _basic(header: str) -> tuple[str, str]:
    scheme, _, encoded = header.partition(" ")
    try:
        user, colon, secret = base64.b64decode(encoded, validate=True).decode().partition(":")
    except ValueError:
        colon = ""
    if scheme.lower() != "basic" or not colon:
        raise _OAuthRefusal("invalid_client", "authenticate with HTTP Basic", 401, _CHALLENGE)
    return unquote_plus(user), unquote_plus(secret)


def _thumbprint(request: httpx.Request, proofs: Sequence[str]) -> str:
    """The key that the token is bound to (RFC 9449 §5)."""
    try:
        url = str(request.url)
        return check_proof(proofs, method="POST", url=url, now=time.time(), leeway=_LEEWAY_SECONDS).jkt
    except BadProof as bad:
        raise _OAuthRefusal("invalid_dpop_proof", f"the DPoP proof is invalid: {bad}") from None
