"""A project with Django, as `mypy --strict` sees it without stubs for Django."""

from collections.abc import Mapping
from typing import Any, assert_type

from django.http import HttpRequest, HttpResponse

from scopewright.verifier import Token
from scopewright.verifier.django import TokenMiddleware, current_token, require


class Request:
    """Like the HttpRequest of Django's stubs."""

    META: dict[str, Any]


@require("payroll.read")
def salaries(request: HttpRequest, number: int) -> str:
    return HttpResponse(number).reason_phrase if current_token(request) else ""


@require(any_of=["payroll.read", "payroll.audit"], roles="auditor")
async def audit(request: Request) -> Mapping[str, Any]:
    token = assert_type(require(request, "payroll.audit", roles=("auditor",)), Token)
    assert_type(current_token(request), Token | None)
    return token.claims


def change(request: Request) -> None:
    assert_type(require(request), Token)


assert_type(salaries(HttpRequest(), 7), str)
middleware = TokenMiddleware(lambda request: HttpResponse())
