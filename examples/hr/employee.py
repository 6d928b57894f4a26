"""Employee, on FastAPI: names and departments. Calls Leave Management for absences.

GET /employees                 employee.read
GET /employees/7               employee.read
PUT /employees/7/department    employee.write
GET /employees/7/absences      employee.read
"""

from copy import deepcopy
from typing import Any

import httpx
from fastapi import APIRouter, FastAPI, HTTPException, Request, Security
from fastapi.responses import JSONResponse

from examples.hr import service
from scopewright.verifier import Verifier
from scopewright.verifier.fastapi import TokenAuth

EMPLOYEES = {
    3: {"id": 3, "name": "Grace Okafor", "department": "Research"},
    7: {"id": 7, "name": "Ada Lindqvist", "department": "Engineering"},
    9: {"id": 9, "name": "Tomás Vega", "department": "Sales"},
}


def build(verifier: Verifier, leave: httpx.AsyncClient) -> FastAPI:
    people: dict[int, dict[str, Any]] = deepcopy(EMPLOYEES)
    auth = TokenAuth(verifier)
    readers = APIRouter(dependencies=[Security(auth, scopes=["employee.read"])])
    writers = APIRouter(dependencies=[Security(auth, scopes=["employee.write"])])

    @readers.get("/employees")
    async def employees() -> list[dict[str, Any]]:
        return list(people.values())

    @readers.get("/employees/{number}")
    async def employee(number: int) -> dict[str, Any]:
        return found(number)

    @readers.get("/employees/{number}/absences")
    async def absences(number: int) -> dict[str, Any]:
        requests = await service.get_json(leave, f"/requests?employee={number}")
        approved = [request for request in requests if request["status"] == "approved"]
        return {"name": found(number)["name"], "absences": approved}

    @writers.put("/employees/{number}/department")
    async def move(number: int, request: Request) -> dict[str, Any]:
        department = (await request.body()).decode(errors="replace").strip()
        if not department.isprintable() or not 0 < len(department) <= 100:
            raise HTTPException(422, "send the name of the department as text")
        found(number)["department"] = department
        return found(number)

    def found(number: int) -> dict[str, Any]:
        if number not in people:
            raise HTTPException(404, "no such employee")
        return people[number]

    app = FastAPI(title="Employee", lifespan=service.closing(leave))
    app.add_exception_handler(HTTPException, _refused)
    for failure in service.FAILURES:
        app.add_exception_handler(failure, _failed)
    app.add_api_route("/healthz", _healthy)
    app.include_router(readers)
    app.include_router(writers)
    return app


async def _healthy() -> dict[str, str]:
    return {"status": "ok"}


async def _refused(_: Request, refusal: Exception) -> JSONResponse:
    """As in the other services: the answer has no `detail`. The headers have the challenge of a refused token."""
    assert isinstance(refusal, HTTPException)
    return JSONResponse({"error_description": refusal.detail}, refusal.status_code, refusal.headers)


async def _failed(request: Request, failure: Exception) -> JSONResponse:
    status, body = service.failure(request.url.path, failure)
    return JSONResponse(body, status)


def create() -> FastAPI:
    """uvicorn --factory examples.hr.employee:create"""
    return build(service.verifier(), leave=service.peer("leave"))
