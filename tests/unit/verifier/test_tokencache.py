"""Verified tokens are cached: no signature is verified again, all other checks are."""

import pytest

from scopewright.verifier import Reason, TokenRejected, Verifier, check
from scopewright.verifier.tokencache import CachedToken, TokenCache
from tests.harness.clock import Clock
from tests.unit.verifier.support import (
    AUDIENCE,
    ISSUER,
    KEY,
    KEYS,
    NOW,
    POLICY,
    FakeIssuer,
    key_of,
    reason_of,
    token,
    verifier_of,
)


async def test_only_a_verified_token_is_cached() -> None:
    verifier = verifier_of(FakeIssuer(KEY), Clock())
    sent = token()
    assert verifier.cached(sent) is None
    found = await verifier.verify(sent)
    assert verifier.cached(sent) is found
    assert verifier.cached(sent[:-2] + "AA") is None


async def test_the_scope_is_checked_at_every_use() -> None:
    verifier = verifier_of(FakeIssuer(KEY), Clock())
    sent = token(scope="payroll.read")
    await verifier.verify(sent, scopes=("payroll.read",))
    with pytest.raises(TokenRejected) as caught:
        verifier.cached(sent, scopes=("payroll.write",))
    assert caught.value.reason is Reason.SCOPE
    with pytest.raises(TokenRejected):
        await verifier.verify(sent, scopes="payroll.read payroll.write")
    assert await verifier.verify(sent, scopes="payroll.read")


async def test_scopes_of_the_verifier_are_required_in_addition_to_those_of_the_call() -> None:
    verifier = Verifier(ISSUER, AUDIENCE, scopes=["a"], http=FakeIssuer(KEY).async_client(), clock=Clock())
    assert await verifier.verify(token(scope="a b"), scopes=["b"])
    for scope in ("a", "b"):
        with pytest.raises(TokenRejected) as caught:
            await verifier.verify(token(scope=scope), scopes=["b"])
        assert caught.value.scope == "a b"


async def test_the_expiry_is_checked_at_every_use() -> None:
    clock = Clock()
    verifier = verifier_of(FakeIssuer(KEY), clock)
    sent = token(exp=int(NOW) + 100)
    await verifier.verify(sent)
    clock.set(NOW + 159)
    assert verifier.cached(sent) is not None
    clock.set(NOW + 160)
    assert verifier.cached(sent) is None
    assert await reason_of(verifier, sent) is Reason.EXPIRED


async def test_refused_token_is_not_cached() -> None:
    verifier = verifier_of(FakeIssuer(KEY), Clock())
    assert await reason_of(verifier, token(aud="other")) is Reason.AUDIENCE
    assert await reason_of(verifier, token(aud="other")) is Reason.AUDIENCE


def test_cache_is_bounded_and_keeps_used_tokens() -> None:
    from scopewright.verifier import check

    cache = TokenCache(100)
    verified = CachedToken(check(token(), KEYS, POLICY, NOW), POLICY, key_of(KEYS, "key-1"), NOW)
    cache.add("often", verified)
    for number in range(10_000):
        cache.add(str(number), verified)
        assert cache.get("often", POLICY) is verified
        assert len(cache) <= 101
    assert cache.get("0", POLICY) is None


@pytest.mark.parametrize("size", [0, 1, 2, 3, 10])
def test_the_cache_has_no_more_tokens_than_its_size(size: int) -> None:
    cache = TokenCache(size)
    checked = check(token(), KEYS, POLICY, NOW)
    for number in range(30):
        cache.add(str(number), CachedToken(checked, POLICY, None, NOW))
        assert len(cache) <= size


def test_long_tokens_take_the_room_of_several() -> None:
    """The owner of an API decides how long its tokens are, and the memory of a gateway is that of all APIs."""
    cache = TokenCache(100)
    verified = CachedToken(check(token(), KEYS, POLICY, NOW), POLICY, None, NOW)
    for number in range(100):
        cache.add(str(number).rjust(8 * 1024, "x"), verified)
        assert len(cache) <= 20
    assert len(cache) >= 10
    small = TokenCache(2)
    for _ in range(3):
        small.add("y" * 16 * 1024, verified)
        assert len(small) == 1


async def test_a_verifier_without_a_cache_verifies_every_time() -> None:
    verifier = Verifier(ISSUER, AUDIENCE, http=FakeIssuer(KEY).async_client(), clock=Clock(), cache_size=0)
    sent = token()
    assert await verifier.verify(sent) is not await verifier.verify(sent)
    assert verifier.cached(sent) is None


def test_a_negative_size_of_the_cache_is_refused() -> None:
    with pytest.raises(ValueError, match="cache_size must not be negative"):
        Verifier(ISSUER, AUDIENCE, cache_size=-1)


def test_verifiers_of_several_audiences_share_the_size_and_no_token() -> None:
    payroll = Verifier(ISSUER, AUDIENCE, http=FakeIssuer(KEY).client(), clock=Clock(), cache_size=4)
    leave = payroll.for_audience("https://leave.hr.example")
    sent = [token(aud=audience) for audience in (AUDIENCE, "https://leave.hr.example", AUDIENCE)]
    payroll.verify_sync(sent[0])
    leave.verify_sync(sent[1])
    assert payroll.cached(sent[0])
    assert leave.cached(sent[1])
    assert leave.cached(sent[0]) is None
    assert payroll.cached(sent[1]) is None
    assert payroll.for_audience(AUDIENCE).cached(sent[0]), "the same policy in another verifier"
    for _ in range(4):
        leave.verify_sync(token(aud="https://leave.hr.example"))
    assert payroll.cached(sent[0]) is None
