"""The metadata and keys of a provider are kept; what is asked is observed, and has bounds."""

import asyncio
from dataclasses import replace

import pytest

from scopewright.issuer.upstream.client import OpenIDLogins
from scopewright.issuer.upstream.connection import KEYS_SECONDS, METADATA_SECONDS, UNKNOWN_KEY_SECONDS
from scopewright.issuer.upstream.login import LoginRefused
from scopewright.issuer.upstream.refetched import RETRY_SECONDS
from scopewright.issuer.upstream.slots import RequestSlots
from scopewright.upstream import UpstreamFailed
from tests.harness.openid_replies import Reply, reply_json, reply_slowly, replying
from tests.harness.waiting import until
from tests.unit.issuer.upstream.support import LoginHarness, new_request

AWAY = replying(Reply(503))


async def settle(login: LoginHarness) -> None:
    """Let a fetch in the background end."""
    for connected in login.logins._connected.values():
        for fetched in (connected.connection._metadata, connected.connection._keys):
            if fetched._flight is not None:
                await asyncio.wait([fetched._flight])


# Metadata


async def test_metadata_and_keys_are_fetched_once(login: LoginHarness) -> None:
    for _ in range(3):
        await login.login()
    assert (login.openid.count("metadata"), login.openid.count("jwks")) == (1, 1)


async def test_requests_at_once_fetch_once(login: LoginHarness) -> None:
    await asyncio.gather(*(login.login() for _ in range(8)))
    assert (login.openid.count("metadata"), login.openid.count("jwks")) == (1, 1)


async def test_old_metadata_is_used_while_it_is_fetched(login: LoginHarness) -> None:
    await login.url()
    login.seconds += METADATA_SECONDS
    login.openid.metadata = {"authorization_endpoint": "https://login.example/new"}
    assert (await login.url()).startswith(login.openid.issuer)
    await settle(login)
    assert (await login.url()).startswith("https://login.example/new?")
    assert login.openid.count("metadata") == 2


async def test_old_metadata_stays_while_the_provider_is_away(login: LoginHarness) -> None:
    await login.url()
    login.openid.replies["metadata"] = AWAY
    for _ in range(3):
        login.seconds += METADATA_SECONDS
        await login.url()
        await settle(login)
    assert login.openid.count("metadata") == 4


async def test_failed_fetch_is_followed_by_a_pause(login: LoginHarness) -> None:
    await login.url()
    login.openid.replies["metadata"] = AWAY
    login.seconds += METADATA_SECONDS
    for _ in range(3):
        await login.url()
        await settle(login)
    assert login.openid.count("metadata") == 2
    login.seconds += RETRY_SECONDS
    await login.url()
    await settle(login)
    assert login.openid.count("metadata") == 3


async def test_first_fetch_that_fails_is_tried_again(login: LoginHarness) -> None:
    login.openid.replies["metadata"] = AWAY
    with pytest.raises(UpstreamFailed):
        await login.url()
    login.openid.replies.clear()
    assert await login.url()


async def test_cancelled_request_does_not_stop_the_fetch_of_others(login: LoginHarness) -> None:
    requests = [asyncio.create_task(login.url()) for _ in range(2)]
    await asyncio.sleep(0)
    requests[0].cancel()
    assert await requests[1]


async def test_changed_record_has_a_connection_of_its_own(login: LoginHarness) -> None:
    await login.url()
    login.oidc["scopes"] = ("openid", "email")
    assert "scope=openid+email" in await login.url()
    assert login.openid.count("metadata") == 2


async def test_change_of_other_fields_keeps_metadata_and_keys(login: LoginHarness) -> None:
    await login.login()
    login.claims = replace(login.claims, groups_allow=("admins",))
    login.openid.replies["metadata"] = login.openid.replies["jwks"] = AWAY
    assert (await login.login()).groups == ("admins",)


async def test_provider_of_the_same_name_is_another_one(login: LoginHarness) -> None:
    await login.url()
    other = replace(login.provider, record=replace(login.provider.record, uid="another"))
    await login.logins.authorization_url(other, new_request(login.clock))
    assert login.openid.count("metadata") == 2


async def test_static_provider_is_an_error_of_the_caller(login: LoginHarness) -> None:
    static = replace(login.provider, record=replace(login.provider.record, oidc=None))
    with pytest.raises(ValueError, match="static"):
        await login.logins.authorization_url(static, new_request(login.clock))


# Keys


async def test_new_key_is_fetched_at_once(login: LoginHarness) -> None:
    await login.login()
    login.openid.rotate()
    await login.login()
    assert login.openid.count("jwks") == 2


async def test_logins_at_once_fetch_a_new_key_once(login: LoginHarness) -> None:
    await login.login()
    login.openid.rotate()
    await asyncio.gather(*(login.login() for _ in range(8)))
    assert login.openid.count("jwks") == 2


async def test_key_that_is_published_during_a_fetch_is_fetched_at_once(login: LoginHarness) -> None:
    """The fetch in progress has the keys of before, and is not the one that an unknown key causes."""
    await login.login()
    login.openid.replies["jwks"] = replying(replace(reply_json(login.openid.jwks), delay=0.5))
    login.seconds += KEYS_SECONDS
    await login.login()
    await until(lambda: login.openid.count("jwks") == 2)
    del login.openid.replies["jwks"]
    login.openid.rotate()
    await asyncio.gather(*(login.login() for _ in range(3)))
    assert login.openid.count("jwks") == 3


async def test_unknown_key_causes_one_fetch_then_a_pause(login: LoginHarness) -> None:
    await login.login()
    login.openid.header = {"kid": "unknown"}
    for _ in range(3):
        assert (await login.refusal()).reason == "id_token"
    assert login.openid.count("jwks") == 2
    login.seconds += UNKNOWN_KEY_SECONDS
    await login.refusal()
    assert login.openid.count("jwks") == 3


async def test_keys_are_used_while_the_provider_publishes_none(login: LoginHarness) -> None:
    await login.login()
    login.openid.replies["jwks"] = AWAY
    for _ in range(3):
        login.seconds += KEYS_SECONDS
        await login.login()
        await settle(login)
    assert login.openid.count("jwks") == 4


async def test_withdrawn_key_is_not_used_after_the_next_fetch(login: LoginHarness) -> None:
    await login.login()
    withdrawn = login.openid.keys
    login.openid.rotate()
    login.openid.replies["jwks"] = replying(reply_json(login.openid.jwks))
    login.openid.keys = withdrawn
    login.seconds += KEYS_SECONDS
    await login.login()
    await settle(login)
    assert (await login.refusal()).reason == "id_token"


# Observations


async def test_requests_are_observed(login: LoginHarness) -> None:
    login.oidc["userinfo"] = "Always"
    await login.login()
    assert login.observed == [("discovery", "ok"), ("token", "ok"), ("keys", "ok"), ("userinfo", "ok")]


@pytest.mark.parametrize(
    ("endpoint", "operation"),
    [("metadata", "discovery"), ("jwks", "keys"), ("token", "token"), ("userinfo", "userinfo")],
)
async def test_failures_are_observed(login: LoginHarness, endpoint: str, operation: str) -> None:
    login.oidc["userinfo"] = "Always"
    login.openid.replies[endpoint] = AWAY
    await login.failure()
    assert login.observed[-1] == (operation, "Unreachable")
    assert [result for _, result in login.observed[:-1]] == ["ok"] * (len(login.observed) - 1)


async def test_refused_user_is_no_failure_of_the_provider(login: LoginHarness) -> None:
    login.openid.response = {"code": "unknown"}
    await login.refusal()
    assert login.observed == [("discovery", "ok"), ("token", "ok")]


async def test_certificates_that_are_not_pem_are_observed(login: LoginHarness) -> None:
    provider = replace(login.provider, ca_certificates="not PEM")
    with pytest.raises(UpstreamFailed) as raised:
        await login.logins.authorization_url(provider, new_request(login.clock))
    assert raised.value.reason == "CertificateInvalid"
    assert login.observed == [("discovery", "CertificateInvalid")]


async def test_loopback_is_refused_in_a_cluster(login: LoginHarness) -> None:
    logins = OpenIDLogins(clock=login.clock)
    with pytest.raises(UpstreamFailed) as raised:
        await logins.authorization_url(login.provider, new_request(login.clock))
    await logins.aclose()
    assert raised.value.reason == "AddressNotAllowed"
    assert login.openid.requests == []


# Slow providers


async def test_slow_provider_keeps_few_requests_busy(login: LoginHarness, monkeypatch: pytest.MonkeyPatch) -> None:
    await login.login()
    login.openid.replies["token"] = reply_slowly(30)
    monkeypatch.setattr(
        next(iter(login.logins._connected.values())).connection, "_slots", RequestSlots(2, waiting=1, seconds=0.2)
    )
    requests = [asyncio.create_task(login.login()) for _ in range(4)]
    done, pending = await asyncio.wait(requests, timeout=1)
    for request in pending:
        request.cancel()
    await asyncio.gather(*pending, return_exceptions=True)
    assert (len(done), len(pending)) == (2, 2)
    for request in done:
        failure = request.exception()
        assert isinstance(failure, UpstreamFailed)
        assert failure.reason == "Unreachable"
        assert "too slowly" in failure.message


async def test_slots_are_free_after_failures() -> None:
    slots = RequestSlots(1, waiting=1, seconds=0.05)

    async def fail() -> None:
        async with slots.taken():
            raise LoginRefused("code", "")

    async def wait_in_vain() -> None:
        async with slots.taken():
            with pytest.raises(UpstreamFailed):
                await fail()

    for _ in range(3):
        await wait_in_vain()
        with pytest.raises(LoginRefused):
            await fail()


async def test_request_waits_for_a_slot() -> None:
    slots = RequestSlots(1, waiting=1, seconds=5)
    order = []

    async def use(name: str) -> None:
        async with slots.taken():
            order.append(name)
            await asyncio.sleep(0.01)

    await asyncio.gather(use("first"), use("second"))
    assert order == ["first", "second"]


async def test_full_queue_is_refused_at_once() -> None:
    slots = RequestSlots(1, waiting=1, seconds=5)
    async with slots.taken():
        waiting = asyncio.create_task(slots.taken().__aenter__())
        await asyncio.sleep(0)
        async with asyncio.timeout(1):
            with pytest.raises(UpstreamFailed):
                async with slots.taken():
                    pass
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
