"""OAuth clients that nobody here wrote, each against the running issuer: library × capability."""

from collections.abc import Iterator
from functools import cache
from typing import Any

import pytest

from tests.interop.checks import CHECKS
from tests.interop.interop_issuer import InteropIssuer
from tests.interop.libraries import LIBRARIES, Library
from tests.interop.served import Capability, said_by
from tests.interop.toolchains import run

ROWS = [
    pytest.param(library, capability, id=f"{library.name}-{capability}")
    for library in LIBRARIES
    for capability in Capability
    if capability in library.can
]


class Results:
    """One run of each program, with all that is asked of its libraries, when the first of it is needed."""

    def __init__(self, issuer: InteropIssuer) -> None:
        self.issuer = issuer
        self._of = cache(self._run)

    def _run(self, program: str) -> dict[tuple[str, str], dict[str, Any]]:
        tasks = [
            {"library": library.name, "capability": capability}
            for library in LIBRARIES
            for capability in sorted(library.can)
            if library.program == program
        ]
        said = run(program, self.issuer.job() | {"tasks": tasks})
        return {(result["library"], result["capability"]): result for result in said["results"]}

    def of(self, library: Library, capability: Capability) -> dict[str, Any]:
        return self._of(library.program)[library.name, capability]


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Results]:
    issuer = InteropIssuer(tmp_path_factory.mktemp("interop"))
    with issuer.running:
        yield Results(issuer)


def test_the_metadata_promises_all_that_is_tried(results: Results) -> None:
    assert said_by(results.issuer.running.metadata()) == frozenset(Capability)


@pytest.mark.parametrize(("library", "capability"), ROWS)
def test_client(library: Library, capability: Capability, results: Results) -> None:
    result = results.of(library, capability)
    assert not result.get("error"), result["error"]
    CHECKS[capability](result["said"], results.issuer, library)
