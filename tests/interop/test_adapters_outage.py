"""Five minutes without an issuer, under load through every adapter. Time passes faster for the clients."""

import time
from collections.abc import Iterator
from contextlib import ExitStack
from threading import Thread
from typing import Final

import httpx
import pytest

from scopewright.client import ClientCredentials, Clock
from scopewright.testing import FakeIssuer
from tests.interop.adapter_load import ADAPTERS, GRPC_CALLERS, Load, VerifyingApi, grpc_target
from tests.unit.client.api_server import api_server
from tests.unit.client.callers import Caller

SPEED: Final = 60
LIFETIME_SECONDS: Final = 1600
OUTAGE_SECONDS: Final = (1190, 1490)
"""After the first token. Tokens are renewed after 1200 to 1360 seconds, so each renewal falls into the outage."""
END_SECONDS: Final = 1700
"""Later than the end of the first token."""


class FastClock(Clock):
    """Seconds of the clients since they started. Their pauses are shorter, too."""

    def __init__(self) -> None:
        self.start = time.monotonic()

    def now(self) -> float:
        return (time.monotonic() - self.start) * SPEED

    def wait(self, seconds: float) -> None:
        time.sleep(seconds / SPEED)


class Outage:
    """The token endpoint of an issuer that has an outage. `refused` counts the requests without a response."""

    def __init__(self, issuer: FakeIssuer, clock: FastClock) -> None:
        self._issuer = issuer
        self._clock = clock
        self.refused = 0
        self.served = 0

    def __call__(self, request: httpx.Request) -> httpx.Response:
        first, last = OUTAGE_SECONDS
        if first <= self._clock.now() < last:
            self.refused += 1
            raise httpx.ConnectError("the issuer is down", request=request)
        self.served += 1
        token = self._issuer.token("payroll.read", expires_in=LIFETIME_SECONDS)
        answer = {"access_token": token, "token_type": "Bearer", "expires_in": LIFETIME_SECONDS}
        return httpx.Response(200, json=answer | {"scope": "payroll.read"})


@pytest.fixture(scope="module")
def loads() -> Iterator[dict[type[Caller], tuple[Load, Outage]]]:
    """The load of all adapters at the same time. Each has its own token and its own issuer."""
    issuer = FakeIssuer()
    with ExitStack() as stack:
        verifier = issuer.verifier()
        api = stack.enter_context(api_server(lambda url: VerifyingApi(url, verifier)))
        target = grpc_target(stack, verifier)
        clock = FastClock()
        found: dict[type[Caller], tuple[Load, Outage]] = {}
        threads = []
        for kind in ADAPTERS:
            found[kind] = load, outage = Load(), Outage(issuer, clock)
            credentials = ClientCredentials(
                client_id="staff.hr-desk",
                client_secret="secret",
                issuer=issuer.issuer,
                token_endpoint=f"{issuer.issuer}/token",
                http=httpx.Client(transport=httpx.MockTransport(outage)),
                clock=clock,
            )
            url = target if kind in GRPC_CALLERS else f"{api.url}/{kind.__name__}"
            end = clock.start + END_SECONDS / SPEED
            threads.append(Thread(target=load.run, args=(kind(credentials), url, end)))
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        yield found


@pytest.mark.parametrize("kind", ADAPTERS, ids=lambda kind: kind.__name__)
def test_no_request_fails_while_the_issuer_is_down_for_five_minutes(
    loads: dict[type[Caller], tuple[Load, Outage]], kind: type[Caller]
) -> None:
    load, outage = loads[kind]
    assert load.errors == []
    assert set(load.statuses) == {200}
    assert len(load.statuses) > 50
    assert outage.refused > 3, "no renewal was tried during the outage"
    assert outage.served == 2, "the token was renewed once, after the outage"
