"""The steps of the demonstration. Each row is one request and the answer that it must get."""

import asyncio
import shutil
from datetime import UTC, datetime, timedelta

import httpx

from examples.hr.demo.caller import Attempt, Caller, altered, eventually, unsigned
from examples.hr.demo.children import DemoFailed
from examples.hr.demo.report import Answer, Expected, Report
from examples.hr.demo.staff import Staff
from examples.hr.demo.system import System

GRANT_TO_EMPLOYEE = """\
apiVersion: scopewright.dev/v1alpha1
kind: ScopeGrant
metadata: {name: employee-reads-requests, namespace: leave}
spec:
  resourceServer: leave-api
  scopes: [leave.read]
  to:
    - {namespace: employee, client: employee-service}
"""

AUDITOR = """\
apiVersion: scopewright.dev/v1alpha1
kind: OAuthClient
metadata: {name: auditor, namespace: staff}
spec:
  access:
    - {resourceServer: payroll-api, namespace: payroll, scopes: [payroll.classes]}
---
apiVersion: scopewright.dev/v1alpha1
kind: ScopeGrant
metadata: {name: auditor-reads-classes, namespace: payroll}
spec:
  resourceServer: payroll-api
  scopes: [payroll.classes]
  to:
    - {namespace: staff, client: auditor}
  expirationTime: "%s"
"""
AUDIT = timedelta(seconds=6)


OK = 200
EMPLOYEE = ("GET", "employee", "/employees/7")
ABSENCES = ("GET", "employee", "/employees/7/absences")
CLASS = ("GET", "payroll", "/salary-classes/9")


class Scenario:
    def __init__(self, system: System, report: Report) -> None:
        self._system = system
        self._report = report
        self._desk = Caller(system, "staff.hr-desk")
        self._employee = Caller(system, "employee.employee-service")
        self._leave = Caller(system, "leave.leave-service")
        self._auditor = Caller(system, "staff.auditor")

    async def run(self) -> None:
        audit_ends = datetime.now(UTC).replace(microsecond=0) + AUDIT
        self._write("90-auditor.yaml", AUDITOR % audit_ends.strftime("%FT%TZ"))
        with self._report.section("Granted"):
            await self._granted()
            auditors_token = await self._granted_for_seconds(audit_ends)
        with self._report.section("Refused by the service that is called"):
            await self._refused_by_the_service()
        with self._report.section("Refused by the issuer"):
            await self._refused_by_the_issuer()
        with self._report.section("Users log in to the web application of the HR staff"):
            await self._users_log_in()
        with self._report.section("A grant added and a grant withdrawn, while everything runs"):
            await self._granted_later()
            await self._withdrawn()
        with self._report.section("A Secret deleted by hand"):
            await self._secret_deleted()
        with self._report.section("A grant that ends by itself"):
            await self._expired(auditors_token, audit_ends)

    async def _granted(self) -> None:
        desk = self._desk
        self._row(desk, "GET employee /employees/7", Expected(OK, text="Ada"), await desk.call(*EMPLOYEE))
        self._row(
            desk,
            "GET payroll /salaries/7 (Payroll asks Employee for the name)",
            Expected(OK, text="Ada"),
            await desk.call("GET", "payroll", "/salaries/7"),
        )
        self._row(
            desk,
            "POST leave /requests/1/approval (Leave asks Employee, and Payroll on the desk's behalf)",
            Expected(OK, text="left: 6"),
            await desk.call("POST", "leave", "/requests/1/approval"),
        )

    async def _granted_for_seconds(self, audit_ends: datetime) -> str:
        what = f"GET payroll /salary-classes/9, which is granted until {audit_ends:%T}"
        await eventually(lambda: self._auditor.token_answer("payroll"), Expected(OK))
        token = await self._auditor.token("payroll")
        expected = Expected(OK, text="class: A")
        self._row(self._auditor, what, expected, await self._auditor.call(*CLASS, token))
        return token

    async def _refused_by_the_service(self) -> None:
        desk, url = self._desk, self._system.urls["payroll"]
        self._row(
            "anonymous",
            "GET payroll /salaries/7 without a token",
            Expected(401, text="No access token"),
            await self._system.http.get(f"{url}/salaries/7"),
        )
        self._row(
            desk,
            "PUT payroll /salaries/7, granted payroll.read only",
            Expected(403, "insufficient_scope", "payroll.write"),
            await desk.call("PUT", "payroll", "/salaries/7", body="9900"),
        )
        self._row(
            self._leave,
            "GET payroll /salaries/7, granted payroll.classes only",
            Expected(403, "insufficient_scope", "payroll.read"),
            await self._leave.call("GET", "payroll", "/salaries/7"),
        )
        for what, token, reason in (
            ("with its token for Employee", await desk.token("employee"), "another audience"),
            ("with payroll.write written into its token", altered(await desk.token("payroll")), "signature"),
            ("with a token whose alg is none", unsigned(await desk.token("payroll")), "algorithm"),
        ):
            answer = await desk.call("PUT", "payroll", "/salaries/7", token, body="9900")
            self._row(desk, f"PUT payroll /salaries/7 {what}", Expected(401, "invalid_token", reason), answer)

    async def _refused_by_the_issuer(self) -> None:
        self._row(
            self._desk,
            "a token for Payroll with payroll.write, which is not granted",
            Expected(400, "invalid_scope"),
            await self._desk.token_answer("payroll", scope="payroll.write"),
        )
        self._row(
            self._desk,
            "a token for Payroll with a wrong secret",
            Expected(401, "invalid_client"),
            await self._desk.token_answer("payroll", client_secret="guessed"),
        )
        self._row(
            self._employee,
            "a token for Leave, where nothing is granted",
            Expected(400, "invalid_target"),
            await self._employee.token_answer("leave"),
        )
        self._row(
            self._desk,
            "GET employee /employees/7/absences, for which Employee needs that token",
            Expected(502, "bad_gateway", "invalid_target"),
            await self._desk.call(*ABSENCES),
        )

    async def _users_log_in(self) -> None:
        web, row = self._system.web, self._report.row
        async with Staff("grace", web) as grace:
            login = await grace.log_in()
            row("grace (hr-staff)", "logs in, allows it, and sees employees", Expected(OK, text="Tomás Vega"), login)
            employee = await grace.open("/employees/7")
            row(
                "grace (hr-staff)",
                "opens an employee, without a salary",
                Expected(OK, text="do not see salaries"),
                employee,
            )
            await grace.open("/")
            leave = await grace.submit("approve-4", "approve-button-4")
            what = "approves leave (Leave exchanges her token for one for Payroll)"
            row("grace (hr-staff)", what, Expected(OK, text="2027-09-06 5 approved"), leave)
            logout = await grace.submit("logout", "log-out")
            row("grace (hr-staff)", "logs out, also at the issuer", Expected(OK, text="Log in"), logout)
        async with Staff("mara", web) as mara:
            await mara.log_in()
            await mara.open("/employees/7")
            salary = await mara.submit("change-salary", "change", monthly="5300")
            row("mara (payroll-managers)", "changes a salary, by her role", Expected(OK, text="5300 EUR"), salary)
        async with Staff("guest", web) as guest:
            refused = await guest.log_in()
            what = "logs in, and is shown which teams to ask"
            row("guest (no group)", what, Expected(403, text="Ask the team of the namespace payroll"), refused)

    async def _granted_later(self) -> None:
        self._write("31-leave-for-employee.yaml", GRANT_TO_EMPLOYEE)
        await self._eventually(
            self._employee,
            "a token for Leave, after its owner added a ScopeGrant",
            Expected(OK, text="leave.read"),
            lambda: self._employee.token_answer("leave"),
        )
        await self._eventually(
            self._desk,
            "GET employee /employees/7/absences again",
            Expected(OK, text="2027-07-05"),
            lambda: self._desk.call(*ABSENCES),
        )

    async def _withdrawn(self) -> None:
        grant = self._system.manifests / "21-payroll-for-leave.yaml"
        text, token = grant.read_text(encoding="utf-8"), await self._leave.token("payroll")
        grant.unlink()
        await self._eventually(
            self._leave,
            f"a token for Payroll, after {grant.name} was deleted",
            Expected(400, "invalid_target"),
            lambda: self._leave.token_answer("payroll"),
        )
        self._row(
            self._leave,
            "GET payroll /salary-classes/9 with an earlier token, valid until it expires",
            Expected(OK, text="class: A"),
            await self._leave.call(*CLASS, token),
        )
        grant.write_text(text, encoding="utf-8")
        await self._eventually(
            self._leave,
            "a token for Payroll, after the file was restored",
            Expected(OK, text="payroll.classes"),
            lambda: self._leave.token_answer("payroll"),
        )

    async def _secret_deleted(self) -> None:
        before = self._leave.credentials().client_secret or ""
        shutil.rmtree(self._leave.secret)
        await self._eventually(
            self._leave,
            "a token for Payroll with the new secret",
            Expected(OK, text="payroll.classes"),
            lambda: self._leave.token_answer("payroll"),
        )
        if self._leave.credentials().client_secret == before:
            raise DemoFailed("the Secret was recreated with the old credential")
        self._row(
            self._leave,
            "a token for Payroll with the old secret, valid during the overlap",
            Expected(OK, text="payroll.classes"),
            await self._leave.token_answer("payroll", client_secret=before),
        )
        self._row(
            self._desk,
            "POST leave /requests/1/approval: Leave continues without a restart",
            Expected(OK, text="left: 6"),
            await self._desk.call("POST", "leave", "/requests/1/approval"),
        )

    async def _expired(self, token: str, audit_ends: datetime) -> None:
        await asyncio.sleep(max(0.0, (audit_ends - datetime.now(UTC)).total_seconds()))
        self._row(
            self._auditor,
            "GET payroll /salary-classes/9 with the token that it got above",
            Expected(401, "invalid_token", "expired"),
            await self._auditor.call(*CLASS, token),
        )
        self._row(
            self._auditor,
            "a new token for Payroll",
            Expected(400, "invalid_target"),
            await self._auditor.token_answer("payroll"),
        )

    def _write(self, name: str, text: str) -> None:
        (self._system.manifests / name).write_text(text, encoding="utf-8")

    def _row(self, who: Caller | str, what: str, expected: Expected, response: httpx.Response) -> None:
        self._report.row(who if isinstance(who, str) else who.name, what, expected, Answer.of(response))

    async def _eventually(self, who: Caller, what: str, expected: Expected, attempt: Attempt) -> None:
        answer, seconds = await eventually(attempt, expected)
        self._report.row(who.name, what, expected, answer, after=seconds)
