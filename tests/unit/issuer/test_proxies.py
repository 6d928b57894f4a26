"""Only a trusted proxy names the caller behind it."""

import httpx
import orjson
import pytest

from scopewright.core.failures import Rejected
from scopewright.http import HttpRequest
from scopewright.issuer.authentication.throttle import FailureThrottle
from scopewright.issuer.serving.proxies import HEADER, MAX_PROXIES, TrustedProxies, trusted_proxies
from scopewright.rate_budget import RateBudget
from tests.harness.issuer import IssuerHarness

PROXIES = TrustedProxies(["10.1.0.0/24", "2001:db8:1::/48"])


def caller(peer: str, forwarded: str | None, proxies: TrustedProxies = PROXIES) -> str:
    headers = {} if forwarded is None else {HEADER: forwarded.encode("latin-1")}
    return proxies.caller(HttpRequest("POST", "/token", headers=headers, peer=peer))


@pytest.mark.parametrize(
    ("peer", "forwarded", "found"),
    [
        ("10.1.0.7", "192.0.2.1", "192.0.2.1"),
        ("10.1.0.7", "198.51.100.9, 192.0.2.1", "192.0.2.1"),
        ("10.1.0.7", "198.51.100.9,192.0.2.1 , 10.1.0.8\t,2001:db8:1::5", "192.0.2.1"),
        ("2001:db8:1::1", "2001:DB8::0001", "2001:db8::1"),
        ("::ffff:10.1.0.7", "::ffff:192.0.2.1", "192.0.2.1"),
        ("10.1.0.7", "10.1.0.9, 10.1.0.8", "10.1.0.9"),
    ],
    ids=str,
)
def test_caller_is_the_rightmost_address_that_is_not_a_trusted_proxy(peer: str, forwarded: str, found: str) -> None:
    assert caller(peer, forwarded) == found


@pytest.mark.parametrize("peer", ["192.0.2.66", "10.1.1.7", "2001:db8:2::1", "::ffff:10.1.1.7", "", "fe80::1%eth0"])
def test_header_of_an_untrusted_peer_is_ignored(peer: str) -> None:
    assert caller(peer, "198.51.100.9") == peer
    assert caller(peer, "10.1.0.7") == peer


@pytest.mark.parametrize(
    "forwarded",
    [None, "", " ", "unknown", "_hidden", "192.0.2.1:8080", "[2001:db8::1]", "192.0.2.1, ", "192.0.2.01", "3221225985",
     "fe80::1%eth0", "192.0.2.1\x00", "\u00b2", "1" * 9000, "192.0.2.1 192.0.2.2"],
)  # fmt: skip
def test_malformed_address_makes_the_proxy_the_caller(forwarded: str | None) -> None:
    assert caller("10.1.0.7", forwarded) == "10.1.0.7"
    assert caller("10.1.0.7", f"{forwarded or ''},10.1.0.8") == "10.1.0.8"


def test_number_of_proxies_in_a_row_is_bounded() -> None:
    behind = ", ".join(["192.0.2.1", *["10.1.0.8"] * (MAX_PROXIES - 1)])
    assert caller("10.1.0.7", behind) == "192.0.2.1"
    assert caller("10.1.0.7", f"{behind}, 10.1.0.9") == "10.1.0.8"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("proxies.example", "pass networks such as"),
        ("10.1.0.7/24", "has host bits set.*pass networks such as"),
        ("10.0.0.0/33", "pass networks such as"),
        ("10.1.0.0/24,0.0.0.0/0", "would trust every address"),
        ("::/0", "would trust every address"),
    ],
)
def test_setting_that_is_not_a_network_or_is_every_address_is_refused(text: str, message: str) -> None:
    with pytest.raises(Rejected, match=message):
        trusted_proxies(text)


def test_setting_is_a_comma_separated_list_and_may_be_empty() -> None:
    assert trusted_proxies("") is trusted_proxies(" , ") is None
    some = trusted_proxies("192.0.2.0/28, 2001:db8::/64,10.9.9.9")
    assert some is not None
    assert caller("10.9.9.9", "198.51.100.9", some) == "198.51.100.9"


async def post_wrong_secret(harness: IssuerHarness, forwarded: str) -> httpx.Response:
    form = {"grant_type": "client_credentials"}
    headers = {"x-forwarded-for": forwarded}
    return await harness.http.post("/token", data=form, auth=("leave.leave-worker", "wrong"), headers=headers)


async def test_audit_lines_and_budgets_use_the_address_behind_the_proxy() -> None:
    harness = IssuerHarness(proxies=TrustedProxies(["127.0.0.0/8"]))
    harness.install_defaults()
    async with harness.running():
        harness.issuer.endpoints.token.throttle = FailureThrottle(lambda: 0.0, budget=RateBudget(rate=0.0, burst=1))  # type: ignore[union-attr]
        answers = [
            (await post_wrong_secret(harness, address)).status_code
            for address in ("192.0.2.1", "192.0.2.1", "192.0.2.2")
        ]
        assert answers == [401, 503, 401]
        peers = [orjson.loads(line)["peer"] for line in harness.audit_lines]
        assert peers == ["192.0.2.1", "192.0.2.1", "192.0.2.2"]


async def test_header_is_ignored_without_trusted_proxies(harness: IssuerHarness) -> None:
    await post_wrong_secret(harness, "192.0.2.1")
    assert orjson.loads(harness.audit_lines[-1])["peer"] == "127.0.0.1"
