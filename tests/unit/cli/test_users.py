"""`scopewright users hash-password`: what it accepts, and that it prints the hash alone."""

import io
import sys

import pytest
from typer.testing import CliRunner

from scopewright.cli import commands
from scopewright.cli.commands import app
from scopewright.cli.users import hashed, piped_password, typed_password
from scopewright.core.failures import Rejected
from scopewright.core.providers.password_hash import Argon2Parameters, parse_password_hash, password_bytes
from scopewright.issuer.upstream.passwords import is_password_of
from tests.doc_checks import command_problems

PASSWORD = "correct horse"  # of a test


def test_the_hash_is_printed_alone_and_is_that_of_the_password() -> None:
    done = CliRunner().invoke(app, ["users", "hash-password"], input=f"{PASSWORD}\n")
    assert (done.exit_code, done.stderr) == (0, "")
    printed = done.stdout.removesuffix("\n")
    assert parse_password_hash(printed) == Argon2Parameters(memory_kib=19456, iterations=2, salt=16, hash=32)
    assert is_password_of(printed, PASSWORD.encode())
    assert not is_password_of(printed, PASSWORD.encode() + b"\n")


def test_two_hashes_of_a_password_differ() -> None:
    assert hashed(PASSWORD) != hashed(PASSWORD)


@pytest.mark.parametrize(
    ("piped", "password"), [(b"a", "a"), (b"a\n", "a"), (b"a\r\n", "a"), (b"a\n\n", "a\n"), (b" a ", " a ")]
)
def test_one_newline_of_a_pipe_is_not_part_of_the_password(piped: bytes, password: str) -> None:
    assert piped_password(io.BytesIO(piped)) == password


def test_a_password_is_typed_twice() -> None:
    prompts = list[str]()

    def ask(prompt: str) -> str:
        prompts.append(prompt)
        return PASSWORD

    assert typed_password(ask) == PASSWORD
    assert len(prompts) == 2
    answers = iter([PASSWORD, "correct hose"])
    with pytest.raises(Rejected, match="differ") as refused:
        typed_password(lambda _: next(answers))
    assert "hose" not in refused.value.message


@pytest.mark.parametrize(
    ("password", "message"),
    [
        ("", "is empty"),
        ("1234567", "fewer than 8 characters"),
        ("a" * 1025, "longer than 1024 bytes"),
        ("é" * 513, "longer than 1024 bytes"),
        ("correct\thorse", "a control character"),
        ("correct horse\n", "a control character"),
        ("correct \ud800orse", "not Unicode text"),
    ],
)
def test_an_unusable_password_is_refused_and_not_quoted(password: str, message: str) -> None:
    with pytest.raises(Rejected, match=message) as refused:
        hashed(password)
    assert not password or password not in refused.value.message


def test_a_pipe_is_not_read_beyond_the_longest_password() -> None:
    endless = io.BytesIO(b"a" * 5000)
    with pytest.raises(Rejected, match="longer than 1024 bytes"):
        hashed(piped_password(endless))
    assert endless.tell() < 1100
    with pytest.raises(Rejected, match="not UTF-8"):
        piped_password(io.BytesIO(b"\xff" * 9))


def test_a_password_as_an_argument_is_refused_and_not_repeated(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for argument in ("hunter2hunter2", "--password=hunter2hunter2"):
        monkeypatch.setattr(sys, "argv", ["scopewright", "users", "hash-password", argument])
        with pytest.raises(SystemExit) as ended:
            commands.run()
        assert "a password is never an argument" in str(ended.value)
        assert "hunter2" not in str(ended.value) + "".join(capsys.readouterr())


def test_the_same_password_of_another_keyboard_is_the_same() -> None:
    """RFC 8265 §4.2.2: one Unicode form, and one space."""
    assert password_bytes("cafe\u0301\u00a0noir") == password_bytes("café noir")
    assert password_bytes("Café") != password_bytes("café")


def test_the_checks_of_documents_know_commands_in_groups() -> None:
    assert command_problems("scopewright users hash-password") == []
    assert command_problems("scopewright users hash-passwort") == [
        "scopewright users hash-passwort: no command hash-passwort"
    ]
