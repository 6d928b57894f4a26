"""`python -m scopewright.testing`: a fake issuer as a process, for tests in other languages. See docs/test."""

import argparse
import contextlib
import sys
import threading
from pathlib import Path

from scopewright.testing.endpoints import TEST_CLIENT
from scopewright.testing.issuer import FakeIssuer
from scopewright.verifier.check import ALGORITHMS


def main() -> None:
    """Serves until the process is ended. Then prints nothing."""
    parser = _parser()
    options = parser.parse_args()
    try:
        _serve(options)
    except OSError as error:
        parser.error(f"{error.filename or f'--port {options.port}'}: {error.strerror}")


class _ProcessIssuer(FakeIssuer):
    """Writes the Secret before the port is open: a test that waits for the port finds it complete."""

    def __init__(self, options: argparse.Namespace) -> None:
        super().__init__(audience=options.audience, algorithm=options.algorithm)
        self._options = options

    def _prepare(self, url: str) -> None:
        super()._prepare(url)
        if self._options.secret is not None:
            self.write_secret(self._options.secret, client=self._options.client, scope=self._options.scope)


def _serve(options: argparse.Namespace) -> None:
    with contextlib.suppress(KeyboardInterrupt), _ProcessIssuer(options).serve(options.port) as url:
        sys.stdout.write(f"fake issuer ready at {url}\n")
        sys.stdout.flush()
        threading.Event().wait()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m scopewright.testing",
        description="Serve an issuer for tests on loopback. It gives any client a token for anything.",
    )
    parser.add_argument("--port", type=_port, default=0, help="TCP port. Default: a free one, which is printed.")
    parser.add_argument("--audience", default="https://api.test", help="Default audience of tokens.")
    parser.add_argument(
        "--algorithm", default="ES256", choices=sorted(ALGORITHMS), help="Algorithm of the signing key. Default: ES256."
    )
    parser.add_argument("--secret", type=Path, metavar="DIR", help="Write a client's Secret into this directory.")
    parser.add_argument("--client", default=TEST_CLIENT, help=f"The client of the Secret. Default: {TEST_CLIENT}.")
    parser.add_argument("--scope", help='The scopes in the Secret, such as "payroll.read payroll.write".')
    return parser


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > 65535:
        raise argparse.ArgumentTypeError("a port is a number from 0 to 65535")
    return int(text)


if __name__ == "__main__":
    main()
