"""docs/openapi.yaml: the issuer's endpoints as OpenAPI 3.1, from one table. `[--check]`.

The paths are those of an issuer whose URL has no path, without the pages on which users log in. The running issuer does
not use this module, so it is not in the wheel: users get the YAML file.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, get_args

import yaml
from made import keep

from scopewright.issuer import service
from scopewright.issuer.endpoints import metadata
from scopewright.issuer.endpoints.token import GRANT_TYPES
from scopewright.issuer.endpoints.user_grant_request import USER_GRANT_TYPES
from scopewright.issuer.protocol.errors import ErrorCode
from scopewright.issuer.protocol.request import JWT_BEARER
from scopewright.issuer.tokens.exchange import ACCESS_TOKEN, JWT
from scopewright.issuer.users.claims import CLAIMS_BY_SCOPE

FILE: Final = Path(__file__).with_name("openapi.yaml")

Schema = dict[str, Any]

_TEXT: Final[Schema] = {"type": "string"}
_URL: Final[Schema] = {"type": "string", "format": "uri"}
_TEXTS: Final[Schema] = {"type": "array", "items": _TEXT, "minItems": 1}
_FALSE: Final[Schema] = {"const": False}
_COUNT: Final[Schema] = {"type": "integer", "minimum": 1}
_INSTANTS: Final[Schema] = {"type": "object", "additionalProperties": {"type": "integer"}}
_NESTED: Final[Schema] = {"type": "object", "additionalProperties": _INSTANTS}


def _object(
    required: Mapping[str, Schema], optional: Mapping[str, Schema] | None = None, *, closed: bool = False
) -> Schema:
    extra = {"additionalProperties": False} if closed else {}
    return {"type": "object", "required": [*required], "properties": {**required, **(optional or {})}, **extra}


_AUTHENTICATION: Final[dict[str, Schema]] = {
    "client_id": _TEXT | {"description": "With client_secret_post."},
    "client_secret": _TEXT | {"format": "password", "description": "With client_secret_post."},
    "client_assertion": _TEXT | {"description": "With private_key_jwt: a JWT, or a ServiceAccount's token."},
    "client_assertion_type": {"const": JWT_BEARER},
}
_METADATA: Final = {
    "issuer": _URL,
    "token_endpoint": _URL,
    "introspection_endpoint": _URL,
    "scopewright_revocation_feed_uri": _URL,
    "jwks_uri": _URL,
    "response_types_supported": _TEXTS,
    "grant_types_supported": _TEXTS,
    "token_endpoint_auth_methods_supported": {
        "type": "array",
        "items": {"enum": [*metadata.AUTH_METHODS, "none"]},
        "minItems": 1,
    },
    "token_endpoint_auth_signing_alg_values_supported": _TEXTS,
    "introspection_endpoint_auth_methods_supported": _TEXTS,
    "dpop_signing_alg_values_supported": _TEXTS,
}
_LOGIN_METADATA: Final = {
    "authorization_endpoint": _URL,
    "pushed_authorization_request_endpoint": _URL,
    "require_pushed_authorization_requests": {"const": True},
    "authorization_response_iss_parameter_supported": {"const": True},
    "request_parameter_supported": _FALSE,
    "request_uri_parameter_supported": _FALSE,
    **dict.fromkeys(("response_modes_supported", "scopes_supported", "code_challenge_methods_supported"), _TEXTS),
}
"""Only where users can log in."""
_OPENID_LOGIN_METADATA: Final = {
    **dict.fromkeys(("userinfo_endpoint", "end_session_endpoint"), _URL),
    **dict.fromkeys(("claims_supported", "prompt_values_supported"), _TEXTS),
    "claims_parameter_supported": _FALSE,
}
_JWK: Final = _object(
    {"kid": _TEXT, "kty": {"enum": ["EC", "RSA", "OKP"]}, "alg": _TEXT, "use": {"const": "sig"}},
    dict.fromkeys(("crv", "x", "y", "n", "e"), _TEXT),
    closed=True,
)

SCHEMAS: Final[dict[str, Schema]] = {
    "TokenRequest": _object(
        {"grant_type": {"enum": [*GRANT_TYPES, *USER_GRANT_TYPES]}},
        {
            "scope": _TEXT | {"description": "Space-delimited. Default: all granted scopes."},
            "resource": {
                "type": "array",
                "items": _URL,
                "maxItems": 1,
                "description": "The audience. Optional for a client that requests access to one API only.",
            },
            "code": _TEXT | {"description": "With authorization_code (RFC 6749 §4.1.3)."},
            "redirect_uri": _URL | {"description": "With authorization_code: that of the authorization request."},
            "code_verifier": _TEXT | {"description": "With authorization_code: PKCE (RFC 7636 §4.5)."},
            "refresh_token": _TEXT | {"description": "With refresh_token (RFC 6749 §6)."},
            "subject_token": _TEXT | {"description": "With token exchange (RFC 8693): the caller's token."},
            "subject_token_type": {"enum": [ACCESS_TOKEN, JWT]},
            "requested_token_type": {"enum": [ACCESS_TOKEN, JWT]},
            "audience": {
                "type": "array",
                "items": _TEXT,
                "maxItems": 1,
                "description": "With token exchange: same as resource.",
            },
            **_AUTHENTICATION,
        },
    ),
    "TokenResponse": _object(
        {"access_token": _TEXT, "token_type": {"enum": ["Bearer", "DPoP"]}, "expires_in": _COUNT, "scope": _TEXT},
        {
            "issued_token_type": {"const": ACCESS_TOKEN},
            "refresh_token": _TEXT,
            "id_token": _TEXT | {"description": "With the scope openid (OpenID Connect Core §3.1.3.3)."},
        },
        closed=True,
    ),
    "PushedRequest": _object(
        dict.fromkeys(("response_type", "redirect_uri"), _TEXT),
        {
            "scope": _TEXT | {"description": "Space-delimited. Default: all scopes of the manifest."},
            "resource": {"type": "array", "items": _URL, "description": "Audiences (RFC 8707)."},
            **dict.fromkeys(
                (
                    *("response_mode", "state", "nonce", "code_challenge", "prompt", "max_age", "login_hint"),
                    *("id_token_hint", "dpop_jkt", "acr_values", "ui_locales"),
                ),
                _TEXT,
            ),
            "code_challenge_method": {"const": "S256"},
            **_AUTHENTICATION,
        },
    ),
    "PushedResponse": _object({"request_uri": _URL, "expires_in": _COUNT}, closed=True),
    "TokenParameter": _object({"token": _TEXT}, {"token_type_hint": _TEXT, **_AUTHENTICATION}),
    "Introspection": _object(
        {"active": {"type": "boolean"}},
        {
            **dict.fromkeys(("scope", "client_id", "sub", "aud", "iss", "jti"), _TEXT),
            **dict.fromkeys(("exp", "iat", "nbf"), _COUNT),
            "token_type": {"enum": ["Bearer", "DPoP"]},
            "act": {"type": "object"},
            "cnf": {"type": "object"},
            "roles": _TEXTS,
            **dict.fromkeys(("sid", "acr"), _TEXT),
            "auth_time": _COUNT,
            "amr": _TEXTS,
        },
        closed=True,
    ),
    "Nothing": _object({}, closed=True),
    "RevocationFeed": _object(
        {
            "issuer": _URL,
            "tokens": _NESTED,
            "clients": _INSTANTS,
            "access": _NESTED,
            "audiences": _INSTANTS,
            "namespaces": _INSTANTS,
            "everybody": {"type": "integer", "minimum": 0},
            "kids": {"type": "array", "items": _TEXT},
        },
        {
            **dict.fromkeys(("sessions", "userTokens"), _NESTED),
            **dict.fromkeys(("users", "userAccess", "userClients"), _INSTANTS),
            "everyUser": _COUNT,
        },
        closed=True,
    ),
    "Error": _object(
        {
            "error": {"enum": [*get_args(ErrorCode), "not_found"]},
            "error_description": {"type": "string", "pattern": r"^[\x20-\x21\x23-\x5b\x5d-\x7e]*$"},
        },
        closed=True,
    ),
    "Userinfo": _object(
        {"sub": _TEXT}, {name: {} for names in CLAIMS_BY_SCOPE.values() for name in names}, closed=True
    ),
    "Metadata": _object(_METADATA, _LOGIN_METADATA),
    "OpenIDMetadata": _object(
        _METADATA | {"subject_types_supported": _TEXTS},
        {"id_token_signing_alg_values_supported": _TEXTS, **_LOGIN_METADATA, **_OPENID_LOGIN_METADATA},
    ),
    "JWKS": _object({"keys": {"type": "array", "items": _JWK}}, closed=True),
    "Health": _object({"status": {"enum": ["ok", "not ready"]}}, {"missing": _TEXTS, "failing": _TEXTS}, closed=True),
}


@dataclass(frozen=True)
class Response:
    """`schema` is a name of SCHEMAS, or "" if the body is empty or not JSON."""

    description: str
    schema: str = "Error"
    headers: tuple[str, ...] = ()
    media_type: str = "application/json"
    public: bool = False
    """Whether shared caches may store it."""


@dataclass(frozen=True)
class Endpoint:
    path: str
    summary: str
    responses: Mapping[int, Response]
    methods: tuple[str, ...] = ("get", "head")
    form: str = ""
    """The schema of the form in the request body; "" if there is none."""
    security: tuple[str, ...] = ()


_NO_STORE: Final = ("Cache-Control",)
_BUSY: Final = Response("The issuer is starting, or temporarily cannot decide.", headers=(*_NO_STORE, "Retry-After"))
_FORM_ENDPOINT: Final = {
    400: Response(
        "The request is refused. `error` is the reason; docs/errors.md lists the corrections.", headers=_NO_STORE
    ),
    401: Response("Client authentication failed.", headers=(*_NO_STORE, "WWW-Authenticate")),
    405: Response("The method is not POST.", headers=(*_NO_STORE, "Allow")),
    408: Response("The body was not received in time.", headers=_NO_STORE),
    413: Response("The body is too large.", headers=_NO_STORE),
    503: _BUSY,
}
"""Responses of every endpoint that takes a form from an authenticated client."""

_DOCUMENT: Final = {405: Response("The method is not GET or HEAD.", headers=(*_NO_STORE, "Allow")), 503: _BUSY}

_PATHS: Final = metadata.paths("")

ENDPOINTS: Final = (
    Endpoint(
        _PATHS.token,
        "Issue an access token (RFC 6749 §3.2, RFC 9068)",
        {200: Response("The token.", "TokenResponse", _NO_STORE), **_FORM_ENDPOINT},
        methods=("post",),
        form="TokenRequest",
        security=metadata.AUTH_METHODS,
    ),
    Endpoint(
        _PATHS.introspection,
        "Introspect a token, as its client or as the API in its audience (RFC 7662)",
        {200: Response("The token's claims, or `active: false`.", "Introspection", _NO_STORE), **_FORM_ENDPOINT},
        methods=("post",),
        form="TokenParameter",
        security=metadata.AUTH_METHODS,
    ),
    Endpoint(
        _PATHS.revocation,
        "Revoke a token (RFC 7009); 404 if the issuer has no write access",
        {
            200: Response("The token is revoked, or was not issued to this client.", "Nothing", _NO_STORE),
            404: Response("This issuer has no write access.", headers=_NO_STORE),
            **_FORM_ENDPOINT,
        },
        methods=("post",),
        form="TokenParameter",
        security=metadata.AUTH_METHODS,
    ),
    Endpoint(
        _PATHS.par,
        "Push an authorization request, for /authorize?client_id=…&request_uri=… (RFC 9126); 404 if no user can log in",
        {
            201: Response("The reference to the request.", "PushedResponse", _NO_STORE),
            404: Response("No user can log in here.", headers=_NO_STORE),
            429: Response(
                "Client, namespace or address have pushed too many requests.", headers=(*_NO_STORE, "Retry-After")
            ),
            **_FORM_ENDPOINT,
        },
        methods=("post",),
        form="PushedRequest",
        security=metadata.AUTH_METHODS,
    ),
    Endpoint(
        _PATHS.userinfo,
        "The claims of a user that the user has consented to (OpenID Connect Core §5.3); 404 if no user can log in",
        {
            200: Response("The claims.", "Userinfo", _NO_STORE),
            **{status: _FORM_ENDPOINT[status] for status in (400, 408, 413, 503)},
            401: Response(
                "There is no token, or it is not valid for userinfo.", headers=(*_NO_STORE, "WWW-Authenticate")
            ),
            403: Response("The token lacks the scope openid.", headers=(*_NO_STORE, "WWW-Authenticate")),
            404: Response("No user can log in here.", headers=_NO_STORE),
            405: Response("The method is neither GET nor POST.", headers=(*_NO_STORE, "Allow")),
        },
        methods=("get", "post"),
        security=("access_token",),
    ),
    Endpoint(
        _PATHS.feed,
        "Revocations, for services that validate tokens locally",
        {
            200: Response("The revocations.", "RevocationFeed", ("Cache-Control", "ETag"), public=True),
            304: Response("Not modified since the ETag in If-None-Match.", "", ("Cache-Control", "ETag"), public=True),
            **_DOCUMENT,
        },
    ),
    Endpoint(
        _PATHS.jwks,
        "The public keys (RFC 7517)",
        {
            200: Response("The keys.", "JWKS", ("Cache-Control", "ETag"), public=True),
            304: Response("Not modified since the ETag in If-None-Match.", "", ("Cache-Control", "ETag"), public=True),
            **_DOCUMENT,
        },
    ),
    Endpoint(
        _PATHS.oauth_metadata,
        "Metadata (RFC 8414)",
        {200: Response("The metadata.", "Metadata", ("Cache-Control",), public=True), **_DOCUMENT},
    ),
    Endpoint(
        _PATHS.openid_metadata,
        "Metadata (OpenID Connect Discovery)",
        {200: Response("The metadata.", "OpenIDMetadata", ("Cache-Control",), public=True), **_DOCUMENT},
    ),
    Endpoint(
        service.HEALTHZ,
        "Whether the process serves requests",
        {200: Response("It serves requests.", "Health"), 405: _DOCUMENT[405]},
    ),
    Endpoint(
        service.READYZ,
        "Whether tokens can be issued",
        {
            200: Response("Tokens can be issued.", "Health"),
            405: _DOCUMENT[405],
            503: Response("Not ready; `missing` lists why.", "Health"),
        },
    ),
)
"""Every path on the port that serves tokens; any other path returns 404."""

_SECURITY: Final[dict[str, Schema]] = {
    "client_secret_basic": {
        "type": "http",
        "scheme": "basic",
        "description": "Client id and secret, both form-encoded (RFC 6749 §2.3.1).",
    },
    "access_token": {
        "type": "http",
        "scheme": "bearer",
        "description": "An access token for this issuer. POST also takes it as the form parameter access_token.",
    },
}
"""OpenAPI has no scheme for credentials in the form, so those are listed as parameters."""


def document() -> dict[str, Any]:
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Scopewright issuer",
            "version": "v1",
            "description": "Generated by `make docs`, for an issuer whose URL has no path.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "paths": {endpoint.path: _operations(endpoint) for endpoint in ENDPOINTS},
        "components": {"schemas": SCHEMAS, "securitySchemes": _SECURITY},
    }


def _operations(endpoint: Endpoint) -> dict[str, Any]:
    operations = {}
    for method in endpoint.methods:
        operation: dict[str, Any] = {
            "summary": endpoint.summary,
            "responses": {
                str(status): _response(response, body=method != "head")
                for status, response in sorted(endpoint.responses.items())
            },
        }
        if endpoint.form:
            content = {"application/x-www-form-urlencoded": {"schema": _reference(endpoint.form)}}
            operation["requestBody"] = {"required": True, "content": content}
        if endpoint.security:
            operation["security"] = [{name: []} for name in endpoint.security if name in _SECURITY] + [{}]
        operations[method] = operation
    return operations


def _response(response: Response, *, body: bool) -> dict[str, Any]:
    described: dict[str, Any] = {"description": response.description}
    if response.headers:
        described["headers"] = {name: _header(name, response) for name in response.headers}
    if body and (response.schema or response.media_type != "application/json"):
        schema = _reference(response.schema) if response.schema else _TEXT
        described["content"] = {response.media_type: {"schema": schema}}
    return described


def _header(name: str, response: Response) -> dict[str, Any]:
    """Required, except the challenge: it is sent only if the client used Basic or sent no credentials."""
    schema = _TEXT
    if name == "Cache-Control":
        schema = {"pattern": "^public, max-age=[0-9]+$"} if response.public else {"const": "no-store"}
    return {"required": name != "WWW-Authenticate", "schema": schema}


def _reference(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        return True


def text() -> str:
    return yaml.dump(document(), Dumper=_Dumper, sort_keys=False, width=120, allow_unicode=True)


if __name__ == "__main__":
    keep(FILE, text())
