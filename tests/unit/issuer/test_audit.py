"""Responses to exceptions, and audit lines."""

import io
import os
import subprocess
import sys
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scopewright.serving import audit
from tests.harness.issuer import IssuerHarness


async def test_exception_is_a_server_error_and_is_logged(
    harness: IssuerHarness, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*args: object) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr("scopewright.issuer.endpoints.token.authorise", fail)
    response = await harness.token()
    assert (response.status_code, response.json()["error"]) == (500, "server_error")
    assert "a bug" not in response.text
    assert "a bug" in caplog.text


def test_audit_file_gets_whole_lines_at_once() -> None:
    file = io.BytesIO()
    write = audit.to_file(file)
    write({})
    write({"é": 1})
    assert file.getvalue() == '{}\n{"é":1}\n'.encode()


LONG = "ü" * 9000


def test_long_audit_line_is_cut_to_what_a_pipe_writes_atomically() -> None:
    """A ResourceServer may have 64 scopes of 128 characters."""
    entry = audit.entry("token", 0.0, "127.0.0.1", "issued", {"scope": LONG, "jti": "j" * 28, "expires_in": 60})
    line = audit.line(entry)
    assert len(line) < audit.MAX_LINE_BYTES
    content = orjson.loads(line)
    assert (content["cut"], content["jti"], content["expires_in"]) == (["scope"], "j" * 28, 60)
    assert content["scope"].startswith("ü" * 1000)
    whole = audit.line(audit.entry("token", 0.0, "127.0.0.1", "issued", {"scope": "x" * 3000}))
    assert orjson.loads(whole)["scope"] == "x" * 3000
    assert b"cut" not in whole


texts = st.text(max_size=5000)
entries = st.dictionaries(
    st.sampled_from("abcdefghijklmnop"), texts | st.lists(texts, max_size=16) | st.integers(0, 2**40), max_size=16
)


@given(entries)
def test_every_audit_line_is_short_enough(entry: dict[str, Any]) -> None:
    assert len(audit.line(audit.entry("token", 0.0, "::1", "issued", entry))) < audit.MAX_LINE_BYTES


@given(entries.filter(bool), st.floats(0, 2**32), st.text(max_size=40))
def test_encoded_line_is_the_line_of_its_members(members: dict[str, Any], now: float, peer: str) -> None:
    encoded = audit.encoded("token", now, peer, "issued", audit.encoded_members(members))
    entry = audit.entry("token", now, peer, "issued", members)
    assert (audit.line(encoded), audit.members(encoded)) == (audit.line(entry), entry)


WRITER = """
import sys
from scopewright.serving import audit
write = audit.to_file(sys.stdout.buffer)
for number in range(300):
    entry = {"number": number, "scope": sys.argv[1] * (100 + 40 * number)}
    write(audit.entry("token", 0.0, sys.argv[1], "issued", entry))
"""


def test_lines_of_processes_that_share_a_pipe_stay_whole() -> None:
    """As with `--workers`. The reader is slower than the writers, so that the pipe is full most of the time."""
    reading, writing = os.pipe()
    workers = [subprocess.Popen([sys.executable, "-c", WRITER, name], stdout=writing) for name in "ab"]
    os.close(writing)
    with os.fdopen(reading, "rb", buffering=0) as pipe:
        lines = b"".join(iter(lambda: pipe.read(1000), b"")).splitlines()
    assert [worker.wait(30) for worker in workers] == [0, 0]
    found = [orjson.loads(line) for line in lines]
    for name in "ab":
        assert [entry["number"] for entry in found if entry["peer"] == name] == list(range(300))
    assert all(set(entry["scope"]) <= {entry["peer"], "…"} for entry in found)
