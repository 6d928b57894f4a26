"""`introspection=`: the issuer confirms each token, and its answer is checked like claims."""

import asyncio
import contextlib
import threading
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from scopewright.verifier import (
    AnyIssuer,
    Introspection,
    KeysUnavailable,
    Reason,
    Token,
    TokenRejected,
    TokenVerifier,
    Verifier,
)
from tests.cases.attacks import Attack, Forge, attacks
from tests.harness.clock import Clock
from tests.unit.forked import LIMIT, in_child, wait_until
from tests.unit.verifier.support import (
    AUDIENCE,
    HOLDER,
    ISSUER,
    KEY,
    NOW,
    OTHER,
    URL,
    FakeIssuer,
    bound_token,
    claims,
    feed,
    proof,
    thumbprint,
    token,
)

OPAQUE = "2YotnFZFEjr1zCsicMWpAA"
LEAVE = "https://leave.hr.example"
READ = frozenset({"payroll.read"})


def description(**changes: Any) -> dict[str, Any]:
    """The answer about an active token. A member that is None is omitted."""
    good: dict[str, Any] = {
        "active": True,
        "iss": ISSUER,
        "aud": AUDIENCE,
        "sub": "leave.leave-worker",
        "client_id": "leave.leave-worker",
        "exp": int(NOW) + 600,
        "scope": "payroll.read",
        "token_type": "Bearer",
    }
    return {name: value for name, value in (good | changes).items() if value is not None}


class FakeIntrospector:
    """Answers with `answer`, or raises `error`. With `hold()` it waits until `release()`."""

    def __init__(self, **changes: Any) -> None:
        self.answer: Any = description(**changes)
        self.error: BaseException | None = None
        self.asked: list[str] = []
        self._released = threading.Event()
        self._released.set()

    def hold(self) -> None:
        self._released.clear()

    def release(self) -> None:
        self._released.set()

    def introspect_sync(self, token: str) -> Mapping[str, Any]:
        self.asked.append(token)
        assert self._released.wait(LIMIT)
        return self._result()

    async def introspect(self, token: str) -> Mapping[str, Any]:
        self.asked.append(token)
        while not self._released.is_set():  # noqa: ASYNC110  # of a test in another thread too
            await asyncio.sleep(0.001)
        return self._result()

    def _result(self) -> Mapping[str, Any]:
        if self.error is not None:
            raise self.error
        found: Mapping[str, Any] = self.answer
        return found


class Service:
    """A verifier that introspects, with everything it depends on."""

    def __init__(self, *, answer: Mapping[str, Any] | None = None, **options: Any) -> None:
        self.web = FakeIssuer(KEY)
        self.clock = Clock()
        self.introspector = FakeIntrospector(**(answer or {}))
        options = {"introspection": self.introspector} | options
        self.verifier = Verifier(ISSUER, AUDIENCE, http=self.web.client(), clock=self.clock, **options)

    def refusal(self, sent: str, **arguments: Any) -> Reason | None:
        try:
            self.verifier.verify_sync(sent, **arguments)
        except TokenRejected as refusal:
            return refusal.reason
        return None


Verify = Callable[[TokenVerifier, str], Token]


def verify_async(verifier: TokenVerifier, sent: str) -> Token:
    return asyncio.run(verifier.verify(sent))


@pytest.fixture(params=[verify_async, Verifier.verify_sync], ids=["verify", "verify_sync"])
def verify(request: pytest.FixtureRequest) -> Verify:
    found: Verify = request.param
    return found


# Which tokens are asked about


@pytest.mark.parametrize("sent", [token(), OPAQUE, "a.b", "a.b.c.d.e"])
def test_active_token_is_accepted_and_cached_for_seconds(verify: Verify, sent: str) -> None:
    service = Service()
    verified = verify(service.verifier, sent)
    assert (verified.client_id, verified.scopes, verified.value) == ("leave.leave-worker", READ, sent)
    service.clock.advance(seconds=4)
    assert service.verifier.cached(sent) is verified
    assert verify(service.verifier, sent) is verified
    assert service.introspector.asked == [sent]
    service.clock.advance(seconds=1.1)
    assert service.verifier.cached(sent) is None
    assert verify(service.verifier, sent) == verified
    assert service.introspector.asked == [sent, sent]


@pytest.mark.parametrize("sent", [token(), OPAQUE])
def test_token_that_is_not_active_is_refused_also_after_it_was_cached(verify: Verify, sent: str) -> None:
    service = Service()
    verify(service.verifier, sent)
    service.introspector.answer = {"active": False}
    service.clock.advance(seconds=6)
    for _ in range(2):
        with pytest.raises(TokenRejected) as caught:
            verify(service.verifier, sent)
        assert caught.value.reason is Reason.REVOKED
    assert service.verifier.cached(sent) is None
    assert len(service.introspector.asked) == 3, "a refusal is not cached"


@pytest.mark.parametrize(
    ("sent", "reason"),
    [
        (token(aud=LEAVE), Reason.AUDIENCE),
        (token(exp=int(NOW) - 100), Reason.EXPIRED),
        (token(iss="https://evil.example"), Reason.ISSUER),
        (token(OTHER, {"kid": "key-1"}), Reason.SIGNATURE),
        (token(OTHER), Reason.UNKNOWN_KEY),
        (token(header={"typ": "JWT"}), Reason.TYPE),
        ("a.b.c", Reason.MALFORMED),
        ("", Reason.MALFORMED),
        ("opaque token", Reason.MALFORMED),
        ("opäque", Reason.MALFORMED),
        ("x" * (16 * 1024 + 1), Reason.TOO_LARGE),
    ],
)
def test_token_that_is_refused_locally_is_not_asked_about(sent: str, reason: Reason) -> None:
    service = Service()
    assert service.refusal(sent) is reason
    assert service.introspector.asked == []


@pytest.mark.parametrize("attack", attacks(Forge(KEY, claims(), int(NOW))), ids=lambda attack: attack.name)
def test_every_attack_is_refused_even_if_the_issuer_would_confirm_it(attack: Attack) -> None:
    service = Service()
    if attack.token.count(".") == 2:
        assert service.refusal(attack.token) is attack.reason
        assert service.introspector.asked == []
    else:  # it cannot be a signed token: only the issuer knows
        service.introspector.answer = {"active": False}
        assert service.refusal(attack.token) in (Reason.REVOKED, Reason.MALFORMED, Reason.TOO_LARGE)


def test_opaque_token_without_introspection_is_malformed() -> None:
    assert Service(introspection=None).refusal(OPAQUE) is Reason.MALFORMED


def test_opaque_token_needs_no_keys() -> None:
    service = Service(revocations=True)
    service.web.unavailable = True
    assert service.refusal(OPAQUE) is None
    assert service.verifier.cached(OPAQUE)
    assert service.web.requests == []


def test_revocation_feed_still_applies_to_signed_tokens() -> None:
    service = Service(revocations=True)
    assert service.refusal(token()) is None
    service.web.feed = feed(everybody=int(NOW) + 1)
    service.clock.advance(seconds=11)
    assert service.refusal(token()) is Reason.REVOKED
    assert len(service.introspector.asked) == 1


# What the answer must say


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ({"iss": "https://evil.example"}, Reason.ISSUER),
        ({"iss": f"{ISSUER}/"}, Reason.ISSUER),
        ({"aud": LEAVE}, Reason.AUDIENCE),
        ({"aud": [LEAVE]}, Reason.AUDIENCE),
        ({"exp": int(NOW) - 100}, Reason.EXPIRED),
        ({"nbf": int(NOW) + 100}, Reason.NOT_YET_VALID),
        ({"iat": int(NOW) + 100}, Reason.NOT_YET_VALID),
        ({"cnf": {"x5t#S256": "a"}}, Reason.SENDER_CONSTRAINED),
        ({"token_type": "DPoP"}, Reason.SENDER_CONSTRAINED),
        ({"token_type": "mac"}, Reason.TYPE),
        ({"token_type": 5}, Reason.TYPE),
        ({"token_use": "refresh_token"}, Reason.TYPE),
    ],
)
@pytest.mark.parametrize("sent", [token(), OPAQUE])
def test_answer_about_a_token_that_is_not_for_this_api_refuses_it(
    sent: str, answer: dict[str, Any], reason: Reason
) -> None:
    assert Service(answer=answer).refusal(sent) is reason


@pytest.mark.parametrize("member", ["aud", "sub", "client_id", "exp"])
def test_opaque_token_needs_the_claims_of_a_signed_one(member: str) -> None:
    service = Service(answer={member: None})
    with pytest.raises(TokenRejected, match=f"has no claim {member};") as caught:
        service.verifier.verify_sync(OPAQUE)
    assert caught.value.reason is Reason.MISSING_CLAIM
    assert service.refusal(token()) is None, "a signed token has it"


@pytest.mark.parametrize(
    "answer",
    [
        {"active": "true"},
        {"active": 1},
        {"active": None},
        {"exp": "soon"},
        {"exp": True},
        {"sub": 7},
        {"sub": ""},
        {"client_id": ["a"]},
        {"scope": ["payroll.read"]},
        {"aud": 5},
        {"act": "worker"},
    ],
)
@pytest.mark.parametrize("sent", [token(), OPAQUE])
def test_malformed_answer_is_unavailable_with_the_reason(sent: str, answer: dict[str, Any]) -> None:
    with pytest.raises(KeysUnavailable, match="the answer of the issuer"):
        Service(answer=answer).refusal(sent)


@pytest.mark.parametrize(
    "answer",
    [{"sub": "somebody"}, {"client_id": "other"}, {"cnf": {"jkt": "other"}}, {"act": {"sub": "somebody"}}],
)
def test_answer_that_contradicts_the_signature_is_unavailable(answer: dict[str, Any]) -> None:
    with pytest.raises(KeysUnavailable, match="describes another token"):
        Service(answer=answer).refusal(token())


@pytest.mark.parametrize("answer", [None, [], "active", 5])
def test_answer_that_is_not_a_mapping_is_unavailable(answer: Any) -> None:
    service = Service()
    service.introspector.answer = answer
    with pytest.raises(KeysUnavailable, match="and not the members of an answer"):
        service.refusal(token())


def test_answer_can_only_reduce_what_a_signed_token_permits() -> None:
    sent = token(scope="payroll.read payroll.write", roles=["clerk", "manager"])
    service = Service(answer={"scope": "payroll.read payroll.admin", "roles": ["clerk", "admin"], "exp": int(NOW) + 2})
    verified = service.verifier.verify_sync(sent)
    assert (verified.scopes, verified.roles, verified.expires_at) == (READ, frozenset({"clerk"}), NOW + 2)
    service.clock.advance(seconds=3)
    assert service.verifier.cached(sent) is None, "an answer is not used beyond exp"
    service.introspector.answer = {"active": True, "exp": int(NOW) + 9000}
    verified = service.verifier.verify_sync(sent)
    assert (verified.scopes, verified.expires_at) == (READ | {"payroll.write"}, NOW + 600)


def test_opaque_token_has_the_members_of_the_answer() -> None:
    act = {"sub": "gateway.gateway", "client_id": "gateway.gateway"}
    verified = Service(answer={"roles": ["clerk"], "act": act, "username": "ann"}).verifier.verify_sync(OPAQUE)
    assert (verified.subject, verified.issuer, verified.audience) == ("leave.leave-worker", ISSUER, (AUDIENCE,))
    assert verified.roles == {"clerk"}
    assert verified.actor is not None
    assert verified.actor.client_id == "gateway.gateway"
    assert verified.claims["username"] == "ann"


def test_scopes_are_required_of_introspected_tokens() -> None:
    service = Service(scopes="payroll.read")
    assert service.refusal(OPAQUE, scopes="payroll.write") is Reason.SCOPE
    service.introspector.answer = description(scope=None)
    service.clock.advance(seconds=6)
    assert service.refusal(OPAQUE) is Reason.SCOPE


@pytest.mark.parametrize("signed", [True, False])
def test_bound_token_needs_a_proof(signed: bool) -> None:
    confirmation = {"token_type": "DPoP"} if signed else {"token_type": "DPoP", "cnf": {"jkt": thumbprint(HOLDER)}}
    service, sent = Service(answer=confirmation), bound_token() if signed else OPAQUE
    assert service.refusal(sent) is Reason.SENDER_CONSTRAINED
    assert service.refusal(sent, proof=proof(sent, HOLDER), method="GET", url=URL) is None
    assert service.refusal(sent, proof=proof(sent, OTHER), method="GET", url=URL) is Reason.PROOF_KEY
    assert service.verifier.cached(sent) is None


# The requests


class AnswerError(Exception):
    """As `TokenError` of the client."""

    def __init__(self, description: str, retry_after: float | None) -> None:
        self.description = description
        self.retry_after = retry_after
        super().__init__(description)


@pytest.mark.parametrize("sent", [token(), OPAQUE])
def test_failed_request_is_unavailable_with_its_reason(
    verify: Verify, sent: str, caplog: pytest.LogCaptureFixture
) -> None:
    service = Service()
    service.introspector.error = AnswerError("the issuer answered 401", 7.2)
    for _ in range(3):
        with pytest.raises(KeysUnavailable) as caught:
            verify(service.verifier, sent)
    assert (caught.value.reason, caught.value.retry_after) == ("the issuer answered 401", 8)
    assert "asked about the access token" in caught.value.description
    assert [record.getMessage() for record in caplog.records] == [
        "cannot introspect a token: the issuer answered 401"
    ], "once for an outage"


def test_answer_that_cannot_be_used_is_logged_once_for_an_outage(
    verify: Verify, caplog: pytest.LogCaptureFixture
) -> None:
    service = Service()
    good = service.introspector.answer
    for answer in ({"active": "true"}, {}, good, description(aud=7), {"active": False}, ["active"]):
        service.introspector.answer = answer
        with contextlib.suppress(KeysUnavailable, TokenRejected):
            verify(service.verifier, OPAQUE)
        service.clock.advance(seconds=6)
    assert [record.getMessage() for record in caplog.records] == [
        "cannot introspect a token: the answer of the issuer has no member `active` that is true or false",
        "cannot introspect a token: the answer of the issuer has a member of another type than RFC 7662 requires",
        "cannot introspect a token: introspect returned list, and not the members of an answer",
    ]


def test_inactive_token_with_a_valid_signature_is_a_warning_that_names_served_by(
    verify: Verify, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1000.0
    monkeypatch.setattr("scopewright.verifier.introspection_requests.time.monotonic", lambda: now)
    service = Service()
    active = service.introspector.answer
    for answer, seconds, warnings in (
        ({"active": False}, 0.0, 1),
        ({"active": False}, 10.0, 1),
        ({"active": False}, 301.0, 2),
        (active, 302.0, 2),
        ({"active": False}, 601.5, 2),
        ({"active": False}, 602.0, 3),
    ):
        now, service.introspector.answer = 1000.0 + seconds, answer
        with contextlib.suppress(TokenRejected):
            verify(service.verifier, token(jti=str(seconds)))
        assert len(caplog.records) == warnings
    assert "spec.servedBy of the ResourceServer" in caplog.text


def test_inactive_opaque_token_is_no_warning(verify: Verify, caplog: pytest.LogCaptureFixture) -> None:
    """Anyone can send one."""
    service = Service(answer={"active": False})
    with pytest.raises(TokenRejected):
        verify(service.verifier, OPAQUE)
    assert caplog.records == []


def test_text_of_an_unknown_exception_is_omitted(verify: Verify, caplog: pytest.LogCaptureFixture) -> None:
    service = Service()
    service.introspector.error = ZeroDivisionError(f"something secret: {OPAQUE}")
    with pytest.raises(KeysUnavailable) as caught:
        verify(service.verifier, OPAQUE)
    assert caught.value.reason == "ZeroDivisionError"
    assert OPAQUE not in caplog.text


@pytest.mark.parametrize("retry_after", [None, "soon", float("inf"), -1])
def test_odd_retry_after_of_an_error_is_bounded(retry_after: Any) -> None:
    service = Service()
    service.introspector.error = AnswerError("busy", retry_after)
    with pytest.raises(KeysUnavailable) as caught:
        service.refusal(OPAQUE)
    assert caught.value.retry_after in (1, 30)


async def test_tasks_with_one_token_share_a_request() -> None:
    service = Service()
    service.introspector.hold()
    tasks = [asyncio.create_task(service.verifier.verify(OPAQUE)) for _ in range(50)]
    await asyncio.sleep(0.01)
    tasks[0].cancel()
    service.introspector.release()
    found = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(each) for each in found] == [asyncio.CancelledError] + [Token] * 49
    assert service.introspector.asked == [OPAQUE]


def test_threads_with_one_token_share_a_request() -> None:
    service = Service()
    service.introspector.hold()
    found: list[Reason | None] = []
    threads = [threading.Thread(target=lambda: found.append(service.refusal(OPAQUE))) for _ in range(8)]
    for thread in threads:
        thread.start()
    wait_until(lambda: len(service.introspector.asked) == 1)
    service.introspector.release()
    for thread in threads:
        thread.join(LIMIT)
    assert found == [None] * 8
    assert service.introspector.asked == [OPAQUE]


async def test_number_of_requests_at_a_time_is_limited() -> None:
    introspector = FakeIntrospector()
    service = Service(introspection=Introspection(introspector, concurrency=2))
    introspector.hold()
    tasks = [asyncio.create_task(service.verifier.verify(f"{OPAQUE}{number}")) for number in range(5)]
    await asyncio.sleep(0.05)
    introspector.release()
    found = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(each) for each in found] == [Token, Token, KeysUnavailable, KeysUnavailable, KeysUnavailable]
    assert "2 requests for introspection are in progress" in str(found[2])
    assert (await service.verifier.verify(f"{OPAQUE}9")).value == f"{OPAQUE}9", "the limit is free again"


def test_request_that_ends_with_its_event_loop_does_not_block_others() -> None:
    service = Service()
    service.introspector.hold()

    async def begin(after: float) -> None:
        task = asyncio.create_task(service.verifier.verify(OPAQUE))
        await asyncio.sleep(after)
        assert not task.done()

    for after in (0, 0.01):
        asyncio.run(begin(after))
    service.introspector.release()
    assert verify_async(service.verifier, OPAQUE)


def test_request_without_an_end_is_abandoned(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scopewright.verifier.introspection_requests.MAX_WAIT_SECONDS", 0.05)
    service = Service(introspection=Introspection(introspector := FakeIntrospector(), concurrency=1))
    introspector.hold()
    first = threading.Thread(target=lambda: service.refusal(OPAQUE))
    first.start()
    wait_until(lambda: introspector.asked == [OPAQUE])
    with pytest.raises(KeysUnavailable, match="no answer within"):
        verify_async(service.verifier, OPAQUE)
    threading.Timer(0.05, introspector.release).start()
    assert service.refusal(f"{OPAQUE}2") is None, "the next caller makes another one"
    first.join(LIMIT)


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_forked_child_asks_for_itself() -> None:
    service = Service()
    service.introspector.hold()
    thread = threading.Thread(target=lambda: service.refusal(OPAQUE))
    thread.start()
    wait_until(lambda: service.introspector.asked == [OPAQUE])
    requests = service.verifier._introspection
    assert requests is not None

    def ask() -> str:
        service.introspector._released = threading.Event()
        service.introspector._released.set()
        return verify_async(service.verifier, OPAQUE).client_id + service.verifier.verify_sync(f"{OPAQUE}2").client_id

    with requests._lock:
        assert in_child(ask) == "leave.leave-worker" * 2
    service.introspector.release()
    thread.join(LIMIT)


# Options


def test_answers_need_not_be_cached() -> None:
    service = Service(introspection=Introspection(introspector := FakeIntrospector(), max_age=0))
    for _ in range(3):
        assert service.refusal(OPAQUE) is None
    assert len(introspector.asked) == 3


@pytest.mark.parametrize(
    "options",
    [{"max_age": -1}, {"max_age": 301}, {"max_age": float("nan")}, {"concurrency": 0}, {"concurrency": 10**6}],
)
def test_options_out_of_range_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(options))):
        Introspection(FakeIntrospector(), **options)


@pytest.mark.parametrize("argument", [True, "https://issuer.example/introspect", 5, object()])
def test_object_that_cannot_introspect_is_a_type_error(argument: Any) -> None:
    with pytest.raises(TypeError, match="introspection= takes ClientCredentials"):
        Verifier(ISSUER, AUDIENCE, introspection=argument)


def test_verifiers_of_several_audiences_share_the_requests_and_not_the_answers() -> None:
    service = Service(answer={"aud": [AUDIENCE, LEAVE]})
    leave = service.verifier.for_audience(LEAVE)
    assert service.refusal(OPAQUE) is None
    assert leave.cached(OPAQUE) is None
    assert leave.verify_sync(OPAQUE)
    assert leave._introspection is service.verifier._introspection


# Several issuers


def test_opaque_token_goes_to_the_one_verifier_that_introspects(verify: Verify) -> None:
    service = Service()
    other = Verifier("https://idp.example", AUDIENCE, http=FakeIssuer(OTHER).client(), clock=Clock())
    any_issuer = AnyIssuer(other, service.verifier)
    for _ in range(2):
        assert AnyIssuer.verify_sync(any_issuer, OPAQUE).issuer == ISSUER
    assert service.introspector.asked == [OPAQUE]


@pytest.mark.parametrize("introspecting", [0, 2])
def test_opaque_token_is_malformed_unless_one_verifier_introspects(introspecting: int) -> None:
    introspector = FakeIntrospector()
    options: dict[str, Any] = {"introspection": introspector} if introspecting else {}
    both = AnyIssuer(Verifier(ISSUER, AUDIENCE, **options), Verifier("https://idp.example", AUDIENCE, **options))
    with pytest.raises(TokenRejected) as caught:
        both.verify_sync(OPAQUE)
    assert caught.value.reason is Reason.MALFORMED
    assert introspector.asked == []
