"""The revocation feed: what it ends, how often it is asked for, and what is done without it."""

import asyncio
import math
import time
from typing import Any

import pytest

from scopewright.core.records.written_by_issuers import RevocationRecord
from scopewright.core.revocations import audience_key, has_ended, namespace_key, namespaces_of, token_key
from scopewright.verifier import KeysUnavailable, Reason, RevocationFeed, TokenRejected, Verifier
from scopewright.verifier.revoked import Revoked
from tests.unit.verifier.support import AUDIENCE, ISSUER, KEY, NOW, Clock, Web, feed, reason_of, token, verifier_of

CLIENT, OTHER_CLIENT = "client-hash1", "client-hash2"
JTI = f"{CLIENT}random"
CLIENT_ID = "leave.leave-worker"
ISSUED = int(NOW)
CHAIN: dict[str, Any] = {
    "jti": f"{OTHER_CLIENT}origin",
    "client_id": "staff.hr-desk",
    "aud": "https://leave.hr.example",
    "scope": "leave.read",
    "iat": ISSUED - 10,
    "kid": "key-0",
}


def polling(web: Web, clock: Clock, revocations: bool | RevocationFeed = True) -> Verifier:
    return Verifier(ISSUER, AUDIENCE, http=web.async_client(), clock=clock, revocations=revocations)


async def later(seconds: float, clock: Clock, verifier: Verifier, sent: str) -> Reason | None:
    """A request after so many seconds, and another when what it may have caused is done."""
    clock.now += seconds
    await reason_of(verifier, sent)
    await asyncio.sleep(0.01)
    return await reason_of(verifier, sent)


ENDING: dict[str, dict[str, Any]] = {
    "the token": {"tokens": {CLIENT: {token_key(JTI): ISSUED + 600}}},
    "its client": {"clients": {CLIENT: ISSUED}},
    "the client's access here": {"access": {CLIENT: {audience_key(AUDIENCE): ISSUED}}},
    "this audience": {"audiences": {audience_key(AUDIENCE): ISSUED}},
    "its client's namespace": {"namespaces": {namespace_key(CLIENT_ID.partition(".")[0]): ISSUED}},
    "everybody": {"everybody": ISSUED},
    "its key": {"kids": ["key-1"]},
}
OF_THE_ORIGIN: dict[str, dict[str, Any]] = {
    "the subject token": {"tokens": {OTHER_CLIENT: {token_key(CHAIN["jti"]): ISSUED + 600}}},
    "the subject": {"clients": {OTHER_CLIENT: ISSUED - 10}},
    "the subject's access there": {"access": {OTHER_CLIENT: {audience_key(CHAIN["aud"]): ISSUED - 10}}},
    "the subject's access here": {"access": {OTHER_CLIENT: {audience_key(AUDIENCE): ISSUED}}},
    "the subject's namespace": {"namespaces": {namespace_key("staff"): ISSUED - 10}},
    "the other audience": {"audiences": {audience_key(CHAIN["aud"]): ISSUED - 10}},
    "the subject token's key": {"kids": ["key-0"]},
}
NOT_ENDING: dict[str, dict[str, Any]] = {
    "another token": {"tokens": {CLIENT: {token_key("x"): ISSUED + 600}, OTHER_CLIENT: {token_key(JTI): ISSUED}}},
    "an earlier not-before": {"clients": {CLIENT: ISSUED - 1}},
    "access elsewhere": {"access": {CLIENT: {audience_key("https://elsewhere.example"): ISSUED}}},
    "another namespace": {"namespaces": {namespace_key("elsewhere"): ISSUED}},
    "another audience": {"audiences": {audience_key("https://elsewhere.example"): ISSUED}},
    "another key": {"kids": ["key-0"]},
    "what nobody knows yet": {"more": {"x": 1}},
}


@pytest.mark.parametrize("changes", ENDING.values(), ids=ENDING)
async def test_what_the_feed_names_is_refused(changes: dict[str, Any]) -> None:
    web, clock = Web(KEY), Clock()
    verifier = polling(web, clock)
    sent = token(jti=JTI)
    assert await reason_of(verifier, sent) is None
    web.feed = feed(**changes)
    assert await later(5, clock, verifier, sent) is Reason.REVOKED
    assert await reason_of(verifier, sent) is Reason.REVOKED, "and is not remembered as good"


@pytest.mark.parametrize("changes", (ENDING | OF_THE_ORIGIN).values(), ids=ENDING | OF_THE_ORIGIN)
async def test_an_exchanged_token_ends_with_what_it_came_from(changes: dict[str, Any]) -> None:
    web = Web(KEY)
    web.feed = feed(**changes)
    assert await reason_of(polling(web, Clock()), token(jti=JTI, scopewright_chain=[CHAIN])) is Reason.REVOKED


@pytest.mark.parametrize("changes", NOT_ENDING.values(), ids=NOT_ENDING)
async def test_what_the_feed_does_not_name_goes_on(changes: dict[str, Any]) -> None:
    web = Web(KEY)
    web.feed = feed(**changes)
    assert await reason_of(polling(web, Clock()), token(jti=JTI)) is None


def test_both_sides_mean_the_same_by_what_they_write() -> None:
    """The issuer's answer at introspection, and the verifier's by the feed."""
    for changes in (ENDING | NOT_ENDING).values():
        record = RevocationRecord(**{k: v for k, v in changes.items() if k not in ("kids", "more")})
        theirs = Revoked.parse(feed(**changes), ISSUER)
        for audience in (AUDIENCE, "https://api.elsewhere.svc"):
            claims = {"jti": JTI, "aud": audience, "iat": ISSUED, "client_id": CLIENT_ID}
            ours = has_ended(record, CLIENT, JTI, audience_key(audience), ISSUED, namespaces_of(CLIENT_ID, audience))
            if "kids" not in changes:
                assert theirs.has_ended(claims, "key-1") == ours


async def test_without_being_asked_no_verifier_polls() -> None:
    web = Web(KEY)
    web.feed = feed(everybody=ISSUED)
    assert await reason_of(verifier_of(web, Clock()), token(jti=JTI)) is None
    assert web.polls() == 0


async def test_it_is_polled_every_few_seconds_and_beside_the_requests() -> None:
    web, clock = Web(KEY), Clock()
    verifier = polling(web, clock)
    sent = token(jti=JTI)
    for _ in range(21):
        assert await reason_of(verifier, sent) is None
        await asyncio.sleep(0.001)
        clock.now += 1
    assert web.polls() == 5
    assert [r.headers.get("if-none-match") is not None for r in web.asked if r.url.path.endswith("/revocations")] == [
        False,
        *[True] * 4,
    ]


async def test_after_an_idle_night_it_is_asked_for_first() -> None:
    web, clock = Web(KEY), Clock()
    verifier = polling(web, clock)
    sent = token(jti=JTI, exp=ISSUED + 90_000)
    assert await reason_of(verifier, sent) is None
    web.feed = feed(clients={CLIENT: ISSUED})
    clock.now += 20
    assert await reason_of(verifier, sent) is Reason.REVOKED


async def test_a_token_seen_before_is_still_known_by_its_signature_when_the_feed_changes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    web, clock = Web(KEY), Clock()
    verifier = polling(web, clock)
    sent = token(jti=JTI)
    found = await verifier.verify(sent)
    monkeypatch.setattr("scopewright.verifier.verifier.check_with_key", lambda *_: pytest.fail("verified again"))
    web.feed = feed(clients={OTHER_CLIENT: ISSUED})
    assert await later(5, clock, verifier, sent) is None
    assert verifier.cached(sent) is found


async def test_it_goes_on_for_a_while_without_the_feed_and_then_no_more() -> None:
    web, clock = Web(KEY), Clock()
    verifier = polling(web, clock, RevocationFeed(outage=60))
    sent, revoked = token(jti=JTI), token(jti=f"{OTHER_CLIENT}random")
    web.feed = feed(clients={OTHER_CLIENT: ISSUED})
    assert await reason_of(verifier, sent) is None
    web.away = True
    for _ in range(11):
        assert await later(5, clock, verifier, sent) is None
        assert await reason_of(verifier, revoked) is Reason.REVOKED
    clock.now += 5
    with pytest.raises(KeysUnavailable) as caught:
        await verifier.verify(sent)
    assert 1 <= caught.value.retry_after <= 5
    assert verifier.cached(sent) is None
    web.away = False
    assert await later(5, clock, verifier, sent) is None


async def test_it_can_be_told_to_go_on_for_ever() -> None:
    web, clock = Web(KEY), Clock()
    verifier = polling(web, clock, RevocationFeed(outage=math.inf))
    sent = token(jti=JTI, exp=ISSUED + 90_000)
    assert await reason_of(verifier, sent) is None
    web.away = True
    assert await later(80_000, clock, verifier, sent) is None


@pytest.mark.parametrize(
    "content",
    [
        {"issuer": "https://other.example"},
        {"tokens": []},
        {"tokens": {"a": 1}},
        {"clients": {"a": "1"}},
        {"everybody": True},
        {"kids": "key-1"},
        {"kids": [1]},
    ],
)
async def test_without_any_feed_nothing_is_said_of_a_token(content: dict[str, Any]) -> None:
    web = Web(KEY)
    web.feed = feed(**content)
    with pytest.raises(KeysUnavailable):
        await polling(web, Clock()).verify(token(jti=JTI))


async def test_a_feed_that_breaks_later_leaves_the_last_good_one() -> None:
    web, clock = Web(KEY), Clock()
    verifier = polling(web, clock)
    web.feed = feed(clients={CLIENT: ISSUED})
    assert await reason_of(verifier, token(jti=JTI)) is Reason.REVOKED
    web.feed = {}
    assert await later(5, clock, verifier, token(jti=JTI)) is Reason.REVOKED


async def test_an_issuer_without_a_feed_is_told_from_one_that_revokes_nothing() -> None:
    web = Web(KEY)
    del web.metadata["scopewright_revocation_feed_uri"]
    with pytest.raises(KeysUnavailable):
        await polling(web, Clock()).verify(token(jti=JTI))
    given = RevocationFeed("https://issuer.example/tenant/revocations")
    assert await polling(web, Clock(), given).verify(token(jti=JTI))


def test_threads_poll_too() -> None:
    web, clock = Web(KEY), Clock()
    verifier = Verifier(ISSUER, AUDIENCE, http=web.client(), clock=clock, revocations=True)
    sent = token(jti=JTI)
    assert verifier.verify_sync(sent)
    web.feed = feed(clients={CLIENT: ISSUED})
    clock.now += 5

    def reason() -> Reason | None:
        try:
            verifier.verify_sync(sent)
        except TokenRejected as refusal:
            return refusal.reason
        return None

    deadline = time.monotonic() + 5
    while reason() is not Reason.REVOKED:
        assert time.monotonic() < deadline
    assert web.polls() == 2


@pytest.mark.parametrize("changes", [{"every": 0.5}, {"every": 301}, {"outage": 1}])
def test_settings_that_make_no_sense_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"every|outage"):
        RevocationFeed(**changes)


def test_a_feed_over_plain_http_is_allowed_by_the_argument_that_the_error_prints() -> None:
    given = RevocationFeed("http://issuer.sso.svc/revocations")
    with pytest.raises(ValueError, match=r'pass allow_http=\("issuer\.sso\.svc",\)'):
        Verifier(ISSUER, AUDIENCE, revocations=given)
    assert Verifier(ISSUER, AUDIENCE, revocations=given, allow_http=("issuer.sso.svc",))
