"""The HR system: valid manifests, and services that accept exactly the granted requests."""

import asyncio
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from asgiref.wsgi import WsgiToAsgi

from examples.hr import employee, leave, payroll
from scopewright.api.validation import validate
from scopewright.client import TokenError
from scopewright.verifier import Verifier
from tests.harness.clock import Clock
from tests.unit.verifier.support import ISSUER, KEY, OTHER, FakeIssuer, token

MANIFESTS = sorted(Path(employee.__file__).parent.glob("manifests/*.yaml"))
DOCUMENTS = [document for file in MANIFESTS for document in yaml.safe_load_all(file.read_text(encoding="utf-8"))]
AUDIENCES = {name: f"https://{name}-api.{name}.svc" for name in ("employee", "payroll", "leave")}


def token_with(name: str, scope: str) -> str:
    """A token of a payroll manager if it may write salaries: the role comes with its scopes."""
    roles: dict[str, Any] = {"roles": ["payroll-manager"]} if "payroll.write" in scope.split() else {}
    return token(aud=AUDIENCES[name], scope=scope, **roles)


class FixedToken(httpx.Auth):
    """Replaces ClientCredentials: adds a fixed token, or fails."""

    def __init__(self, sent: str | TokenError) -> None:
        self.sent = sent

    def auth_flow(self, request: httpx.Request) -> Iterator[httpx.Request]:  # type: ignore[override]
        if isinstance(self.sent, TokenError):
            raise self.sent
        request.headers["Authorization"] = f"Bearer {self.sent}"
        yield request


class Hr:
    """The three services in this process, each with its own verifier; `between` are the tokens of their calls."""

    def __init__(self) -> None:
        self.between = {
            ("payroll", "employee"): FixedToken(token_with("employee", "employee.read")),
            ("leave", "employee"): FixedToken(token_with("employee", "employee.read")),
            ("leave", "payroll"): FixedToken(token_with("payroll", "payroll.classes")),
            ("employee", "leave"): FixedToken(token_with("leave", "leave.read")),
        }
        self.apps: dict[str, Any] = {
            "employee": employee.build(self.verifier("employee"), self.peer("employee", "leave")),
            "payroll": payroll.build(self.verifier("payroll"), self.peer("payroll", "employee")),
            "leave": WsgiToAsgi(  # type: ignore[no-untyped-call]
                leave.build(
                    self.verifier("leave"),
                    employee=self.peer_sync("leave", "employee"),
                    payroll=self.peer_sync("leave", "payroll"),
                )
            ),
        }

    def verifier(self, name: str) -> Verifier:
        return Verifier(ISSUER, AUDIENCES[name], http=FakeIssuer(KEY).client(), clock=Clock())

    def transport(self, name: str) -> httpx.AsyncBaseTransport:
        """Sends requests to a service in this process."""

        async def app(scope: Any, receive: Any, send: Any) -> None:
            await self.apps[name](scope, receive, send)

        return httpx.ASGITransport(app)

    def peer(self, caller: str, called: str) -> httpx.AsyncClient:
        auth = self.between[caller, called]
        return httpx.AsyncClient(transport=self.transport(called), base_url="http://peer", auth=auth)

    def peer_sync(self, caller: str, called: str) -> httpx.Client:
        transport = InLoopOfThread(self.transport(called))
        return httpx.Client(transport=transport, base_url="http://peer", auth=self.between[caller, called])

    async def call(self, name: str, request: str, sent: str | None, body: str = "") -> httpx.Response:
        method, path = request.split()
        headers = {"Authorization": f"Bearer {sent}"} if sent else {}
        async with httpx.AsyncClient(transport=self.transport(name)) as client:
            return await client.request(method, f"http://hr{path}", headers=headers, content=body)


class InLoopOfThread(httpx.BaseTransport):
    """For a client in a thread: each request runs in an event loop of its own."""

    def __init__(self, transport: httpx.AsyncBaseTransport) -> None:
        self._transport = transport

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        return asyncio.run(self._answer(request))

    async def _answer(self, request: httpx.Request) -> httpx.Response:
        answer = await self._transport.handle_async_request(request)
        return httpx.Response(answer.status_code, headers=answer.headers, content=await answer.aread())


@pytest.fixture
def hr() -> Hr:
    return Hr()


# service, request, body, the scope it needs, a scope of the same API that is not enough
REQUESTS = [
    ("employee", "GET /employees", "", "employee.read", "employee.write"),
    ("employee", "GET /employees/7", "", "employee.read", "employee.write"),
    ("employee", "PUT /employees/7/department", "Sales", "employee.write", "employee.read"),
    ("employee", "GET /employees/7/absences", "", "employee.read", "employee.write"),
    ("payroll", "GET /salaries/7", "", "payroll.read", "payroll.write payroll.classes"),
    ("payroll", "PUT /salaries/7", "9900", "payroll.write", "payroll.read payroll.classes"),
    ("payroll", "GET /salary-classes/7", "", "payroll.classes", "payroll.read"),
    ("leave", "GET /requests", "", "leave.read", "leave.approve"),
    ("leave", "POST /requests/1/approval", "", "leave.approve", "leave.read"),
]


@pytest.mark.parametrize(("name", "request_", "body", "scope", "other"), REQUESTS)
async def test_the_required_scope_is_sufficient(
    hr: Hr, name: str, request_: str, body: str, scope: str, other: str
) -> None:
    assert (await hr.call(name, request_, token_with(name, scope), body)).status_code == 200


@pytest.mark.parametrize(("name", "request_", "body", "scope", "other"), REQUESTS)
async def test_every_other_scope_is_refused_and_the_required_one_named(
    hr: Hr, name: str, request_: str, body: str, scope: str, other: str
) -> None:
    answer = await hr.call(name, request_, token_with(name, other), body)
    assert answer.status_code == 403
    challenge = answer.headers["www-authenticate"]
    assert 'error="insufficient_scope"' in challenge
    assert f'scope="{scope}"' in challenge


@pytest.mark.parametrize(("name", "request_", "body", "scope", "other"), REQUESTS)
async def test_missing_and_invalid_tokens_are_refused(
    hr: Hr, name: str, request_: str, body: str, scope: str, other: str
) -> None:
    assert (await hr.call(name, request_, None, body)).headers["www-authenticate"] == "Bearer"
    another = next(audience for audience in AUDIENCES.values() if audience != AUDIENCES[name])
    for bad in (
        token(aud=another, scope=scope),
        token(aud=AUDIENCES[name], scope=scope, exp=1),
        token(aud=AUDIENCES[name], scope=scope, iss="https://elsewhere.example"),
        token(OTHER, {"kid": KEY.kid}, aud=AUDIENCES[name], scope=scope),
    ):
        answer = await hr.call(name, request_, bad, body)
        assert answer.status_code == 401
        assert 'error="invalid_token"' in answer.headers["www-authenticate"]


@pytest.mark.parametrize("name", AUDIENCES)
async def test_health_needs_no_token(hr: Hr, name: str) -> None:
    assert (await hr.call(name, "GET /healthz", None)).json() == {"status": "ok"}


async def test_a_refused_change_changes_nothing(hr: Hr) -> None:
    await hr.call("payroll", "PUT /salaries/7", token_with("payroll", "payroll.read"), "9900")
    await hr.call("leave", "POST /requests/1/approval", token_with("leave", "leave.read"))
    assert (await hr.call("payroll", "GET /salaries/7", token_with("payroll", "payroll.read"))).json()[
        "monthly"
    ] == 5200
    requests = (await hr.call("leave", "GET /requests?employee=7", token_with("leave", "leave.read"))).json()
    assert [r["status"] for r in requests] == ["requested", "approved"]


async def test_a_salary_has_the_name_from_the_employee_service(hr: Hr) -> None:
    answer = await hr.call("payroll", "GET /salaries/7", token_with("payroll", "payroll.read"))
    assert answer.json() == {"name": "Ada Lindqvist", "monthly": 5200, "currency": "EUR"}


async def test_leave_is_approved_once_and_within_the_days_of_the_salary_class(hr: Hr) -> None:
    may = token_with("leave", "leave.approve")
    for _ in range(2):
        assert (await hr.call("leave", "POST /requests/1/approval", may)).json()["left"] == 6
    refused = await hr.call("leave", "POST /requests/3/approval", may)
    assert (refused.status_code, refused.json()["error_description"]) == (
        409,
        "Tomás Vega has 30 days left and asks for 40",
    )


async def test_a_changed_salary_is_read_back_and_a_bad_one_refused(hr: Hr) -> None:
    may = token_with("payroll", "payroll.read payroll.write")
    for bad in ("", "-1", "1e6", "12345678"):
        assert (await hr.call("payroll", "PUT /salaries/7", may, bad)).status_code == 422
    assert (await hr.call("payroll", "PUT /salaries/7", may, "6100")).status_code == 200
    assert (await hr.call("payroll", "GET /salaries/7", may)).json()["monthly"] == 6100


async def test_a_salary_is_changed_with_the_role_alone(hr: Hr) -> None:
    without_role = token(aud=AUDIENCES["payroll"], scope="payroll.read payroll.write")
    assert (await hr.call("payroll", "PUT /salaries/7", without_role, "6100")).status_code == 403


@pytest.mark.parametrize(
    ("name", "request_", "scope"),
    [
        ("employee", "GET /employees/1", "employee.read"),
        ("payroll", "GET /salaries/1", "payroll.read"),
        ("leave", "POST /requests/99/approval", "leave.approve"),
    ],
)
async def test_a_missing_object_is_404(hr: Hr, name: str, request_: str, scope: str) -> None:
    answer = await hr.call(name, request_, token_with(name, scope))
    assert answer.status_code == 404
    assert answer.json()["error_description"]


async def test_without_a_grant_the_caller_gets_the_error_code_only(hr: Hr, caplog: pytest.LogCaptureFixture) -> None:
    hr.between["employee", "leave"].sent = TokenError("invalid_target", "see its condition AccessGranted", 400)
    with caplog.at_level(logging.WARNING, "hr"):
        answer = await hr.call("employee", "GET /employees/7/absences", token_with("employee", "employee.read"))
    assert (answer.status_code, answer.json()["error"]) == (502, "bad_gateway")
    assert "invalid_target" in answer.text
    assert "AccessGranted" not in answer.text
    assert "see its condition AccessGranted" in caplog.text


async def test_a_refusal_by_another_service_is_a_502(hr: Hr) -> None:
    hr.between["leave", "payroll"].sent = token_with("payroll", "payroll.read")
    answer = await hr.call("leave", "POST /requests/1/approval", token_with("leave", "leave.approve"))
    assert (answer.status_code, answer.json()["error"]) == (502, "bad_gateway")
    assert "www-authenticate" not in answer.headers


@pytest.mark.parametrize("file", MANIFESTS, ids=lambda file: str(file.name))
def test_the_manifests_have_no_violation(file: Path) -> None:
    for manifest in yaml.safe_load_all(file.read_text(encoding="utf-8")):
        if manifest["kind"] != "Namespace":
            assert validate(manifest) == []


def test_namespaces_come_first_and_every_object_is_in_one_of_them() -> None:
    kinds = [document["kind"] for document in DOCUMENTS]
    namespaces = [document["metadata"]["name"] for document in DOCUMENTS if document["kind"] == "Namespace"]
    assert kinds[: len(namespaces)] == ["Namespace"] * len(namespaces)
    assert {document["metadata"].get("namespace") for document in DOCUMENTS[len(namespaces) :]} == set(namespaces)


def test_the_scopes_in_the_manifests_are_those_that_the_services_ask_for() -> None:
    declared = {
        scope["name"]
        for document in DOCUMENTS
        if document["kind"] == "ResourceServer"
        for scope in document["spec"]["scopes"]
    }
    assert declared == {scope for _, _, _, scope, _ in REQUESTS}
