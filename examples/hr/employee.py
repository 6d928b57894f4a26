"""Employee: names and departments. Calls Leave Management for absences.

GET /employees                 employee.read
GET /employees/7               employee.read
PUT /employees/7/department    employee.write
GET /employees/7/absences      employee.read
"""

from copy import deepcopy
from typing import Any

import httpx
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from examples.hr import service
from scopewright.verifier import Verifier, protect, require

EMPLOYEES = {
    3: {"id": 3, "name": "Grace Okafor", "department": "Research"},
    7: {"id": 7, "name": "Ada Lindqvist", "department": "Engineering"},
    9: {"id": 9, "name": "Tomás Vega", "department": "Sales"},
}


async def employees(request: Request) -> Response:
    require(request, "employee.read")
    return JSONResponse(list(request.app.state.employees.values()))


async def employee(request: Request) -> Response:
    require(request, "employee.read")
    return JSONResponse(_found(request))


async def move(request: Request) -> Response:
    require(request, "employee.write")
    department = (await request.body()).decode(errors="replace").strip()
    if not department.isprintable() or not 0 < len(department) <= 100:
        raise HTTPException(422, "send the name of the department as text")
    _found(request)["department"] = department
    return JSONResponse(_found(request))


async def absences(request: Request) -> Response:
    require(request, "employee.read")
    person = _found(request)
    requests = await service.get_json(request.app.state.leave, f"/requests?employee={person['id']}")
    return JSONResponse({"name": person["name"], "absences": [r for r in requests if r["status"] == "approved"]})


def _found(request: Request) -> dict[str, Any]:
    try:
        person: dict[str, Any] = request.app.state.employees[request.path_params["id"]]
    except KeyError:
        raise HTTPException(404, "no such employee") from None
    return person


def build(verifier: Verifier, leave: httpx.AsyncClient) -> ASGIApp:
    routes = [
        Route("/healthz", service.healthy),
        Route("/employees", employees),
        Route("/employees/{id:int}", employee),
        Route("/employees/{id:int}/department", move, methods=["PUT"]),
        Route("/employees/{id:int}/absences", absences),
    ]
    app = Starlette(routes=routes, exception_handlers=service.ERRORS, lifespan=service.closing(leave))
    app.state.employees = deepcopy(EMPLOYEES)
    app.state.leave = leave
    return protect(app, verifier, public=("/healthz",))


def create() -> ASGIApp:
    """uvicorn --factory examples.hr.employee:create"""
    return build(service.verifier(), leave=service.peer("leave"))
