"""Leave Management: requests for leave and their approval. Calls Employee for names, and Payroll for salary classes on
behalf of the approver, with a token that has the scopes of both.

GET  /requests?employee=7      leave.read
POST /requests/1/approval      leave.approve
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

REQUESTS = {
    1: {"id": 1, "employee": 7, "first": "2027-07-05", "days": 10, "status": "requested"},
    2: {"id": 2, "employee": 7, "first": "2027-03-01", "days": 12, "status": "approved"},
    3: {"id": 3, "employee": 9, "first": "2027-08-02", "days": 40, "status": "requested"},
}
DAYS_A_YEAR = {"A": 30, "B": 28, "C": 25}  # by salary class


async def requests(request: Request) -> Response:
    require(request, "leave.read")
    wanted = request.query_params.get("employee")
    found = [r for r in request.app.state.requests.values() if wanted in (None, str(r["employee"]))]
    return JSONResponse(found)


async def approve(request: Request) -> Response:
    caller = require(request, "leave.approve")
    asked = _found(request)
    person = await service.get_json(request.app.state.employee, f"/employees/{asked['employee']}")
    salary = await service.get_json(
        request.app.state.payroll, f"/salary-classes/{asked['employee']}", on_behalf_of=caller
    )
    left = DAYS_A_YEAR[salary["class"]] - _approved(request, asked["employee"])
    if asked["status"] != "approved":
        if asked["days"] > left:
            raise HTTPException(409, f"{person['name']} has {left} days left and asks for {asked['days']}")
        asked["status"] = "approved"
        left -= asked["days"]
    return JSONResponse({**asked, "name": person["name"], "left": left})


def _found(request: Request) -> dict[str, Any]:
    try:
        asked: dict[str, Any] = request.app.state.requests[request.path_params["id"]]
    except KeyError:
        raise HTTPException(404, "no such request for leave") from None
    return asked


def _approved(request: Request, employee: int) -> int:
    every = request.app.state.requests.values()
    return sum(r["days"] for r in every if r["employee"] == employee and r["status"] == "approved")


def build(verifier: Verifier, employee: httpx.AsyncClient, payroll: httpx.AsyncClient) -> ASGIApp:
    routes = [
        Route("/healthz", service.healthy),
        Route("/requests", requests),
        Route("/requests/{id:int}/approval", approve, methods=["POST"]),
    ]
    app = Starlette(routes=routes, exception_handlers=service.ERRORS, lifespan=service.closing(employee, payroll))
    app.state.requests = deepcopy(REQUESTS)
    app.state.employee, app.state.payroll = employee, payroll
    return protect(app, verifier, public=("/healthz",))


def create() -> ASGIApp:
    """uvicorn --factory examples.hr.leave:create"""
    return build(service.verifier(), employee=service.peer("employee"), payroll=service.peer("payroll"))
