"""One server for the module."""

from collections.abc import Iterator

import pytest

from tests.harness.valkey_server import ValkeyServer


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ValkeyServer]:
    server = ValkeyServer(tmp_path_factory.mktemp("sessions"))
    yield server
    server.stop()
