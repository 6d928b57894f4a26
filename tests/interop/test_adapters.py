"""Every adapter of the client under load, while credential and signing key rotate and the issuer stands still."""

import json
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import grpc
import jwt
import pytest

from scopewright.client import ClientCredentials
from scopewright.client.grpc import aio_insecure_channel, call_credentials, insecure_channel
from scopewright.verifier import TokenRejected, Verifier
from scopewright.verifier.grpc import TokenInterceptor
from tests.running import Running
from tests.unit.client.api_server import ApiServer, SentRequest, api_server
from tests.unit.client.callers import CALLERS, AsyncCaller, Body, Caller

API: Final = "https://payroll-api.payroll.svc"
METHOD: Final = "/hr.Payroll/GetSalary"
CONCURRENCY: Final = 8
LIFETIME_SECONDS: Final = 10
STANDSTILL: Final = (7.3, 8.7)
"""Seconds after the first token. Tokens are renewed after 7.5 to 8.5 seconds."""
END: Final = 10.5


class VerifyingApi(ApiServer):
    """Verifies the tokens of the issuer. `key_ids` are those of the accepted tokens, by path."""

    def __init__(self, url: str, verifier: Verifier) -> None:
        super().__init__(url)
        self._verifier = verifier
        self.key_ids: dict[str, set[str]] = {}

    def answer(self, request: SentRequest) -> tuple[int, dict[str, str]]:
        try:
            self._verifier.verify_sync(str(request.token))
        except TokenRejected:
            return 401, {"WWW-Authenticate": 'Bearer error="invalid_token"'}
        key_id: str = jwt.get_unverified_header(str(request.token))["kid"]
        self.key_ids.setdefault(request.path, set()).add(key_id)
        return 200, {}


class GrpcCaller(Caller):
    """`url` is the target."""

    def connect(self, target: str) -> grpc.Channel:
        return insecure_channel(target, self.credentials)

    def send_many(self, count: int, url: str) -> list[int]:
        with self.connect(url) as channel, ThreadPoolExecutor(count) as threads:
            method: Any = channel.unary_unary(METHOD)
            return list(threads.map(lambda _: int(method(b"", timeout=10)), range(count)))


class GrpcCredentialsCaller(GrpcCaller):
    def connect(self, target: str) -> grpc.Channel:
        loopback = grpc.local_channel_credentials(grpc.LocalConnectionType.LOCAL_TCP)
        return grpc.secure_channel(
            target, grpc.composite_channel_credentials(loopback, call_credentials(self.credentials))
        )


class AioGrpcCaller(AsyncCaller):
    async def _within_client(self, call: Any) -> Any:
        return await call(None)

    async def _send(self, client: Any, method: str, url: str, body: Body, follow: bool) -> int:
        async with aio_insecure_channel(url, self.credentials) as channel:
            rpc: Any = channel.unary_unary(METHOD)
            return int(await rpc(b"", timeout=10))


GRPC_CALLERS: Final[list[type[Caller]]] = [GrpcCaller, GrpcCredentialsCaller, AioGrpcCaller]


class _Payroll(grpc.GenericRpcHandler):
    def service(self, handler_call_details: grpc.HandlerCallDetails) -> "grpc.RpcMethodHandler[Any, Any]":
        return grpc.unary_unary_rpc_method_handler(lambda request, context: b"200")


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
class Load:
    statuses: list[int] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    def run(self, caller: Caller, url: str, end: float) -> None:
        try:
            while time.monotonic() < end:
                self.statuses += caller.send_many(CONCURRENCY, url)
                time.sleep(0.05)
        except Exception as error:
            self.errors.append(repr(error))
        finally:
            caller.close()


@dataclass
class Run:
    loads: dict[type[Caller], Load]
    api: VerifyingApi
    secrets: tuple[str, str]


def _grpc_target(stack: ExitStack, verifier: Verifier) -> str:
    server = grpc.server(
        stack.enter_context(ThreadPoolExecutor(20)),
        interceptors=[TokenInterceptor(verifier, scopes={METHOD: ["payroll.read"]})],
    )
    server.add_generic_rpc_handlers((_Payroll(),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    stack.callback(lambda: server.stop(None).wait())
    return f"127.0.0.1:{port}"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """The load of all adapters, at the same time and on the same clock. Each has its own token."""
    issuer = Issuer(tmp_path_factory.mktemp("issuer"))
    with ExitStack() as stack:
        stack.enter_context(issuer.running)
        verifier = Verifier(issuer.running.url, API)
        api = stack.enter_context(api_server(lambda url: VerifyingApi(url, verifier)))
        assert isinstance(api, VerifyingApi)
        target = _grpc_target(stack, verifier)
        loads: dict[type[Caller], Load] = {kind: Load() for kind in (*CALLERS, *GRPC_CALLERS)}
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


@pytest.mark.parametrize("kind", [*CALLERS, *GRPC_CALLERS], ids=lambda kind: kind.__name__)
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
