"""One server for the module."""

from collections.abc import Iterator

import pytest

from .server import Server


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("replay"))
    yield server
    server.stop()
