"""Every adapter of the client under load, while credential and signing key rotate and the issuer stands still."""

import json
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest

from scopewright.client import ClientCredentials
from scopewright.verifier import Verifier
from tests.interop.adapter_load import ADAPTERS, GRPC_CALLERS, Load, VerifyingApi, grpc_target
from tests.running import Running
from tests.unit.client.api_server import api_server
from tests.unit.client.callers import CALLERS, Caller

API: Final = "https://payroll-api.payroll.svc"
LIFETIME_SECONDS: Final = 10
STANDSTILL: Final = (7.3, 8.7)
"""Seconds after the first token. Tokens are renewed after 7.5 to 8.5 seconds."""
END: Final = 10.5


class Issuer:
    """`scopewright dev` with one client, whose previous secret ends at once when it rotates."""

    def __init__(self, folder: Path) -> None:
        self.running = Running(folder, {"all.yaml": self._manifests("0")}, "{jwksMaxAge: 1s, replicaLag: 0s}")
        self._file = folder / "manifests" / "all.yaml"
        self.secret = self.running.state / "secrets" / "staff" / "hr-desk-oauth"

    @staticmethod
    def _manifests(rotation: str) -> str:
        access = [{"resourceServer": "payroll-api", "namespace": "payroll", "scopes": ["payroll.read"]}]
        tokens = {"lifetime": f"{LIFETIME_SECONDS}s"}
        grant = {"resourceServer": "payroll-api", "scopes": ["payroll.read"]}
        kinds: list[tuple[str, str, str, dict[str, Any]]] = [
            ("SigningKey", "scopewright-system", "default", {"rotation": {"publishAhead": "0s"}}),
            ("OAuthClient", "staff", "hr-desk", {"access": access, "rotation": {"overlap": "0s"}}),
            ("ResourceServer", "payroll", "payroll-api", {"scopes": [{"name": "payroll.read"}], "tokens": tokens}),
            ("ScopeGrant", "payroll", "reads", {**grant, "to": [{"namespace": "staff", "client": "hr-desk"}]}),
        ]
        documents = []
        for kind, namespace, name, spec in kinds:
            metadata = {"namespace": namespace, "name": name, "annotations": {"scopewright.dev/rotate": rotation}}
            documents.append(
                {"apiVersion": "scopewright.dev/v1alpha1", "kind": kind, "metadata": metadata, "spec": spec}
            )
        return "\n---\n".join(map(json.dumps, documents))

    def rotate(self) -> None:
        self._file.write_text(self._manifests("1"))

    def stand_still(self, *, still: bool) -> None:
        self.running._process.send_signal(signal.SIGSTOP if still else signal.SIGCONT)


@dataclass
class Run:
    loads: dict[type[Caller], Load]
    api: VerifyingApi
    secrets: tuple[str, str]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """The load of all adapters, at the same time and on the same clock. Each has its own token."""
    issuer = Issuer(tmp_path_factory.mktemp("issuer"))
    with ExitStack() as stack:
        stack.enter_context(issuer.running)
        verifier = Verifier(issuer.running.url, API)
        api = stack.enter_context(api_server(lambda url: VerifyingApi(url, verifier)))
        assert isinstance(api, VerifyingApi)
        target = grpc_target(stack, verifier)
        loads: dict[type[Caller], Load] = {kind: Load() for kind in ADAPTERS}
        start = time.monotonic()
        threads = []
        for kind, load in loads.items():
            credentials = ClientCredentials(issuer.secret, API)
            credentials.token_sync()
            url = target if kind in GRPC_CALLERS else f"{api.url}/{kind.__name__}"
            threads.append(threading.Thread(target=load.run, args=(kind(credentials), url, start + END)))
        first = issuer.running.secret("staff", "hr-desk")[1]
        for thread in threads:
            thread.start()
        time.sleep(1)
        issuer.rotate()
        time.sleep(start + STANDSTILL[0] - time.monotonic())
        issuer.stand_still(still=True)
        time.sleep(start + STANDSTILL[1] - time.monotonic())
        issuer.stand_still(still=False)
        for thread in threads:
            thread.join(30)
        yield Run(loads, api, (first, issuer.running.secret("staff", "hr-desk")[1]))


@pytest.mark.parametrize("kind", ADAPTERS, ids=lambda kind: kind.__name__)
def test_no_request_fails_while_credential_and_key_rotate_and_the_issuer_stands_still(
    run: Run, kind: type[Caller]
) -> None:
    load = run.loads[kind]
    assert load.errors == []
    assert set(load.statuses) == {200}
    assert len(load.statuses) > 50


@pytest.mark.parametrize("kind", CALLERS, ids=lambda kind: kind.__name__)
def test_tokens_of_both_keys_were_used(run: Run, kind: type[Caller]) -> None:
    assert len(run.api.key_ids[f"/{kind.__name__}"]) == 2


def test_the_credential_was_rotated(run: Run) -> None:
    before, after = run.secrets
    assert before != after
