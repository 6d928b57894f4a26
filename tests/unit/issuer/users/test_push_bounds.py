"""How many pushed requests a process keeps: who authenticates pays itself, and for public clients the address pays."""

from functools import cache
from itertools import count

import pytest

from scopewright.issuer.state.entries import Client
from scopewright.issuer.users.push_bounds import (
    ADDRESS_BUDGET,
    MAX_LIVE,
    MAX_LIVE_OF_NAMESPACE,
    PushBounds,
    TooManyPushed,
)
from scopewright.issuer.users.pushed import PUSHED_SECONDS
from tests.harness.clock import Clock
from tests.harness.users import registry_of
from tests.unit.issuer.users.logins import public_client, web_client


class Bounds:
    """Bounds with a clock, and handles to count."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.bounds = PushBounds(self.clock)
        self._numbers = count()

    def push(self, client: Client, peer: str = "192.0.2.1") -> tuple[str, str]:
        """Return the handle of a request, and that of another one that it displaces."""
        self.bounds.require_room(client, peer)
        handle = f"handle-{next(self._numbers)}"
        return handle, self.bounds.add(client, peer, handle)

    def refused(self, client: Client, peer: str = "192.0.2.1") -> TooManyPushed:
        with pytest.raises(TooManyPushed) as caught:
            self.push(client, peer)
        return caught.value


@cache
def client(name: str = "web", *, public: bool = False, namespace: str = "hr") -> Client:
    record = (public_client if public else web_client)(name=name, namespace=namespace, uid=f"uid-{namespace}-{name}")
    found = registry_of(record).clients.get(f"{namespace}.{name}")
    assert found is not None
    return found


def network(number: int) -> str:
    return f"2001:db8:0:{number:x}::1"


def test_a_client_that_authenticates_is_refused_beyond_its_bound() -> None:
    bounds, web = Bounds(), client()
    for _ in range(MAX_LIVE):
        assert bounds.push(web)[1] == ""
    refused = bounds.refused(web, "192.0.2.2")
    assert (refused.reason, refused.retry_after) == ("too_many_of_client", PUSHED_SECONDS)
    bounds.push(client("other"))
    bounds.clock.advance(seconds=PUSHED_SECONDS)
    bounds.push(web)


def test_a_namespace_is_refused_beyond_its_bound() -> None:
    bounds = Bounds()
    for number in range(MAX_LIVE_OF_NAMESPACE):
        bounds.push(client(f"web-{number % 10}"))
    assert bounds.refused(client("another")).reason == "too_many_of_namespace"
    bounds.push(client(namespace="payroll"))


def test_an_address_pays_for_public_clients() -> None:
    bounds = Bounds()
    for number in range(ADDRESS_BUDGET.burst):
        bounds.push(client(f"spa-{number}", public=True, namespace=f"team-{number}"), "2001:db8::1")
    assert bounds.refused(client("spa", public=True), "2001:db8::2").reason == "too_many_of_address"
    bounds.push(client("spa", public=True), "192.0.2.1")
    bounds.push(client(), "2001:db8::1")
    bounds.clock.advance(seconds=1)
    for _ in range(int(ADDRESS_BUDGET.rate)):
        bounds.push(client("spa", public=True), "2001:db8::1")
    bounds.refused(client("spa", public=True), "2001:db8::1")


def test_a_flood_displaces_its_own_requests_and_no_users() -> None:
    """From twenty addresses, as fast as their budgets allow. The user of another address always gets in and stays."""
    bounds, spa, flood = Bounds(), client("spa", public=True), set()
    for number in range(20):
        for _ in range(ADDRESS_BUDGET.burst // 2):
            flood.add(bounds.push(spa, network(number))[0])
    own, displaced = bounds.push(spa, "192.0.2.1")
    assert displaced in flood
    for number in range(20):
        for _ in range(ADDRESS_BUDGET.burst // 2):
            assert bounds.push(spa, network(number))[1] not in ("", own)


def test_a_flood_from_a_thousand_addresses_displaces_in_order() -> None:
    """A user's request is the last to go: the browser comes before a thousand others are pushed."""
    bounds, spa = Bounds(), client("spa", public=True)
    for number in range(MAX_LIVE):
        bounds.push(spa, network(number))
    own, displaced = bounds.push(spa, "192.0.2.1")
    assert displaced == "handle-0"
    for number in range(MAX_LIVE, 2 * MAX_LIVE - 1):
        assert bounds.push(spa, network(number))[1] != own
    assert bounds.push(spa, network(0))[1] == own


def test_public_clients_of_a_namespace_share_a_bound_of_their_own() -> None:
    bounds = Bounds()
    for number in range(MAX_LIVE_OF_NAMESPACE):
        assert bounds.push(client(f"spa-{number % 6}", public=True), network(number))[1] == ""
    assert bounds.push(client("another", public=True), "192.0.2.1")[1] == "handle-0"
    bounds.push(client())


def test_a_request_that_was_not_stored_takes_no_room() -> None:
    bounds, web = Bounds(), client()
    for _ in range(MAX_LIVE - 1):
        bounds.push(web)
    handle, _ = bounds.push(web)
    bounds.bounds.remove(web, handle)
    bounds.bounds.remove(web, handle)
    bounds.push(web)
    bounds.refused(web)


def test_nothing_remains_of_requests_that_have_ended() -> None:
    bounds, spa, web = Bounds(), client("spa", public=True), client()
    for number in range(2 * MAX_LIVE):
        bounds.push(spa, network(number))
    bounds.push(web)
    bounds.clock.advance(seconds=PUSHED_SECONDS)
    for each in (spa, web):
        bounds.bounds.require_room(each, "192.0.2.9")
    for share in bounds.bounds._shares.values():
        assert not share.live
        assert not share.of_network
        assert not share.of_client
