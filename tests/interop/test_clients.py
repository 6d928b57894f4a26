"""OAuth clients of other projects against an issuer process: library × capability."""

from collections.abc import Iterator
from functools import cache
from typing import Any

import pytest

from tests.interop.checks import CHECKS
from tests.interop.interop_issuer import InteropIssuer
from tests.interop.libraries import LIBRARIES, Library
from tests.interop.served import Capability, promised_by
from tests.interop.toolchains import run

ROWS = [
    pytest.param(library, capability, id=f"{library.name}-{capability}")
    for library in LIBRARIES
    for capability in Capability
    if capability in library.can
]


class Results:
    """Results of the programs. Each runs once, with all of its tasks, when its first result is needed."""

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
        output = run(program, self.issuer.job() | {"tasks": tasks})
        return {(result["library"], result["capability"]): result for result in output["results"]}

    def of(self, library: Library, capability: Capability) -> dict[str, Any]:
        return self._of(library.program)[library.name, capability]


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Results]:
    issuer = InteropIssuer(tmp_path_factory.mktemp("interop"))
    with issuer.running:
        yield Results(issuer)


def test_metadata_has_every_tested_capability(results: Results) -> None:
    assert promised_by(results.issuer.running.metadata()) == frozenset(Capability)


@pytest.mark.parametrize(("library", "capability"), ROWS)
def test_client(library: Library, capability: Capability, results: Results) -> None:
    result = results.of(library, capability)
    assert not result.get("error"), result["error"]
    CHECKS[capability](result["output"], results.issuer, library)
