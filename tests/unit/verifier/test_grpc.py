"""The gRPC interceptors: the token of each call, of all kinds, and the status of each refusal."""

import asyncio
import logging
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

import grpc
import httpx
import pytest

from scopewright.verifier import Requirement, TokenRejected, Verifier
from scopewright.verifier.grpc import AioTokenInterceptor, TokenInterceptor, current_token, require
from tests.unit.verifier.rpc import METHODS, SERVERS, AioPayroll, SyncPayroll, call, running
from tests.unit.verifier.support import AUDIENCE, ISSUER, KEY, NOW, FakeIssuer, bound_token, feed, token

Code = grpc.StatusCode
WORKER = "leave.leave-worker"
UNARY = METHODS[0]


class SlowIssuer(FakeIssuer):
    """Answers once it is released."""

    def __init__(self, *keys: Any) -> None:
        super().__init__(*keys)
        self.asked, self.released = threading.Event(), threading.Event()

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.asked.set()
        self.released.wait(30)
        return super().__call__(request)

    def async_client(self) -> httpx.AsyncClient:
        async def answer(request: httpx.Request) -> httpx.Response:
            return await asyncio.to_thread(self, request)

        return httpx.AsyncClient(transport=httpx.MockTransport(answer))


@pytest.fixture(params=SERVERS)
def server(request: pytest.FixtureRequest) -> str:
    kind: str = request.param
    return kind


@pytest.fixture(autouse=True)
def no_errors(caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]) -> Iterator[None]:
    """A refusal is no error in any log, and prints no traceback."""
    with caplog.at_level(logging.INFO):
        yield
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []
    assert "Traceback" not in capfd.readouterr().err


@pytest.mark.parametrize("method", METHODS)
async def test_handler_of_each_kind_has_the_token_of_its_call(server: str, method: str) -> None:
    async with running(server, FakeIssuer(KEY)) as address:
        answer = await call(address, method, f"Bearer {token()}")
        assert (answer.code, set(answer.messages)) == (Code.OK, {WORKER})
        refused = await call(address, method)
        assert (refused.code, refused.messages) == (Code.UNAUTHENTICATED, [])


@pytest.mark.parametrize("method", METHODS)
async def test_refusal_by_require_ends_a_call_of_each_kind(server: str, method: str) -> None:
    async with running(server, FakeIssuer(KEY)) as address:
        answer = await call(address, method, f"Bearer {token()}", needs="payroll.write")
        assert answer.code is Code.PERMISSION_DENIED
        assert "payroll.write" in answer.details
        assert answer.metadata["www-authenticate"].endswith('scope="payroll.write"')
        good = await call(address, method, f"Bearer {token(scope='payroll.read payroll.write')}", needs="payroll.write")
        assert (good.code, set(good.messages)) == (Code.OK, {WORKER})


async def test_refusal_has_the_status_and_the_challenge_of_its_reason(server: str) -> None:
    async with running(server, FakeIssuer(KEY), realm="payroll") as address:
        missing = await call(address, UNARY)
        assert missing.code is Code.UNAUTHENTICATED
        assert missing.metadata["www-authenticate"] == 'Bearer realm="payroll"'
        expired = await call(address, UNARY, f"Bearer {token(exp=1)}")
        assert expired.code is Code.UNAUTHENTICATED
        assert 'error="invalid_token"' in expired.metadata["www-authenticate"]
        assert "expired" in expired.details
        lacking = await call(address, UNARY, f"Bearer {token(scope='leave.read')}")
        assert lacking.code is Code.PERMISSION_DENIED
        assert lacking.metadata["www-authenticate"].endswith('scope="payroll.read"')


async def test_binary_metadata_is_not_a_token(server: str) -> None:
    async with running(server, FakeIssuer(KEY)) as address:
        binary = await call(address, UNARY, metadata=[("authorization-bin", f"Bearer {token()}".encode())])
        assert binary.code is Code.UNAUTHENTICATED
        both = await call(address, UNARY, f"Bearer {token()}", metadata=[("authorization-bin", b"x")])
        assert both.code is Code.OK


async def test_refusal_of_a_bound_token_says_that_grpc_has_no_proofs(server: str) -> None:
    async with running(server, FakeIssuer(KEY)) as address:
        answer = await call(address, UNARY, f"Bearer {bound_token()}")
        assert answer.details.endswith("ask for a token without DPoP")
        assert answer.details in answer.metadata["www-authenticate"]


async def test_revoked_token_is_refused(server: str) -> None:
    web = FakeIssuer(KEY)
    web.feed = feed(everybody=int(NOW))
    async with running(server, web, verifier_options={"revocations": True}) as address:
        answer = await call(address, UNARY, f"Bearer {token()}")
        assert (answer.code, "revoked" in answer.details) == (Code.UNAUTHENTICATED, True)


async def test_unreachable_issuer_is_unavailable_with_a_pause_before_the_retry(server: str) -> None:
    web = FakeIssuer(KEY)
    web.unavailable = True
    async with running(server, web) as address:
        answer = await call(address, UNARY, f"Bearer {token()}")
        assert answer.code is Code.UNAVAILABLE
        assert answer.metadata["grpc-retry-pushback-ms"] == "1000"
        assert "www-authenticate" not in answer.metadata


async def test_method_that_is_not_listed_is_denied_to_everybody(server: str) -> None:
    async with running(server, FakeIssuer(KEY)) as address:
        for values in ((), (f"Bearer {token()}",)):
            for method in ("/hr.Payroll/Unlisted", "/hr.Payroll/Unknown", "/other.Service/UnaryUnary"):
                answer = await call(address, method, *values)
                assert (answer.code, "scopes=" in answer.details) == (Code.PERMISSION_DENIED, True)


async def test_refusals_are_logged_once_with_method_reason_and_client(
    server: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with running(server, FakeIssuer(KEY)) as address:
        caplog.clear()
        await call(address, "/hr.Payroll/Unlisted", f"Bearer {token()}")
        await call(address, UNARY, f"Bearer {token(exp=1)}")
        await call(address, UNARY, f"Bearer {token(scope='other')}")
        await call(address, UNARY, f"Bearer {token()}", needs="payroll.write")
    lines = [record.getMessage() for record in caplog.records if record.name == "scopewright.verifier"]
    assert [line.partition(": ")[0] for line in lines] == [
        "refused POST /hr.Payroll/Unlisted",
        *["refused POST " + UNARY] * 3,
    ]
    assert "401 expired: " in lines[1]
    assert all("403 scope, client leave.leave-worker: " in line for line in lines[2:])


async def test_listed_method_that_the_server_lacks_is_unimplemented(server: str) -> None:
    async with running(server, FakeIssuer(KEY), {"/hr.Payroll/Unknown": []}) as address:
        assert (await call(address, "/hr.Payroll/Unknown", f"Bearer {token()}")).code is Code.UNIMPLEMENTED


async def test_public_method_ignores_tokens_and_has_none(server: str) -> None:
    async with running(server, FakeIssuer(KEY), {}, public=["/hr.Payroll/*"]) as address:
        for values in ((), ("Bearer garbage",), (f"Bearer {token()}",), ("a", "b")):
            answer = await call(address, UNARY, *values)
            assert (answer.code, answer.messages) == (Code.OK, ["nobody"])
        assert (await call(address, UNARY, needs="payroll.read")).code is Code.UNAUTHENTICATED


async def test_optional_method_needs_no_token_but_a_valid_one_if_any(server: str) -> None:
    async with running(server, FakeIssuer(KEY), {}, optional=[UNARY]) as address:
        assert (await call(address, UNARY)).messages == ["nobody"]
        assert (await call(address, UNARY, f"Bearer {token()}")).messages == [WORKER]
        assert (await call(address, UNARY, f"Bearer {token(exp=1)}")).code is Code.UNAUTHENTICATED
        assert (await call(address, UNARY, f"DPoP {token()}")).code is Code.UNAUTHENTICATED


async def test_most_specific_pattern_decides(server: str) -> None:
    scopes = {UNARY: "payroll.write", "/hr.Payroll/*": [], "/**": ["payroll.write"]}
    async with running(server, FakeIssuer(KEY), scopes, public=[METHODS[1]]) as address:
        sent = f"Bearer {token()}"
        codes = [(await call(address, method, sent)).code for method in METHODS]
        assert codes == [Code.PERMISSION_DENIED, Code.OK, Code.OK, Code.OK]
        assert (await call(address, METHODS[1])).code is Code.OK
        assert (await call(address, METHODS[2])).code is Code.UNAUTHENTICATED


async def test_method_may_need_one_of_several_scopes_or_roles(server: str) -> None:
    scopes = {
        METHODS[0]: Requirement.of(any_of=["payroll.write", "payroll.read"]),
        METHODS[1]: Requirement.of(["payroll.read"], roles=["auditor"]),
    }
    async with running(server, FakeIssuer(KEY), scopes) as address:
        assert (await call(address, METHODS[0], f"Bearer {token()}")).code is Code.OK
        assert (await call(address, METHODS[0], f"Bearer {token(scope='x')}")).code is Code.PERMISSION_DENIED
        assert (await call(address, METHODS[1], f"Bearer {token()}")).code is Code.PERMISSION_DENIED
        assert (await call(address, METHODS[1], f"Bearer {token(roles=['auditor'])}")).code is Code.OK


async def test_each_of_many_calls_at_once_has_its_own_token(server: str) -> None:
    names = [f"staff.worker-{number}" for number in range(12)]
    async with running(server, FakeIssuer(KEY)) as address:
        for method in METHODS:
            sent = [call(address, method, f"Bearer {token(sub=name, client_id=name)}") for name in names]
            answers = await asyncio.gather(*sent)
            assert [set(answer.messages) for answer in answers] == [{name} for name in names], method


async def test_handler_may_catch_a_refusal_and_respond() -> None:
    def unary_unary(self: Any, request: bytes, context: Any) -> bytes:
        try:
            require("payroll.write")
        except TokenRejected:
            return b"without"
        return b"with"

    async def aio_unary_unary(self: Any, request: bytes, context: Any) -> bytes:
        return unary_unary(self, request, context)

    for server, base, method in (("sync", SyncPayroll, unary_unary), ("aio", AioPayroll, aio_unary_unary)):
        payroll = type("Payroll", (base,), {"unary_unary": method})()
        async with running(server, FakeIssuer(KEY), payroll=payroll) as address:
            answer = await call(address, UNARY, f"Bearer {token()}")
            assert (answer.code, answer.messages) == (Code.OK, ["without"])


class EndingPayroll(SyncPayroll):
    """Ends its calls itself."""

    def unary_unary(self, request: bytes, context: Any) -> bytes:
        context.abort(Code.NOT_FOUND, "no such employee")
        raise AssertionError

    def unary_stream(self, request: bytes, context: Any) -> Iterator[bytes]:
        yield b"first"
        context.abort(Code.NOT_FOUND, "no such employee")


class AioEndingPayroll(AioPayroll):
    async def unary_unary(self, request: bytes, context: Any) -> bytes:
        await context.abort(Code.NOT_FOUND, "no such employee")
        raise AssertionError

    async def unary_stream(self, request: bytes, context: Any) -> AsyncIterator[bytes]:
        yield b"first"
        await context.abort(Code.NOT_FOUND, "no such employee")


@pytest.mark.parametrize(("server", "payroll"), [("sync", EndingPayroll), ("aio", AioEndingPayroll)])
async def test_abort_of_a_handler_is_passed_on(server: str, payroll: Any) -> None:
    async with running(server, FakeIssuer(KEY), payroll=payroll()) as address:
        for method, messages in ((METHODS[0], []), (METHODS[1], ["first"])):
            answer = await call(address, method, f"Bearer {token()}")
            assert answer[:2] == (Code.NOT_FOUND, "no such employee")
            assert answer.messages == messages


class BrokenPayroll(SyncPayroll):
    """Lets the refusal of another token escape, as of one in a message."""

    def unary_unary(self, request: bytes, context: Any) -> bytes:
        Requirement.of(["other"]).check(current_token())
        raise AssertionError


async def test_refusal_of_another_token_in_a_handler_is_an_error_of_the_service(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with running("sync", FakeIssuer(KEY), payroll=BrokenPayroll()) as address:
        answer = await call(address, UNARY, f"Bearer {token()}")
        assert answer.code is Code.UNKNOWN
        assert "www-authenticate" not in answer.metadata
    caplog.clear()


class ClosedPayroll(SyncPayroll):
    """Streams without an end, and records the token that it has when the caller cancels."""

    def __init__(self) -> None:
        self.closed = threading.Event()
        self.last = ""

    def unary_stream(self, request: bytes, context: Any) -> Iterator[bytes]:
        try:
            while True:
                yield b"more"
        finally:
            token = current_token()
            self.last = token.client_id if token else ""
            self.closed.set()


class AioClosedPayroll(ClosedPayroll):
    async def unary_stream(self, request: bytes, context: Any) -> AsyncIterator[bytes]:  # type: ignore[override]
        try:
            while True:
                yield b"more"
                await asyncio.sleep(0)
        finally:
            await asyncio.sleep(0)
            token = current_token()
            self.last = token.client_id if token else ""
            self.closed.set()


@pytest.mark.parametrize(("server", "payroll"), [("sync", ClosedPayroll), ("aio", AioClosedPayroll)])
async def test_handler_that_is_cancelled_has_its_token_until_its_end(server: str, payroll: type[ClosedPayroll]) -> None:
    def cancel_after_one(address: str) -> None:
        with grpc.insecure_channel(address) as channel:
            metadata = [("authorization", f"Bearer {token()}")]
            stream: Any = channel.unary_stream(METHODS[1])
            responses = stream(b"", metadata=metadata, timeout=30)
            assert next(responses) == b"more"
            responses.cancel()

    service = payroll()
    async with running(server, FakeIssuer(KEY), payroll=service) as address:
        await asyncio.to_thread(cancel_after_one, address)
        assert await asyncio.to_thread(service.closed.wait, 30)
    assert service.last == WORKER


async def test_fetch_of_keys_delays_no_other_call(server: str) -> None:
    """It blocks neither the thread that accepts calls nor the event loop."""
    web = SlowIssuer(KEY)
    async with running(server, web, {UNARY: []}, public=METHODS[1:]) as address:
        slow = asyncio.create_task(call(address, UNARY, f"Bearer {token()}"))
        await asyncio.to_thread(web.asked.wait, 30)
        assert (await call(address, METHODS[1])).code is Code.OK
        assert not slow.done()
        web.released.set()
        assert (await slow).code is Code.OK


async def test_interceptor_of_the_other_server_is_an_error(caplog: pytest.LogCaptureFixture) -> None:
    verifier = Verifier(ISSUER, AUDIENCE)
    with pytest.raises(ValueError, match="Interceptor must be ServerInterceptor"):
        grpc.aio.server(interceptors=[TokenInterceptor(verifier, {})])  # type: ignore[list-item]
    wrong: Any = AioTokenInterceptor(verifier, {UNARY: []})
    async with running("sync", FakeIssuer(KEY), interceptors=[wrong]) as address:
        for _ in range(2):
            assert (await call(address, UNARY, f"Bearer {token()}")).code is Code.UNKNOWN
    assert "pass TokenInterceptor here" in caplog.text
    caplog.clear()


def test_no_token_outside_a_call_is_a_runtime_error() -> None:
    for ask in (current_token, require):
        with pytest.raises(RuntimeError, match=r"interceptors=\[TokenInterceptor"):
            ask()


@pytest.mark.parametrize("make", [TokenInterceptor, AioTokenInterceptor])
def test_mistakes_in_the_options_are_named(make: Any) -> None:
    verifier = Verifier(ISSUER, AUDIENCE)
    for method in ("hr.Payroll/GetSalary", "/hr.Payroll", "GetSalary", "/hr.Payroll/Get*", "/a/b/c", ""):
        with pytest.raises(ValueError, match=r"scopes= .* is not a method: write /hr\.Payroll/GetSalary"):
            make(verifier, {method: []})
        with pytest.raises(ValueError, match="public= "):
            make(verifier, {}, public=[method])
    with pytest.raises(TypeError, match="scopes= maps methods to scopes"):
        make(verifier, ["payroll.read"])
    with pytest.raises(ValueError, match="have the same method"):
        make(verifier, {"/hr.Payroll/Get": []}, public="/hr.Payroll/Get")
    with pytest.raises(ValueError, match="dpop_required"):
        make(Verifier(ISSUER, AUDIENCE, dpop_required=True), {})
