"""`scopewright users`: commands for users and their passwords."""

import secrets
import sys
import unicodedata
from collections.abc import Callable
from getpass import getpass
from typing import BinaryIO, Final

import typer
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

from scopewright.cli import user_commands
from scopewright.cli.library_commands import write_output
from scopewright.core.failures import Rejected
from scopewright.core.providers.password_hash import (
    DEFAULT_PARAMETERS,
    LANES,
    MAX_PASSWORD,
    PasswordUnusable,
    password_bytes,
)

MIN_CHARACTERS: Final = 8
"""NIST SP 800-63B §5.1.1.1."""

app = typer.Typer(help="List logged-in users, end their sessions and tokens, and hash passwords.", no_args_is_help=True)
app.command("list")(user_commands.list_users)
app.command("find")(user_commands.find)
app.command("end")(user_commands.end)


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def hash_password(context: typer.Context) -> None:
    """Print the hash of a password, for a user in `users.yaml` of static users.

    The password is asked for twice. If standard input is not a terminal, it is what is read there, without the newline
    at its end.
    """
    if context.args:
        message = "unexpected argument; a password is never an argument, because `ps` and the shell's history show it"
        raise Rejected("UnexpectedArgument", message)
    password = typed_password(getpass) if sys.stdin.isatty() else piped_password(sys.stdin.buffer)
    write_output(f"{hashed(password)}\n")


def typed_password(ask: Callable[[str], str]) -> str:
    """Ask twice, because nothing is shown. Raises `Rejected` if the answers differ."""
    password = ask("Password: ")
    if ask("The same password again: ") != password:
        raise Rejected("PasswordsDiffer", "the two passwords differ; start again")
    return password


def piped_password(stream: BinaryIO) -> str:
    """Return the text of the stream without one newline at its end."""
    data = stream.read(MAX_PASSWORD + 3)  # more than a longest password with its newline
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        raise Rejected("PasswordUnusable", "the password on standard input is not UTF-8 text") from None
    return text.removesuffix("\n").removesuffix("\r") if text.endswith("\n") else text


def hashed(password: str) -> str:
    """Return the Argon2id hash in the PHC string format. Raises `Rejected` for a password that is not acceptable."""
    try:
        encoded = password_bytes(password)
    except PasswordUnusable as unusable:
        raise Rejected("PasswordUnusable", str(unusable)) from None
    if any(unicodedata.category(character) == "Cc" for character in password):
        message = "the password has a control character, such as a newline or a tab, which no login form accepts"
        raise Rejected("PasswordUnusable", message)
    if len(password) < MIN_CHARACTERS:
        message = f"the password has fewer than {MIN_CHARACTERS} characters; choose a longer one"
        raise Rejected("PasswordUnusable", message)
    argon2 = Argon2id(
        salt=secrets.token_bytes(DEFAULT_PARAMETERS.salt),
        length=DEFAULT_PARAMETERS.hash,
        iterations=DEFAULT_PARAMETERS.iterations,
        lanes=LANES,
        memory_cost=DEFAULT_PARAMETERS.memory_kib,
    )
    return argon2.derive_phc_encoded(encoded)
