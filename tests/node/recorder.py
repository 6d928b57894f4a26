"""Runs in Payroll's Pod: Payroll, and a line of output for each request that reaches it.

uvicorn --factory recorder:create
"""

import json
from typing import Any

import jwt
from starlette.types import ASGIApp, Receive, Scope, Send

from examples.hr import payroll

_ENVOY = "x-envoy-expected-rq-timeout-ms"
"""Envoy adds it to each request that it passes on."""


def create() -> ASGIApp:
    service = payroll.create()

    async def recorded(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            print(json.dumps(record(scope)), flush=True)
        await service(scope, receive, send)

    return recorded


def record(scope: Scope) -> dict[str, Any]:
    """Method, target, and who the token and each of the identity headers say is calling. The token is not verified."""
    headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"]]
    identity: dict[str, list[str]] = {}
    for name, value in headers:
        if name.replace("_", "-").startswith("x-auth-"):
            identity.setdefault(name, []).append(value)
    token = dict(headers).get("authorization", "").removeprefix("Bearer ")
    query = scope["query_string"].decode("latin-1")
    return {
        "method": scope["method"],
        "target": scope["raw_path"].decode("latin-1") + (f"?{query}" if query else ""),
        "through_envoy": _ENVOY in dict(headers),
        "identity": identity,
        "subject": jwt.decode(token, options={"verify_signature": False})["sub"] if token else None,
    }
