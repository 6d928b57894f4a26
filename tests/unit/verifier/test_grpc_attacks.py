"""Every attack on tokens and metadata, on each gRPC server: nothing reaches a handler, and no refusal is an error.

`tests/unit/verifier/integrations` has the same for HTTP.
"""

import contextlib
import logging
from collections.abc import AsyncIterator, Iterator
from typing import Any, NamedTuple

import grpc
import grpc.aio
import pytest

from scopewright.verifier.refusals import code_of
from tests.cases.attacks import Attack, Forge, attacks
from tests.unit.verifier.rpc import METHODS, SERVERS, running
from tests.unit.verifier.support import KEY, NOW, FakeIssuer, bound_token, claims, token

Code = grpc.StatusCode
ATTACKS = attacks(Forge(KEY, claims(), int(NOW)))
MAX_METADATA_BYTES = 7000
"""A server accepts 8 KB. More is RESOURCE_EXHAUSTED."""
CODES = {400: Code.INVALID_ARGUMENT, 401: Code.UNAUTHENTICATED, 403: Code.PERMISSION_DENIED}


class Refusal(NamedTuple):
    code: grpc.StatusCode
    challenge: str


class Channel:
    """One channel for all calls. An aio channel refuses to send what is not printable ASCII."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._method: Any = channel.unary_unary(METHODS[0])

    async def send(self, *values: str) -> Refusal:
        call = self._method(b"", metadata=[("authorization", value) for value in values], timeout=30)
        with contextlib.suppress(grpc.RpcError):
            await call
        trailing = {name: value for name, value in await call.trailing_metadata()}  # noqa: C416  # not a Mapping
        return Refusal(await call.code(), trailing.get("www-authenticate", ""))


@pytest.fixture(params=SERVERS)
async def channel(request: pytest.FixtureRequest) -> AsyncIterator[Channel]:
    async with running(request.param, FakeIssuer(KEY)) as address, grpc.aio.insecure_channel(address) as channel:
        yield Channel(channel)


@pytest.fixture(autouse=True)
def no_error(caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]) -> Iterator[None]:
    with caplog.at_level(logging.INFO):
        yield
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR] == []
    assert "Traceback" not in capfd.readouterr().err


def sendable(attack: Attack) -> bool:
    """Metadata is printable ASCII without spaces at its ends, and has a limit."""
    text = attack.token
    return text.isascii() and text.isprintable() and text == text.strip() and len(text) <= MAX_METADATA_BYTES


def expected(attack: Attack) -> Refusal:
    if not attack.token:
        return Refusal(Code.UNAUTHENTICATED, "Bearer")
    status, error = (400, "invalid_request") if "," in attack.token else code_of(attack.reason)
    return Refusal(CODES[status], f'Bearer error="{error}"')


async def test_every_attack_is_refused_for_its_reason(channel: Channel) -> None:
    assert (await channel.send(f"Bearer {token()}")).code is Code.OK
    sent = list(filter(sendable, ATTACKS))
    for attack in sent:
        refusal = await channel.send(f"Bearer {attack.token}")
        assert Refusal(refusal.code, refusal.challenge.partition(",")[0]) == expected(attack), attack.name
    assert len(sent) > 350
    assert (await channel.send(f"Bearer {token()}")).code is Code.OK


async def test_metadata_that_is_too_large_ends_only_its_own_call(channel: Channel) -> None:
    large = [a for a in ATTACKS if MAX_METADATA_BYTES < len(a.token) < 100_000 and a.token.isascii()]
    assert large
    for attack in large:
        refusal = await channel.send(f"Bearer {attack.token}")
        assert refusal.code in (Code.RESOURCE_EXHAUSTED, Code.UNAUTHENTICATED), attack.name
    assert (await channel.send(f"Bearer {token()}")).code is Code.OK


@pytest.mark.parametrize(
    ("values", "code", "challenge"),
    [
        ([], Code.UNAUTHENTICATED, "Bearer"),
        ([""], Code.UNAUTHENTICATED, "Bearer"),
        (["Bearer"], Code.UNAUTHENTICATED, "Bearer"),
        (["Basic YTpi"], Code.UNAUTHENTICATED, "Bearer"),
        (["{}"], Code.UNAUTHENTICATED, "Bearer"),
        (["DPoP {}"], Code.UNAUTHENTICATED, "Bearer"),
        (["Bearer {} {}"], Code.UNAUTHENTICATED, 'Bearer error="invalid_token"'),
        (["Bearer {}", "Bearer {}"], Code.INVALID_ARGUMENT, 'Bearer error="invalid_request"'),
        (["Bearer {}", "Basic YTpi"], Code.INVALID_ARGUMENT, 'Bearer error="invalid_request"'),
        (["Basic YTpi", "Bearer {}"], Code.INVALID_ARGUMENT, 'Bearer error="invalid_request"'),
        (["Bearer {}", ""], Code.INVALID_ARGUMENT, 'Bearer error="invalid_request"'),
        (["Bearer {}, Bearer {}"], Code.INVALID_ARGUMENT, 'Bearer error="invalid_request"'),
    ],
)
async def test_other_ways_to_send_a_valid_token_are_refused(
    channel: Channel, values: list[str], code: grpc.StatusCode, challenge: str
) -> None:
    refusal = await channel.send(*(value.replace("{}", token()) for value in values))
    assert Refusal(refusal.code, refusal.challenge.partition(",")[0]) == (code, challenge)


async def test_bound_token_is_refused(channel: Channel) -> None:
    for scheme in ("Bearer", "DPoP"):
        assert (await channel.send(f"{scheme} {bound_token()}")).code is Code.UNAUTHENTICATED
