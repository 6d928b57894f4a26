"""What services import from the module of their framework. A name or an argument that is added must be kept."""

import inspect
from types import ModuleType
from typing import Any

import pytest

from scopewright.verifier import aiohttp, django, fastapi, flask, grpc, wsgi

REQUIREMENT = "*scopes, any_of=None, roles=None"
PATHS = "public=(), optional=(), rules=None"
INTERCEPTOR = "verifier, scopes, *, public=(), optional=(), realm=None"
PUBLIC: dict[ModuleType, dict[str, str]] = {
    wsgi: {
        "protect": f"app, verifier, scopes=(), *, {PATHS}, realm=None, base_url=None, resource_metadata=None",
        "require": f"request, {REQUIREMENT}",
        "current_token": "request",
    },
    fastapi: {
        "TokenAuth": (
            "verifier, *, scopes=(), rules=None, realm=None, base_url=None, websocket_subprotocol=False, "
            "resource_metadata=None, scheme_name='AccessToken', description='An access token of the issuer (RFC 9068).'"
        ),
        "TokenAuth.add_metadata_route": "self, app",
        "TokenAuth.require": f"self, {REQUIREMENT}",
    },
    flask: {
        "TokenAuth": f"verifier, *, scopes=(), {PATHS}, realm=None, base_url=None, resource_metadata=None",
        "TokenAuth.init_app": "self, app",
        "TokenAuth.require": f"self, {REQUIREMENT}",
        "require": REQUIREMENT,
        "current_token": "",
    },
    aiohttp: {
        "token_middleware": (
            f"verifier, scopes=(), *, {PATHS}, realm=None, base_url=None, "
            "websocket_subprotocol=False, resource_metadata=None"
        ),
        "require": f"request, {REQUIREMENT}",
        "current_token": "request",
    },
    grpc: {
        "TokenInterceptor": INTERCEPTOR,
        "TokenInterceptor.intercept_service": "self, continuation, handler_call_details",
        "AioTokenInterceptor": INTERCEPTOR,
        "AioTokenInterceptor.intercept_service": "self, continuation, handler_call_details",
        "require": REQUIREMENT,
        "current_token": "",
    },
    django: {
        "TokenMiddleware": "get_response",
        "require": "*arguments, any_of=None, roles=None",
        "current_token": "request",
    },
}


def arguments(function: Any) -> str:
    signature = inspect.signature(function)
    plain = [each.replace(annotation=inspect.Parameter.empty) for each in signature.parameters.values()]
    return str(inspect.Signature(plain))[1:-1]


@pytest.mark.parametrize("module", PUBLIC, ids=lambda module: module.__name__)
def test_public_names_and_arguments_are_complete(module: ModuleType) -> None:
    defined = {
        name for name, value in vars(module).items()
        if name[0] != "_" and getattr(value, "__module__", "") == module.__name__
    }  # fmt: skip
    assert defined == {name for name in PUBLIC[module] if "." not in name}
    found = {}
    for name in PUBLIC[module]:
        value: Any = module
        for part in name.split("."):
            value = getattr(value, part)
        found[name] = arguments(value)
    assert found == PUBLIC[module]
