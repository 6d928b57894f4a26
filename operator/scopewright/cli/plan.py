"""`scopewright plan`: its request, output formats and exit codes."""

import asyncio
import logging
import sys
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Final

from scopewright.cli.library_commands import UsageError, write_output
from scopewright.core.failures import Rejected, Unavailable
from scopewright.plan.changes import NOT_READ, PlanResult
from scopewright.plan.compare import PlanSettings, plan_cluster, plan_directories
from scopewright.plan.output.json import as_json
from scopewright.plan.output.lines import clean, finding_line
from scopewright.plan.output.markdown import as_markdown
from scopewright.plan.output.sarif import as_sarif
from scopewright.plan.output.text import as_text
from scopewright.stores.kubernetes.api import Api

ACCEPTED: Final = 0
REFUSED: Final = 1
NO_PLAN: Final = 2

FORMATS: Final[dict[str, Callable[[PlanResult], str]]] = {
    "text": as_text,
    "json": as_json,
    "markdown": as_markdown,
    "sarif": lambda result: as_sarif(result, version("scopewright")),
}

log = logging.getLogger(__name__)

Connect = Callable[[], AbstractAsyncContextManager[Api]]


@dataclass(frozen=True, slots=True)
class Request:
    """The command line. `outputs` are `FORMAT`, for standard output, or `FORMAT=FILE`."""

    directory: str
    against: str | None = None
    cluster: bool = False
    prune: bool = False
    outputs: tuple[str, ...] = ("text",)
    config: Path | None = None
    issuer: str | None = None
    namespace: str | None = None


def plan_to_outputs(request: Request, connect: Connect, now: datetime | None = None) -> int:
    """Write the plan and return the exit code. Errors that prevent a plan, defects included, go to standard error."""
    try:
        outputs = [_output(text) for text in request.outputs]
        result = asyncio.run(_planned(request, connect, now or datetime.now(UTC)))
        for form, file in outputs:
            _write(result, form, file)
    except Rejected as error:
        return _no_plan(error.message)
    except UsageError as error:
        return _no_plan(str(error))
    except Unavailable as error:
        return _no_plan(f"{error.message}; try again")
    except Exception:
        log.exception("the plan cannot be made")
        return NO_PLAN
    if unread := [finding_line(f) for f in result.refusals if f.reason == NOT_READ]:
        return _no_plan("\n".join([f"not everything that {request.directory} declares can be read:", *unread]))
    return REFUSED if result.refusals else ACCEPTED


async def _planned(request: Request, connect: Connect, now: datetime) -> PlanResult:
    if request.cluster and request.against:
        raise Rejected("BadFlags", "--cluster and --against exclude each other: pass one of them")
    if request.prune and not request.cluster:
        raise Rejected(
            "BadFlags", "--prune goes with --cluster: with --against, objects missing in DIR are always deleted"
        )
    settings = PlanSettings.read(request.config, request.issuer, request.namespace)
    if not request.cluster:
        return await plan_directories(request.directory, request.against, settings, now)
    async with connect() as api:
        return await plan_cluster(request.directory, api, settings, now, prune=request.prune)


def _output(text: str) -> tuple[str, str]:
    form, _, file = text.partition("=")
    if form not in FORMATS:
        raise Rejected("BadFlags", f"--output {text}: write one of {', '.join(FORMATS)}, and =FILE for a file")
    return form, file


def _write(result: PlanResult, form: str, file: str) -> None:
    if file:
        try:
            Path(file).write_text(FORMATS[form](result), encoding="utf-8")
        except OSError as error:
            raise Rejected("CannotWrite", f"{file} cannot be written: {error.strerror}") from None
    elif form == "text":
        write_output(as_text(result, colour=bool(sys.stdout) and sys.stdout.isatty()))
    else:
        write_output(FORMATS[form](result))


def _no_plan(message: str) -> int:
    sys.stderr.write("scopewright: " + "\n  ".join(clean(line) for line in message.splitlines()) + "\n")
    return NO_PLAN
