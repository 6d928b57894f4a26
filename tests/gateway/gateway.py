"""The gateway of `scopewright dev --gateway`, with the issuer and the reconciler in the same process."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Self

import httpx
import jwt

from scopewright.client.dpop import Prover
from scopewright.testing import FakeIssuer
from tests.gateway.oracle import AUDIENCE, MANIFEST
from tests.ports import free_port
from tests.running import Running

VALID: Final = ("reader", "writer", "admin")
_CONFIG: Final = """\
audiences:
  - {prefix: "https://payroll.hr.example", namespaces: [payroll]}
  - {prefix: "https://open.hr.example", namespaces: [payroll]}
"""


class Gateway:
    """A context manager. Inside, the gateway listens at `port` on loopback.

    `tokens`: those of the clients `reader`, `writer` and `admin`, which are valid; and `foreign` for another API,
    `expired`, and `forged` with a key that is not the issuer's.
    """

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        manifests = {"payroll.yaml": MANIFEST.read_text()}
        self._running = Running(folder, manifests, _CONFIG, options=("--gateway", f"127.0.0.1:{self.port}"))

    def error_lines(self) -> list[str]:
        """Lines of the log with an exception or error."""
        return self._running.error_lines()

    @property
    def issuer_port(self) -> int:
        return self._running.port

    def __enter__(self) -> Self:
        self._running.__enter__()
        try:
            end = time.monotonic() + 60
            while f"gateway ready at http://127.0.0.1:{self.port}" not in self._running.printed():
                assert self._running.alive(), self._running.printed()
                assert time.monotonic() < end, self._running.printed()
                time.sleep(0.05)
            self.tokens: Mapping[str, str] = self._tokens()
        except BaseException:
            self._running.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._running.__exit__()

    def bound_token(self, prover: Prover) -> str:
        """A token of the client `reader` that is bound to the key of `prover` (RFC 9449)."""
        url = httpx.URL(f"{self._running.url}/token")
        nonce = self._ask("reader", AUDIENCE, {"DPoP": prover.proof("POST", url, time.time())}).headers["DPoP-Nonce"]
        prover.keep_nonce(url, nonce)
        return _token_of(self._ask("reader", AUDIENCE, {"DPoP": prover.proof("POST", url, time.time())}))

    def _tokens(self) -> dict[str, str]:
        tokens = {name: self._token(name, AUDIENCE) for name in VALID}
        forged = FakeIssuer(self._running.url, AUDIENCE).token("payroll.read", "payroll.write", "payroll.admin")
        foreign = self._token("foreign", "https://open.hr.example")
        return {**tokens, "foreign": foreign, "expired": self._expired(tokens["admin"]), "forged": forged}

    def _token(self, client: str, audience: str) -> str:
        return _token_of(self._ask(client, audience, {}))

    def _ask(self, client: str, audience: str, headers: Mapping[str, str]) -> httpx.Response:
        form = {"grant_type": "client_credentials", "resource": audience}
        secret = self._running.secret("payroll", client)
        return httpx.post(f"{self._running.url}/token", data=form, auth=secret, headers=headers)

    def _expired(self, token: str) -> str:
        """A token that the issuer might have signed an hour ago."""
        (key,) = (self._running.state / "secrets/scopewright-system").glob("signingkey.*/private.pem")
        header = jwt.get_unverified_header(token)
        claims: dict[str, Any] = jwt.decode(token, options={"verify_signature": False})
        times: dict[str, Any] = {
            name: claims[name] - 3600 for name in ("iat", "exp", "nbf", "auth_time") if name in claims
        }
        return jwt.encode({**claims, **times}, key.read_bytes(), header["alg"], headers=header)


def _token_of(answer: httpx.Response) -> str:
    answer.raise_for_status()
    token: str = answer.json()["access_token"]
    return token
