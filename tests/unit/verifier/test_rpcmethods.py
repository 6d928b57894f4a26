"""Which rule is that of a method."""

import pytest

from scopewright.verifier import Requirement
from scopewright.verifier.patterns import PathAuthentication
from scopewright.verifier.rpcmethods import MethodRules

RULES = MethodRules({"/hr.Payroll/GetSalary": ["payroll.read"]}, public=["/grpc.health.v1.Health/*"])


def test_listed_method_has_its_requirement_and_a_public_one_needs_nothing() -> None:
    assert RULES.of("/hr.Payroll/GetSalary") == Requirement.of(["payroll.read"])
    assert RULES.of("/grpc.health.v1.Health/Check") is PathAuthentication.NONE


@pytest.mark.parametrize(
    "method",
    [
        "",
        "/",
        "*",
        "/hr.Payroll",
        "/hr.Payroll/",
        "/hr.Payroll/getsalary",
        "/hr.Payroll/GetSalary/",
        "/hr.Payroll/GetSalary\n",
        "//hr.Payroll/GetSalary",
        "/hr/Payroll/GetSalary",
        "/hrxPayroll/GetSalary",
        "hr.Payroll/GetSalary",
        "/grpc.health.v1.Health",
        "/grpc.health.v1.Health/",
        "/grpc.health.v1.Health/Check/",
        "/grpc.health.v1.Health//Check",
        "/grpc.health.v1.Health/../hr.Payroll/GetSalary",
        "/grpc.health.v1.Health/Check/../../hr.Payroll/GetSalary",
        "/grpc.health.v1.health/Check",
        "/grpc.health.v1.Health.x/Check",
        "/hr.Payroll/GetSalary?/grpc.health.v1.Health/Check",
    ],
)
def test_other_spelling_of_a_method_is_not_listed(method: str) -> None:
    assert RULES.of(method) is None


def test_no_method_is_listed_without_arguments() -> None:
    assert MethodRules({}).of("/hr.Payroll/GetSalary") is None


def test_full_method_precedes_the_methods_of_a_service_whatever_the_argument() -> None:
    scopes: dict[str, list[str]] = {"/hr.Payroll/GetSalary": [], "/hr.Calendar/*": []}
    rules = MethodRules(scopes, public=["/hr.Payroll/*", "/hr.Calendar/Ping"], optional=["/**"])
    assert rules.of("/hr.Payroll/GetSalary") == Requirement()
    assert rules.of("/hr.Payroll/Other") is PathAuthentication.NONE
    assert rules.of("/hr.Calendar/Ping") is PathAuthentication.NONE
    assert rules.of("/hr.Calendar/Other") == Requirement()
    assert rules.of("/any.Other/Method") is PathAuthentication.OPTIONAL
