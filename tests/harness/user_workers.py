"""`Workers`: an issuer process with two workers, in which a static user logs in with a password."""

import contextlib
import os
import signal
import subprocess
import sys
from itertools import cycle
from pathlib import Path
from urllib.parse import urlencode

import httpx
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

from tests.harness.browser import Away, FormBrowser
from tests.harness.html_page import Page
from tests.harness.samples import ISSUER, SECRET
from tests.harness.users import CLIENT_ID, REDIRECT_URI, VERIFIER, parameters

PROGRAM = """
import contextlib, os, sys
from dataclasses import replace
from pathlib import Path
from scopewright.cli.settings import reserve, set_up_logging, user_endpoints
from scopewright.core.providers.static_users import encode_static_users
from scopewright.core.records.identity_provider import ClaimMappings
from scopewright.issuer import IssuerSettings, run
from scopewright.issuer.observability.metrics import shared_counters
from scopewright.serving.workers import run_workers
from tests.harness.samples import NAMESPACE
from tests.harness.shared_records import SharedRecords
from tests.harness.users import UsersHarness, provider_of, static_user

issuer = UsersHarness(Path(sys.argv[1])).issuer
ada = static_user("ada", groups=["hr-staff"], passwordHash=sys.argv[2])
claims = ClaimMappings(groups_allow=("hr-staff",))
issuer.put_provider(provider_of(oidc=None, claims=claims, users=encode_static_users([ada])))

@contextlib.asynccontextmanager
async def open_store():
    records = os.environ["SCOPEWRIGHT_RECORDS"]
    yield SharedRecords(Path(records)) if records else issuer.store

users = user_endpoints(os.environ["SCOPEWRIGHT_SESSIONS"], NAMESPACE)

def work(worker):
    run(open_store, replace(IssuerSettings(NAMESPACE), users=users()), worker)

set_up_logging("text", "info")
reserved = reserve("127.0.0.1:0")
print(reserved.getsockname()[1], flush=True)
run_workers(shared_counters(2), work, reserved, lambda url: print(url, flush=True))
"""
PASSWORD = "correct horse"
LOGINS = 12
"""On connections of their own, which the kernel distributes: both workers serve some of each."""


class ToPorts(httpx.BaseTransport):
    """Sends each request to the next of the ports, on a connection of its own."""

    def __init__(self, ports: list[int]) -> None:
        self._ports = cycle(ports)

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        local = request.url.copy_with(scheme="http", host="127.0.0.1", port=next(self._ports))
        with httpx.Client() as connection:
            return connection.send(
                httpx.Request(request.method, local, headers=request.headers, content=request.read())
            )


class Workers:
    """`sessions` is that of `--sessions`; default: a file in `folder`. `records` is the folder of `SharedRecords`;
    default: own records, with which the static user can log in.
    """

    def __init__(self, folder: Path, sessions: str = "", records: Path | None = None) -> None:
        self.folder = folder
        argon2id = Argon2id(salt=b"of this test ...", length=32, iterations=2, lanes=1, memory_cost=19456)
        command = [sys.executable, "-c", PROGRAM, str(folder), argon2id.derive_phc_encoded(PASSWORD.encode())]
        environment = os.environ | {
            "SCOPEWRIGHT_SESSIONS": sessions or str(folder / "sessions.db"),
            "SCOPEWRIGHT_RECORDS": str(records or ""),
        }
        with (folder / "log").open("wb") as log:
            self.process = subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=log, text=True, cwd=Path.cwd(), env=environment
            )
        assert self.process.stdout is not None
        self.port = int(self.process.stdout.readline())
        assert self.process.stdout.readline().strip() == ISSUER, (folder / "log").read_text()

    def refuses_users(self) -> bool:
        """Whether a page for users is answered with 503, on a connection of its own."""
        return httpx.get(f"http://127.0.0.1:{self.port}/account", trust_env=False, timeout=30).status_code == 503

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        self.process.communicate(timeout=30)
        return self.process.returncode

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            self.process.kill()
        self.process.communicate(timeout=10)


def log_in_often(*issuers: Workers) -> int:
    """One browser, whose requests go to the issuers in turn. Return how often the password was asked for."""
    url = f"{ISSUER}/authorize?{urlencode(parameters(scope='payroll.read'))}"
    ports = [issuer.port for issuer in issuers]
    with FormBrowser(ISSUER, ToPorts(ports)) as browser, httpx.Client(transport=ToPorts(ports)) as client:
        for _ in range(LOGINS):
            at = browser.open(url)
            if isinstance(at, Page) and "password-form" in at.forms:
                at = browser.submit(at, "password-form", "log-in", username="ada", password=PASSWORD)
            if isinstance(at, Page) and "consent" in at.forms:
                at = browser.submit(at, "consent", "allow")
            assert isinstance(at, Away), at
            code = {"code": at.parameters["code"], "redirect_uri": REDIRECT_URI, "code_verifier": VERIFIER}
            form = {"grant_type": "authorization_code", **code}
            answer = client.post(f"{ISSUER}/token", data=form, auth=(CLIENT_ID, SECRET))
            assert answer.status_code == 200, answer.text
        return sum("password-form" in page.forms for page in browser.shown)
