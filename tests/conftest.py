"""Settings for all tests, and how pytest-xdist distributes them."""

import gc
from typing import Any, Final

import pytest
from hypothesis import settings
from xdist.scheduler import LoadFileScheduling
from xdist.workermanage import WorkerController

# Nothing of what a collection imports and makes is garbage. Looking for some took a third of its time.
gc.disable()

# A failed assertion of a harness shows the values that it compared, as one of a test does.
pytest.register_assert_rewrite("tests.harness", "tests.golden.runner", "tests.unit.controller.crash_scenarios")

# No deadlines, because machines are shared.
settings.register_profile("scopewright", deadline=None)
settings.load_profile("scopewright")

TOGETHER: Final = ("tests/conformance/fapi2/", "tests/conformance/openid/", "tests/gateway/")
"""Folders whose tests share the processes that they start, or wait for what the first of them began."""

FIRST: Final = ("tests/simulation/", "tests/fuzz/", "tests/chart/test_upgrade.py")
"""Files with few tests that take long. pytest-xdist would run them last, and the last of them alone."""


def pytest_collection_finish() -> None:
    gc.freeze()
    gc.enable()


class _Distribution(LoadFileScheduling):
    """A file, or a folder of `TOGETHER`, is run by one process. `FIRST` comes first, then what has most tests."""

    def _split_scope(self, nodeid: str) -> str:
        return next((folder for folder in TOGETHER if nodeid.startswith(folder)), super()._split_scope(nodeid))

    def _assign_work_unit(self, node: WorkerController) -> None:
        first = next((scope for scope in self.workqueue if scope.startswith(FIRST)), None)
        if first is not None:
            self.workqueue.move_to_end(first, last=False)
        super()._assign_work_unit(node)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadFileScheduling | None:
    return _Distribution(config, log) if config.getoption("dist") == "loadfile" else None


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print why a test was run a second time: pytest-rerunfailures keeps the reason but shows the name only."""
    reruns = terminalreporter.getreports("rerun")
    if reruns:
        terminalreporter.section("failures before a rerun")
        for report in reruns:
            terminalreporter.section(report.nodeid, sep="_")
            terminalreporter.line(report.longreprtext)
            for title, text in report.sections:
                terminalreporter.section(title, sep="-")
                terminalreporter.line(text)
