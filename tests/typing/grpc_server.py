"""Types of the gRPC interceptors as an application sees them. `mypy` checks this file; nothing runs it."""

from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, assert_type

import grpc
import grpc.aio

from scopewright.verifier import AnyIssuer, Requirement, Token, Verifier
from scopewright.verifier.grpc import AioTokenInterceptor, TokenInterceptor, current_token, require

verifier = Verifier("https://issuer.example", "https://payroll-api.payroll.svc")
SCOPES = {"/hr.Payroll/GetSalary": ["payroll.read"]}


def get_salary(request: bytes, context: grpc.ServicerContext) -> bytes:
    assert_type(current_token(), Token | None)
    return assert_type(require("payroll.read", any_of=["a", "b"], roles=("auditor",)), Token).subject.encode()


def list_salaries(request: bytes, context: grpc.ServicerContext) -> Iterator[bytes]:
    yield require().value.encode()


async def watch_salaries(request: bytes, context: "grpc.aio.ServicerContext[bytes, bytes]") -> AsyncIterator[bytes]:
    yield require("payroll.read").value.encode()


def serve() -> None:
    interceptor = TokenInterceptor(
        verifier,
        scopes={
            "/hr.Payroll/GetSalary": ["payroll.read"],
            "/hr.Payroll/ListSalaries": "payroll.read payroll.list",
            "/hr.Payroll/WatchSalaries": Requirement.of(any_of=["payroll.read"], roles=["auditor"]),
        },
        public=("/grpc.health.v1.Health/*",),
        optional=["/hr.Payroll/Ping"],
        realm="payroll",
    )
    grpc.server(ThreadPoolExecutor(4), interceptors=[interceptor]).start()
    TokenInterceptor(AnyIssuer(verifier), SCOPES)


async def serve_aio() -> None:
    interceptors: list[grpc.aio.ServerInterceptor] = [AioTokenInterceptor(verifier, SCOPES)]
    await grpc.aio.server(interceptors=interceptors).start()


def mistakes() -> Any:
    TokenInterceptor(verifier)  # type: ignore[call-arg]
    TokenInterceptor(verifier, ["payroll.read"])  # type: ignore[arg-type]
    TokenInterceptor(verifier, {"/hr.Payroll/GetSalary": 7})  # type: ignore[dict-item]
    AioTokenInterceptor("https://issuer.example", SCOPES)  # type: ignore[arg-type]
    require(["payroll.read"])  # type: ignore[arg-type]
    grpc.server(ThreadPoolExecutor(4), interceptors=[AioTokenInterceptor(verifier, SCOPES)])  # type: ignore[list-item]
    return current_token().subject  # type: ignore[union-attr]
