"""What becomes of a bug, and of what is written about every decision."""

import io

import pytest

from scopewright.issuer import audit
from tests.unit.issuer.world import World


async def test_an_exception_is_an_answer_of_ours_and_is_logged(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*args: object) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr("scopewright.issuer.token.authorise", fail)
    response = await world.token()
    assert (response.status_code, response.json()["error"]) == (500, "server_error")
    assert "a bug" not in response.text
    assert "a bug" in caplog.text


def test_an_audit_file_gets_whole_lines_at_once() -> None:
    file = io.BytesIO()
    write = audit.to_file(file)
    write("{}")
    write('{"é":1}')
    assert file.getvalue() == '{}\n{"é":1}\n'.encode()
