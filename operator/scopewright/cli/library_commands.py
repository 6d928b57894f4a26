"""The commands of the base install, `scopewright token` and `scopewright verify`: their flags and exit codes.

Nothing here imports typer, nor any other package of the extras.
"""

import argparse
import io
import logging
import os
import sys
from collections.abc import Callable, Sequence
from typing import Final, NoReturn, TextIO

from scopewright.authorities import check_authorities
from scopewright.http_flow import FetchError

GOOD: Final = 0
REFUSED: Final = 1
USAGE: Final = 2
UNAVAILABLE: Final = 3
INTERRUPTED: Final = 130
"""As of a process that SIGINT ends in a shell."""

ABOUT: Final = {
    "token": "Print an access token of an OAuthClient, for curl and scripts.",
    "verify": "Verify the access token on standard input.",
}
_EXIT_CODES: Final = "exit codes: 0: {good}. 1: refused. 2: wrong arguments or variables. 3: the issuer is unavailable."


class UsageError(Exception):
    """Arguments or environment cannot be used; the text says what to change."""


class _Parser(argparse.ArgumentParser):
    """Its errors quote flags and no values, which may be secrets or tokens."""

    def parse(self, arguments: Sequence[str]) -> argparse.Namespace:
        parsed, unknown = self.parse_known_args(arguments)
        flags = [argument.partition("=")[0] for argument in unknown if argument.startswith("--")]
        if flags:
            self.error(f"no such flag: {', '.join(flags)}")
        if unknown:
            self.error("unexpected argument; secrets and tokens are never arguments, because `ps` shows them")
        return parsed

    def error(self, message: str) -> NoReturn:
        flag, ignored, _ = message.partition(": ignored explicit argument")
        raise UsageError(f"{flag.removeprefix('argument ')} takes no value" if ignored else message)


def run(arguments: Sequence[str]) -> int:
    """Run the command and return its exit code. A failure is one line on standard error, without any credential."""
    logging.getLogger("scopewright").setLevel(logging.CRITICAL)  # the error below says the same
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    if not sys.stdout:  # None: it is closed
        return fail(USAGE, "standard output is closed")
    try:
        parsed = parser(arguments[0]).parse(arguments[1:])
        check_authorities()
        return _COMMANDS[arguments[0]](parsed)
    except (UsageError, FetchError) as error:
        return fail(USAGE, str(error))
    except KeyboardInterrupt:
        return INTERRUPTED
    except OSError as error:
        _discard(sys.stdout)
        return fail(USAGE, f"standard input or output cannot be used: {error.strerror}")


def write_output(text: str) -> None:
    """Write to standard output, at once. Raise UsageError if it is closed or full."""
    if not sys.stdout:  # None: it is closed
        raise UsageError("standard output is closed")
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except OSError as error:
        _discard(sys.stdout)
        raise UsageError(f"standard output cannot be written: {error.strerror}") from None


def fail(code: int, message: str) -> int:
    """Return the exit code, also if standard error is closed (None) or full."""
    if sys.stderr:
        try:
            sys.stderr.write(f"scopewright: {message}\n")
        except OSError:
            _discard(sys.stderr)
    return code


def _discard(stream: TextIO) -> None:
    """Python would report the same error again when it flushes at exit, and replace the exit code."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def parser(command: str) -> _Parser:
    return _PARSERS[command]()


def _new_parser(command: str, good: str) -> _Parser:
    return _Parser(
        prog=f"scopewright {command}",
        description=ABOUT[command],
        epilog=_EXIT_CODES.format(good=good),
        allow_abbrev=False,
    )


def _token_parser() -> _Parser:
    made = _new_parser("token", "a token was printed")
    made.add_argument(
        "--secret", metavar="DIR", help="directory of the mounted Secret [as ClientCredentials.from_env finds it]"
    )
    made.add_argument("--resource", metavar="URL", help="audience of the API to call [that of the Secret]")
    made.add_argument("--scope", action="append", metavar="S", help="requested scope; repeatable [that of the Secret]")
    made.add_argument("--allow-http", action="store_true", help="allow plain HTTP to the issuer")
    form = made.add_mutually_exclusive_group()
    form.add_argument("--header", action="store_true", help="print the header: Authorization: Bearer TOKEN")
    form.add_argument("--json", action="store_true", help="print JSON, as the token endpoint answers")
    return made


def _verify_parser() -> _Parser:
    made = _new_parser("verify", "the token is valid")
    made.add_argument("--issuer", metavar="URL", help="URL of the issuer [SCOPEWRIGHT_ISSUER]")
    made.add_argument("--audience", metavar="URI", help="audience of the API [SCOPEWRIGHT_AUDIENCE]")
    made.add_argument("--scope", action="append", metavar="S", help="scope that the token needs; repeatable")
    made.add_argument("--allow-http", action="store_true", help="allow plain HTTP to the issuer")
    made.add_argument("--json", action="store_true", help="print the claims, or the error, as JSON")
    made.add_argument("source", nargs="?", metavar="-", default="-", type=_standard_input, help="standard input")
    return made


def _standard_input(text: str) -> str:
    if text != "-":
        raise argparse.ArgumentTypeError("pass the token on standard input; `ps` shows arguments")
    return text


def _token(arguments: argparse.Namespace) -> int:
    from scopewright.cli.token_command import print_token

    return print_token(arguments)


def _verify(arguments: argparse.Namespace) -> int:
    from scopewright.cli.verify_command import verify_input

    return verify_input(arguments)


_PARSERS: Final[dict[str, Callable[[], _Parser]]] = {"token": _token_parser, "verify": _verify_parser}
_COMMANDS: Final[dict[str, Callable[[argparse.Namespace], int]]] = {"token": _token, "verify": _verify}
