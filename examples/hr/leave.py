"""Leave Management, on Flask: requests for leave and their approval. Calls Employee for names, and Payroll for salary
classes on behalf of the approver, with a token that has the scopes of both.

GET  /requests?employee=7      leave.read
POST /requests/1/approval      leave.approve
"""

import json
import threading
from copy import deepcopy
from typing import Any

import httpx
from flask import Flask, request
from werkzeug.exceptions import Conflict, HTTPException, NotFound
from werkzeug.sansio.response import Response as WsgiResponse

from examples.hr import service
from scopewright.verifier import Verifier
from scopewright.verifier.flask import TokenAuth, current_token

REQUESTS = {
    1: {"id": 1, "employee": 7, "first": "2027-07-05", "days": 10, "status": "requested"},
    2: {"id": 2, "employee": 7, "first": "2027-03-01", "days": 12, "status": "approved"},
    3: {"id": 3, "employee": 9, "first": "2027-08-02", "days": 40, "status": "requested"},
    4: {"id": 4, "employee": 3, "first": "2027-09-06", "days": 5, "status": "requested"},
}
DAYS_A_YEAR = {"A": 30, "B": 28, "C": 25}  # by salary class


def build(verifier: Verifier, employee: httpx.Client, payroll: httpx.Client) -> Flask:
    requests: dict[int, dict[str, Any]] = deepcopy(REQUESTS)
    approving = threading.Lock()
    app = Flask("leave")
    auth = TokenAuth(verifier, public=("/healthz",))
    auth.init_app(app)

    @app.get("/healthz")
    def healthy() -> dict[str, str]:
        return {"status": "ok"}

    @app.get("/requests")
    @auth.require("leave.read")
    def listed() -> list[dict[str, Any]]:
        wanted = request.args.get("employee")
        return [asked for asked in requests.values() if wanted in (None, str(asked["employee"]))]

    @app.post("/requests/<int:number>/approval")
    @auth.require("leave.approve")
    def approve(number: int) -> dict[str, Any]:
        if (asked := requests.get(number)) is None:
            raise NotFound("no such request for leave")
        path = f"/salary-classes/{asked['employee']}"
        person = service.get_json_sync(employee, f"/employees/{asked['employee']}")
        salary = service.get_json_sync(payroll, path, on_behalf_of=current_token())
        with approving:
            left = DAYS_A_YEAR[salary["class"]] - approved(asked["employee"])
            if asked["status"] != "approved":
                if asked["days"] > left:
                    raise Conflict(f"{person['name']} has {left} days left and asks for {asked['days']}")
                asked["status"] = "approved"
                left -= asked["days"]
        return {**asked, "name": person["name"], "left": left}

    def approved(number: int) -> int:
        mine = (asked for asked in requests.values() if asked["employee"] == number)
        return sum(asked["days"] for asked in mine if asked["status"] == "approved")

    app.register_error_handler(HTTPException, _refused)
    for failure in service.FAILURES:
        app.register_error_handler(failure, _failed)
    return app


def _refused(refusal: HTTPException) -> WsgiResponse:
    """As JSON instead of HTML. The headers have the challenge of a refused token."""
    response = refusal.get_response()
    response.data = json.dumps({"error_description": refusal.description})
    response.content_type = "application/json"
    return response


def _failed(failure: Exception) -> tuple[dict[str, str], int]:
    status, body = service.failure(request.path, failure)
    return body, status


def create() -> Flask:
    """gunicorn --threads 8 'examples.hr.leave:create()'"""
    return build(service.verifier(), employee=service.peer_sync("employee"), payroll=service.peer_sync("payroll"))
