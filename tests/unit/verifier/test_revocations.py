"""The revocation feed: which tokens it ends, how often it is fetched, and an outage of it."""

import asyncio
import math
import time
from typing import Any

import pytest

from scopewright.core.records.written_by_issuers import RevocationRecord
from scopewright.core.revocation_keys import (
    audience_key,
    namespace_key,
    namespaces_of,
    session_key,
    token_key,
    user_key,
)
from scopewright.core.revocations import has_ended
from scopewright.core.user_revocations import user_token_has_ended
from scopewright.verifier import KeysUnavailable, Reason, RevocationFeed, TokenRejected, Verifier
from scopewright.verifier.revoked import Revoked
from tests.harness.clock import Clock
from tests.unit.verifier.support import AUDIENCE, ISSUER, KEY, NOW, FakeIssuer, feed, reason_of, token, verifier_of

CLIENT, OTHER_CLIENT = "client-hash1", "client-hash2"
JTI = f"{CLIENT}of-one-grantrandom"
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


def polling(web: FakeIssuer, clock: Clock, revocations: bool | RevocationFeed = True) -> Verifier:
    return Verifier(ISSUER, AUDIENCE, http=web.async_client(), clock=clock, revocations=revocations)


async def later(seconds: float, clock: Clock, verifier: Verifier, sent: str) -> Reason | None:
    """A request after these seconds, and another when a fetch that it may have started is done."""
    clock.advance(seconds=seconds)
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
ENDING_THE_SUBJECT: dict[str, dict[str, Any]] = {
    "the subject token": {"tokens": {OTHER_CLIENT: {token_key(CHAIN["jti"]): ISSUED + 600}}},
    "the subject": {"clients": {OTHER_CLIENT: ISSUED - 10}},
    "the subject's access there": {"access": {OTHER_CLIENT: {audience_key(CHAIN["aud"]): ISSUED - 10}}},
    "the subject's access here": {"access": {OTHER_CLIENT: {audience_key(AUDIENCE): ISSUED}}},
    "the subject's namespace": {"namespaces": {namespace_key("staff"): ISSUED - 10}},
    "the other audience": {"audiences": {audience_key(CHAIN["aud"]): ISSUED - 10}},
    "the subject token's key": {"kids": ["key-0"]},
}
SID, SUBJECT, OTHER_SUBJECT = "sid-1", "u-ada", "u-eve"
ENDING_FOR_USERS: dict[str, dict[str, Any]] = {
    "the session": {"sessions": [session_key(SID)]},
    "the user": {"users": {user_key(SUBJECT): ISSUED}},
    "users' access here": {"userAccess": {audience_key(AUDIENCE): ISSUED}},
    "the client's users": {"userClients": {CLIENT: ISSUED}},
    "the token of the user": {"userTokens": {CLIENT: {token_key(JTI): ISSUED}}},
    "the tokens of its code": {"userTokens": {CLIENT: {token_key(JTI[:24]): 1}}},
    "the client's consent": {"userTokens": {CLIENT: {user_key(SUBJECT): ISSUED}}},
    "every user": {"everyUser": ISSUED},
}
ENDING_THE_USERS_FIRST_TOKEN: dict[str, dict[str, Any]] = {
    "the user before the exchange": {"users": {user_key(SUBJECT): ISSUED - 10}},
    "users' access there": {"userAccess": {audience_key(CHAIN["aud"]): ISSUED - 10}},
    "the first client's users": {"userClients": {OTHER_CLIENT: ISSUED - 10}},
    "the first token": {"userTokens": {OTHER_CLIENT: {token_key(CHAIN["jti"]): ISSUED}}},
    "the consent of the first client": {"userTokens": {OTHER_CLIENT: {user_key(SUBJECT): ISSUED - 10}}},
    "every user before the exchange": {"everyUser": ISSUED - 10},
}
NOT_ENDING_FOR_USERS: dict[str, dict[str, Any]] = {
    "another session": {"sessions": [session_key("sid-2")]},
    "another user": {"users": {user_key(OTHER_SUBJECT): ISSUED}},
    "an earlier not-before of the user": {"users": {user_key(SUBJECT): ISSUED - 1}},
    "users' access elsewhere": {"userAccess": {audience_key("https://elsewhere.example"): ISSUED}},
    "another client's users": {"userClients": {OTHER_CLIENT: ISSUED}},
    "another token of a user": {"userTokens": {CLIENT: {token_key("x"): ISSUED}, OTHER_CLIENT: {token_key(JTI): 1}}},
    "an earlier consent": {"userTokens": {CLIENT: {user_key(SUBJECT): ISSUED - 1}}},
    "another user's consent": {"userTokens": {CLIENT: {user_key(OTHER_SUBJECT): ISSUED}}},
    "earlier tokens of every user": {"everyUser": ISSUED - 1},
}
NOT_ENDING: dict[str, dict[str, Any]] = {
    "another token": {"tokens": {CLIENT: {token_key("x"): ISSUED + 600}, OTHER_CLIENT: {token_key(JTI): ISSUED}}},
    "an earlier not-before": {"clients": {CLIENT: ISSUED - 1}},
    "access elsewhere": {"access": {CLIENT: {audience_key("https://elsewhere.example"): ISSUED}}},
    "another namespace": {"namespaces": {namespace_key("elsewhere"): ISSUED}},
    "another audience": {"audiences": {audience_key("https://elsewhere.example"): ISSUED}},
    "another key": {"kids": ["key-0"]},
    "an unknown member": {"more": {"x": 1}},
}


@pytest.mark.parametrize("changes", ENDING.values(), ids=ENDING)
async def test_token_in_the_feed_is_refused(changes: dict[str, Any]) -> None:
    web, clock = FakeIssuer(KEY), Clock()
    verifier = polling(web, clock)
    sent = token(jti=JTI)
    assert await reason_of(verifier, sent) is None
    web.feed = feed(**changes)
    assert await later(5, clock, verifier, sent) is Reason.REVOKED
    assert await reason_of(verifier, sent) is Reason.REVOKED, "and is not cached"


@pytest.mark.parametrize("changes", (ENDING | ENDING_THE_SUBJECT).values(), ids=ENDING | ENDING_THE_SUBJECT)
async def test_exchanged_token_is_refused_if_its_subject_token_is_in_the_feed(changes: dict[str, Any]) -> None:
    web = FakeIssuer(KEY)
    web.feed = feed(**changes)
    assert await reason_of(polling(web, Clock()), token(jti=JTI, scopewright_chain=[CHAIN])) is Reason.REVOKED


@pytest.mark.parametrize("changes", NOT_ENDING.values(), ids=NOT_ENDING)
async def test_token_that_is_not_in_the_feed_is_accepted(changes: dict[str, Any]) -> None:
    web = FakeIssuer(KEY)
    web.feed = feed(**changes)
    assert await reason_of(polling(web, Clock()), token(jti=JTI)) is None


def user_token(**claims: Any) -> str:
    return token(jti=JTI, sub=SUBJECT, sid=SID, **claims)


@pytest.mark.parametrize("changes", (ENDING | ENDING_FOR_USERS).values(), ids=ENDING | ENDING_FOR_USERS)
async def test_token_of_a_user_in_the_feed_is_refused(changes: dict[str, Any]) -> None:
    web, clock = FakeIssuer(KEY), Clock()
    verifier = polling(web, clock)
    assert await reason_of(verifier, user_token()) is None
    web.feed = feed(**changes)
    assert await later(5, clock, verifier, user_token()) is Reason.REVOKED


EXCHANGED_FOR_USERS = ENDING_THE_SUBJECT | ENDING_FOR_USERS | ENDING_THE_USERS_FIRST_TOKEN


@pytest.mark.parametrize("changes", EXCHANGED_FOR_USERS.values(), ids=EXCHANGED_FOR_USERS)
async def test_exchanged_token_of_a_user_is_refused_with_any_token_of_its_chain(changes: dict[str, Any]) -> None:
    web = FakeIssuer(KEY)
    web.feed = feed(**changes)
    assert await reason_of(polling(web, Clock()), user_token(scopewright_chain=[CHAIN])) is Reason.REVOKED


@pytest.mark.parametrize("changes", NOT_ENDING_FOR_USERS.values(), ids=NOT_ENDING_FOR_USERS)
async def test_token_of_a_user_that_is_not_in_the_feed_is_accepted(changes: dict[str, Any]) -> None:
    web = FakeIssuer(KEY)
    web.feed = feed(**changes)
    assert await reason_of(polling(web, Clock()), user_token()) is None


async def test_no_member_for_users_ends_a_token_of_a_client() -> None:
    """Even if its subject, client and `jti` are those of the members."""
    web = FakeIssuer(KEY)
    web.feed = feed(**{name: member for changes in ENDING_FOR_USERS.values() for name, member in changes.items()})
    sent = token(jti=JTI, sub=SUBJECT, scopewright_chain=[CHAIN])
    assert await reason_of(polling(web, Clock()), sent) is None


@pytest.mark.parametrize(
    "content",
    [{"sessions": {"a": 1}}, {"sessions": [1]}, {"users": {"a": "1"}}, {"userTokens": [1]}, {"everyUser": "1"}],
)
async def test_malformed_member_for_users_is_unavailable(content: dict[str, Any]) -> None:
    web = FakeIssuer(KEY)
    web.feed = feed(**content)
    with pytest.raises(KeysUnavailable):
        await polling(web, Clock()).verify(user_token())


def test_issuer_and_verifier_decide_alike_what_has_ended_for_users() -> None:
    names = {"userAccess": "user_access", "userClients": "user_clients", "userTokens": "user_tokens"}
    names |= {"everyUser": "every_user"}
    for changes in (ENDING_FOR_USERS | NOT_ENDING_FOR_USERS).values():
        members = {names.get(name, name): member for name, member in changes.items()}
        if "sessions" in members:
            of_session = dict.fromkeys(members["sessions"], ISSUED)
            members["sessions"] = {user_key(user): of_session for user in (SUBJECT, OTHER_SUBJECT)}
        record = RevocationRecord(**members)
        revoked = Revoked.parse(feed(**changes), ISSUER)
        for audience, subject in ((AUDIENCE, SUBJECT), ("https://elsewhere.example", OTHER_SUBJECT)):
            claims = {"jti": JTI, "aud": audience, "iat": ISSUED, "client_id": CLIENT_ID, "sub": subject, "sid": SID}
            expected = user_token_has_ended(record, CLIENT, JTI, audience_key(audience), ISSUED, SID, subject)
            assert revoked.has_ended(claims, "key-1") == expected


def test_issuer_and_verifier_decide_alike_what_has_ended() -> None:
    """The issuer decides at introspection, the verifier by the feed."""
    for changes in (ENDING | NOT_ENDING).values():
        record = RevocationRecord(**{k: v for k, v in changes.items() if k not in ("kids", "more")})
        revoked = Revoked.parse(feed(**changes), ISSUER)
        for audience in (AUDIENCE, "https://api.elsewhere.svc"):
            claims = {"jti": JTI, "aud": audience, "iat": ISSUED, "client_id": CLIENT_ID}
            expected = has_ended(
                record, CLIENT, JTI, audience_key(audience), ISSUED, namespaces_of(CLIENT_ID, audience)
            )
            if "kids" not in changes:
                assert revoked.has_ended(claims, "key-1") == expected


async def test_verifier_does_not_poll_the_feed_by_default() -> None:
    web = FakeIssuer(KEY)
    web.feed = feed(everybody=ISSUED)
    assert await reason_of(verifier_of(web, Clock()), token(jti=JTI)) is None
    assert web.polls() == 0


async def test_feed_is_polled_every_five_seconds_in_the_background() -> None:
    web, clock = FakeIssuer(KEY), Clock()
    verifier = polling(web, clock)
    sent = token(jti=JTI)
    for _ in range(21):
        assert await reason_of(verifier, sent) is None
        await asyncio.sleep(0.001)
        clock.advance(seconds=1)
    assert web.polls() == 5
    assert [
        r.headers.get("if-none-match") is not None for r in web.requests if r.url.path.endswith("/revocations")
    ] == [
        False,
        *[True] * 4,
    ]


async def test_stale_feed_is_fetched_before_use_after_a_pause() -> None:
    web, clock = FakeIssuer(KEY), Clock()
    verifier = polling(web, clock)
    sent = token(jti=JTI, exp=ISSUED + 90_000)
    assert await reason_of(verifier, sent) is None
    web.feed = feed(clients={CLIENT: ISSUED})
    clock.advance(seconds=20)
    assert await reason_of(verifier, sent) is Reason.REVOKED


async def test_cached_token_is_not_verified_again_when_the_feed_changes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    web, clock = FakeIssuer(KEY), Clock()
    verifier = polling(web, clock)
    sent = token(jti=JTI)
    found = await verifier.verify(sent)
    monkeypatch.setattr("scopewright.verifier.verifier.check_with_key", lambda *_: pytest.fail("verified again"))
    web.feed = feed(clients={OTHER_CLIENT: ISSUED})
    assert await later(5, clock, verifier, sent) is None
    assert verifier.cached(sent) is found


async def test_tokens_are_accepted_without_the_feed_until_the_outage_limit() -> None:
    web, clock = FakeIssuer(KEY), Clock()
    verifier = polling(web, clock, RevocationFeed(outage=60))
    sent, revoked = token(jti=JTI), token(jti=f"{OTHER_CLIENT}random")
    web.feed = feed(clients={OTHER_CLIENT: ISSUED})
    assert await reason_of(verifier, sent) is None
    web.unavailable = True
    for _ in range(11):
        assert await later(5, clock, verifier, sent) is None
        assert await reason_of(verifier, revoked) is Reason.REVOKED
    clock.advance(seconds=5)
    with pytest.raises(KeysUnavailable) as caught:
        await verifier.verify(sent)
    assert 1 <= caught.value.retry_after <= 5
    assert verifier.cached(sent) is None
    web.unavailable = False
    assert await later(5, clock, verifier, sent) is None


async def test_outage_limit_may_be_infinite() -> None:
    web, clock = FakeIssuer(KEY), Clock()
    verifier = polling(web, clock, RevocationFeed(outage=math.inf))
    sent = token(jti=JTI, exp=ISSUED + 90_000)
    assert await reason_of(verifier, sent) is None
    web.unavailable = True
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
async def test_malformed_feed_is_unavailable(content: dict[str, Any]) -> None:
    web = FakeIssuer(KEY)
    web.feed = feed(**content)
    with pytest.raises(KeysUnavailable):
        await polling(web, Clock()).verify(token(jti=JTI))


async def test_last_valid_feed_is_kept_if_a_later_one_is_malformed() -> None:
    web, clock = FakeIssuer(KEY), Clock()
    verifier = polling(web, clock)
    web.feed = feed(clients={CLIENT: ISSUED})
    assert await reason_of(verifier, token(jti=JTI)) is Reason.REVOKED
    web.feed = {}
    assert await later(5, clock, verifier, token(jti=JTI)) is Reason.REVOKED


async def test_issuer_without_a_feed_is_unavailable() -> None:
    web = FakeIssuer(KEY)
    del web.metadata["scopewright_revocation_feed_uri"]
    with pytest.raises(KeysUnavailable):
        await polling(web, Clock()).verify(token(jti=JTI))
    explicit = RevocationFeed("https://issuer.example/tenant/revocations")
    assert await polling(web, Clock(), explicit).verify(token(jti=JTI))


def test_verify_sync_polls_the_feed() -> None:
    web, clock = FakeIssuer(KEY), Clock()
    verifier = Verifier(ISSUER, AUDIENCE, http=web.client(), clock=clock, revocations=True)
    sent = token(jti=JTI)
    assert verifier.verify_sync(sent)
    web.feed = feed(clients={CLIENT: ISSUED})
    clock.advance(seconds=5)

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
def test_feed_settings_out_of_range_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"every|outage"):
        RevocationFeed(**changes)


def test_argument_in_the_error_allows_a_feed_over_plain_http() -> None:
    explicit = RevocationFeed("http://issuer.sso.svc/revocations")
    with pytest.raises(ValueError, match=r'pass allow_http=\("issuer\.sso\.svc",\)'):
        Verifier(ISSUER, AUDIENCE, revocations=explicit)
    assert Verifier(ISSUER, AUDIENCE, revocations=explicit, allow_http=("issuer.sso.svc",))
