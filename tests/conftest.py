"""Settings for all tests."""

import pytest
from hypothesis import settings

# A failed assertion of a harness shows the values that it compared, as one of a test does.
pytest.register_assert_rewrite("tests.harness", "tests.golden.runner", "tests.unit.controller.crash_scenarios")

# No deadlines, because machines are shared.
settings.register_profile("scopewright", deadline=None)
settings.load_profile("scopewright")


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
