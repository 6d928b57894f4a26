"""Payroll, on Starlette: salaries. Calls Employee for names.

GET /salaries/7           payroll.read
PUT /salaries/7           payroll.write and the role payroll-manager
GET /salary-classes/7     payroll.classes
"""

import httpx
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from examples.hr import service
from scopewright.verifier import Verifier, protect, require

SALARIES = {3: 7100, 7: 5200, 9: 3900}


async def salary(request: Request) -> Response:
    require(request, "payroll.read")
    amount = _salary(request)
    person = await service.get_json(request.app.state.employee, f"/employees/{request.path_params['id']}")
    return JSONResponse({"name": person["name"], "monthly": amount, "currency": "EUR"})


async def change(request: Request) -> Response:
    require(request, "payroll.write", roles=["payroll-manager"])
    _salary(request)
    amount = await request.body()
    if not amount.isdigit() or len(amount) > 6:
        raise HTTPException(422, "send the salary as a whole number")
    request.app.state.salaries[request.path_params["id"]] = int(amount)
    return JSONResponse({"monthly": int(amount), "currency": "EUR"})


async def salary_class(request: Request) -> Response:
    """Has its own scope, because it reveals less than the salary."""
    require(request, "payroll.classes")
    amount = _salary(request)
    return JSONResponse({"class": "A" if amount < 4000 else "B" if amount < 6000 else "C"})


def _salary(request: Request) -> int:
    try:
        amount: int = request.app.state.salaries[request.path_params["id"]]
    except KeyError:
        raise HTTPException(404, "no salary for this employee") from None
    return amount


def build(verifier: Verifier, employee: httpx.AsyncClient) -> ASGIApp:
    routes = [
        Route("/healthz", _healthy),
        Route("/salaries/{id:int}", salary),
        Route("/salaries/{id:int}", change, methods=["PUT"]),
        Route("/salary-classes/{id:int}", salary_class),
    ]
    app = Starlette(
        routes=routes,
        exception_handlers={HTTPException: _refused, **dict.fromkeys(service.FAILURES, _failed)},
        lifespan=service.closing(employee),
    )
    app.state.salaries = dict(SALARIES)
    app.state.employee = employee
    return protect(app, verifier, public=("/healthz",))


async def _healthy(request: Request) -> Response:
    return JSONResponse({"status": "ok"})


async def _refused(request: Request, refusal: Exception) -> Response:
    assert isinstance(refusal, HTTPException)
    return JSONResponse({"error_description": refusal.detail}, refusal.status_code, refusal.headers)


async def _failed(request: Request, failure: Exception) -> Response:
    status, body = service.failure(request.url.path, failure)
    return JSONResponse(body, status)


def create() -> ASGIApp:
    """uvicorn --factory examples.hr.payroll:create"""
    return build(service.verifier(), employee=service.peer("employee"))
