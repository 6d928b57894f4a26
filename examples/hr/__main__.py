"""`python -m examples.hr`: starts the HR system on this machine, and shows permitted and refused calls."""

import argparse
import asyncio
import io
import signal
import sys

import httpx
from rich.console import Console

from examples.hr.demo.children import DemoFailed
from examples.hr.demo.report import Report
from examples.hr.demo.scenario import Scenario
from examples.hr.demo.system import System, audience, running


async def demonstrate(console: Console, *, check: bool) -> int:
    """Returns the exit code. Without `check` it runs until it is cancelled."""
    task = asyncio.current_task()
    assert task is not None
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    console.print("Starting the issuer (scopewright dev) and the three services and the web application …")
    async with running() as (system, children):
        report = Report(console)
        try:
            await Scenario(system, report).run()
        except httpx.HTTPError as error:
            children.check()  # its error says more, if a child is the cause
            raise DemoFailed(f"a call failed although every process is running: {error!r}") from error
        _print_summary(report, console)
        if not check:
            _print_commands(system, console)
            while True:
                children.check()
                await asyncio.sleep(1)
    return 1 if report.failures else 0


def _print_summary(report: Report, console: Console) -> None:
    if report.failures:
        console.print(f"\n{len(report.failures)} of {report.rows} rows were not as expected:", style="red")
        for failure in report.failures:
            console.print(f"  {failure}", markup=False, highlight=False, soft_wrap=True)
    else:
        console.print(f"\nAll {report.rows} rows were as expected.", style="green", highlight=False)


def _print_commands(system: System, console: Console) -> None:
    lines = [
        "",
        f"issuer     {system.issuer}",
        *(f"{name:<10} {url}" for name, url in system.urls.items()),
        f"web        {system.web}   (log in as one of the users of {system.manifests / 'users.yaml'})",
        f"manifests  {system.manifests}   (edit, add or delete one: effective within a second)",
        f"status     {system.state / 'status'}",
        "",
        "Try, in another shell, as the HR desk:",
        "",
        f"  SECRET={system.secret('staff.hr-desk')}",
        '  TOKEN=$(curl -s $(cat $SECRET/token_endpoint) -u "$(cat $SECRET/client_id):$(cat $SECRET/client_secret)" \\',
        f"    -d grant_type=client_credentials -d resource={audience('payroll')} \\",
        """    | sed -E 's/.*"access_token": ?"([^"]+)".*/\\1/')""",
        """  header() { printf 'Authorization: Bearer %s' "$TOKEN"; }""",
        f"  header | curl -i -H @- {system.urls['payroll']}/salaries/7",
        f"  header | curl -i -H @- {system.urls['payroll']}/salaries/7 -X PUT -d 9900",
        "",
        "Ctrl-C ends it and removes all files.",
    ]
    for line in lines:
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m examples.hr", description=__doc__)
    parser.add_argument("--check", action="store_true", help="exit with 0 if every row was as expected")
    check = parser.parse_args().check
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a terminal without ✓ shows ?
    console = Console(width=None if sys.stdout.isatty() else 140)
    try:
        return asyncio.run(demonstrate(console, check=check))
    except DemoFailed as failure:
        console.print(f"{failure}", style="red", markup=False, highlight=False, soft_wrap=True)
        return 1
    except (asyncio.CancelledError, KeyboardInterrupt):
        return 130 if check else 0


if __name__ == "__main__":
    sys.exit(main())
