"""The endpoints as OpenAPI 3.1, from one table: `python -m scopewright.issuer.openapi FILE [--check]`.

Paths are those of an issuer whose URL has no path. Nothing of this is used while the issuer runs.
"""

import argparse
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, get_args

import yaml

from scopewright.issuer import service
from scopewright.issuer.endpoints import metadata
from scopewright.issuer.endpoints.token import GRANT_TYPES
from scopewright.issuer.protocol.errors import ErrorCode
from scopewright.issuer.protocol.request import JWT_BEARER
from scopewright.issuer.tokens.exchange import ACCESS_TOKEN, JWT

Schema = dict[str, Any]

_TEXT: Final[Schema] = {"type": "string"}
_URL: Final[Schema] = {"type": "string", "format": "uri"}
_TEXTS: Final[Schema] = {"type": "array", "items": _TEXT, "minItems": 1}
_COUNT: Final[Schema] = {"type": "integer", "minimum": 1}
_INSTANTS: Final[Schema] = {"type": "object", "additionalProperties": {"type": "integer"}}
_NESTED: Final[Schema] = {"type": "object", "additionalProperties": _INSTANTS}


def _object(
    required: Mapping[str, Schema], optional: Mapping[str, Schema] | None = None, *, more: bool = True
) -> Schema:
    closed = {} if more else {"additionalProperties": False}
    return {"type": "object", "required": [*required], "properties": {**required, **(optional or {})}, **closed}


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
        "items": {"enum": [*metadata.AUTH_METHODS]},
        "minItems": 1,
    },
    "token_endpoint_auth_signing_alg_values_supported": _TEXTS,
    "introspection_endpoint_auth_methods_supported": _TEXTS,
    "dpop_signing_alg_values_supported": _TEXTS,
}
_JWK: Final = _object(
    {"kid": _TEXT, "kty": {"enum": ["EC", "RSA", "OKP"]}, "alg": _TEXT, "use": {"const": "sig"}},
    dict.fromkeys(("crv", "x", "y", "n", "e"), _TEXT),
    more=False,
)

SCHEMAS: Final[dict[str, Schema]] = {
    "TokenRequest": _object(
        {"grant_type": {"enum": [*GRANT_TYPES]}},
        {
            "scope": _TEXT | {"description": "Space-delimited. Left out: all that is granted."},
            "resource": {
                "type": "array",
                "items": _URL,
                "maxItems": 1,
                "description": "The audience. May be left out by a client that asks for access to one API alone.",
            },
            "subject_token": _TEXT | {"description": "With token exchange (RFC 8693): the caller's token."},
            "subject_token_type": {"enum": [ACCESS_TOKEN, JWT]},
            "requested_token_type": {"enum": [ACCESS_TOKEN, JWT]},
            "audience": {"type": "array", "items": _TEXT, "maxItems": 1, "description": "With exchange: as resource."},
            **_AUTHENTICATION,
        },
    ),
    "TokenResponse": _object(
        {"access_token": _TEXT, "token_type": {"enum": ["Bearer", "DPoP"]}, "expires_in": _COUNT, "scope": _TEXT},
        {"issued_token_type": {"const": ACCESS_TOKEN}},
        more=False,
    ),
    "TokenParameter": _object({"token": _TEXT}, {"token_type_hint": _TEXT, **_AUTHENTICATION}),
    "Introspection": _object(
        {"active": {"type": "boolean"}},
        {
            **dict.fromkeys(("scope", "client_id", "sub", "aud", "iss", "jti"), _TEXT),
            **dict.fromkeys(("exp", "iat", "nbf"), _COUNT),
            "token_type": {"enum": ["Bearer", "DPoP"]},
            "act": {"type": "object"},
            "cnf": {"type": "object"},
        },
        more=False,
    ),
    "Nothing": _object({}, more=False),
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
        more=False,
    ),
    "Error": _object(
        {
            "error": {"enum": [*get_args(ErrorCode), "not_found"]},
            "error_description": {"type": "string", "pattern": r"^[\x20-\x21\x23-\x5b\x5d-\x7e]*$"},
        },
        more=False,
    ),
    "Metadata": _object(_METADATA),
    "OpenIDMetadata": _object(
        _METADATA | {"subject_types_supported": _TEXTS}, {"id_token_signing_alg_values_supported": _TEXTS}
    ),
    "JWKS": _object({"keys": {"type": "array", "items": _JWK}}, more=False),
    "Health": _object({"status": {"enum": ["ok", "not ready"]}}, {"missing": _TEXTS, "failing": _TEXTS}, more=False),
}


@dataclass(frozen=True)
class Response:
    """`schema` is a name of SCHEMAS, or "" for a body that is not JSON or is not there."""

    description: str
    schema: str = "Error"
    headers: tuple[str, ...] = ()
    media_type: str = "application/json"
    public: bool = False
    """Whether caches may keep it."""


@dataclass(frozen=True)
class Endpoint:
    path: str
    summary: str
    responses: Mapping[int, Response]
    methods: tuple[str, ...] = ("get", "head")
    form: str = ""
    """The schema of the form that is sent."""
    security: tuple[str, ...] = ()


_NO_STORE: Final = ("Cache-Control",)
_BUSY: Final = Response("The issuer is starting, or cannot decide now.", headers=(*_NO_STORE, "Retry-After"))
_FORM_ENDPOINT: Final = {
    400: Response("The request cannot be granted: `error` says why, docs/errors.md what to change.", headers=_NO_STORE),
    401: Response("The client did not prove who it is.", headers=(*_NO_STORE, "WWW-Authenticate")),
    405: Response("Another method than POST.", headers=(*_NO_STORE, "Allow")),
    408: Response("The body did not come in time.", headers=_NO_STORE),
    413: Response("The body is too large.", headers=_NO_STORE),
    503: _BUSY,
}
"""What every endpoint answers that takes a form from an authenticated client."""

_DOCUMENT: Final = {405: Response("Another method than GET and HEAD.", headers=(*_NO_STORE, "Allow")), 503: _BUSY}

_PATHS: Final = metadata.paths("")

ENDPOINTS: Final = (
    Endpoint(
        _PATHS.token,
        "An access token (RFC 6749 §3.2, RFC 9068)",
        {200: Response("The token.", "TokenResponse", _NO_STORE), **_FORM_ENDPOINT},
        methods=("post",),
        form="TokenRequest",
        security=metadata.AUTH_METHODS,
    ),
    Endpoint(
        _PATHS.introspection,
        "What a token is, for its client and for the API that it is for (RFC 7662)",
        {200: Response("The token, or that it is not active.", "Introspection", _NO_STORE), **_FORM_ENDPOINT},
        methods=("post",),
        form="TokenParameter",
        security=metadata.AUTH_METHODS,
    ),
    Endpoint(
        _PATHS.revocation,
        "The end of a token (RFC 7009), where the issuer may write; else 404",
        {
            200: Response("It has ended, or was none of the client's.", "Nothing", _NO_STORE),
            404: Response("This issuer cannot write.", headers=_NO_STORE),
            **_FORM_ENDPOINT,
        },
        methods=("post",),
        form="TokenParameter",
        security=metadata.AUTH_METHODS,
    ),
    Endpoint(
        _PATHS.feed,
        "What has ended before its time, for services that validate locally",
        {
            200: Response("What has ended.", "RevocationFeed", ("Cache-Control", "ETag"), public=True),
            304: Response("As If-None-Match has it.", "", ("Cache-Control", "ETag"), public=True),
            **_DOCUMENT,
        },
    ),
    Endpoint(
        _PATHS.jwks,
        "The public keys (RFC 7517)",
        {
            200: Response("The keys.", "JWKS", ("Cache-Control", "ETag"), public=True),
            304: Response("As If-None-Match has it.", "", ("Cache-Control", "ETag"), public=True),
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
    Endpoint(service.HEALTHZ, "Whether the process serves", {200: Response("It does.", "Health"), 405: _DOCUMENT[405]}),
    Endpoint(
        service.READYZ,
        "Whether tokens can be had",
        {200: Response("They can.", "Health"), 405: _DOCUMENT[405], 503: Response("What is waited for.", "Health")},
    ),
)
"""Every endpoint that the issuer answers where tokens are served; anything else is 404."""

_SECURITY: Final[dict[str, Schema]] = {
    "client_secret_basic": {
        "type": "http",
        "scheme": "basic",
        "description": "Client id and secret, both form-encoded (RFC 6749 §2.3.1).",
    },
}
"""How OpenAPI says it; what it has no word for (credentials among the parameters) is among the parameters."""


def document() -> dict[str, Any]:
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Scopewright issuer",
            "version": "v1",
            "description": "Made by `make docs`, for an issuer whose URL has no path.",
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
    said: dict[str, Any] = {"description": response.description}
    if response.headers:
        said["headers"] = {name: _header(name, response) for name in response.headers}
    if body and (response.schema or response.media_type != "application/json"):
        schema = _reference(response.schema) if response.schema else _TEXT
        said["content"] = {response.media_type: {"schema": schema}}
    return said


def _header(name: str, response: Response) -> dict[str, Any]:
    """Required, but for the challenge, which only answers one who used Basic or showed nothing."""
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


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m scopewright.issuer.openapi", description=__doc__)
    parser.add_argument("file", metavar="FILE", type=Path)
    parser.add_argument("--check", action="store_true", help="write nothing, exit 1 where the file is not current")
    options = parser.parse_args(arguments)
    if not options.check:
        options.file.write_text(text())
    elif not options.file.exists() or options.file.read_text() != text():
        sys.stderr.write(f"{options.file} is not as the code has it: run `make docs`\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
