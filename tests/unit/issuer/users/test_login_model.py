"""Random logins, redemptions, refreshes, logouts and failures of the store, compared with a model of their promises.

Nothing gives a token after an end; a code gives at most one family; concurrent refreshes of one token give one
successor and log nobody out; a stolen older generation ends the family; what is stored is listed, and can be ended.
Codes of pushed requests (`PushedRules`) are redeemed as the others are.
"""

import asyncio
import base64
from typing import Any

import httpx
import orjson
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, precondition, rule

from scopewright.core.records.client import RequestedAccess
from scopewright.core.revocation_keys import audience_key
from scopewright.core.user_revocations import user_token_has_ended
from scopewright.issuer.users.refresh_tokens import parse_refresh_token
from scopewright.issuer.users.user_record import family_handle, user_handle, user_of
from tests.unit.issuer.users.login_model import (
    CODE_SECONDS,
    ModelCode,
    ModelFamily,
    ModelSession,
)
from tests.unit.issuer.users.logins import SCOPES, user
from tests.unit.issuer.users.pushed_rules import CONFIDENTIAL, PUBLIC, SECRETS, PushedRules

READ_ACCESS = RequestedAccess("payroll/payroll-api", ("payroll.read",))
SHORT_STEPS = (1, 29, 31, 61, 299, 301)
LONG_STEPS = (3600, 5 * 3600)


class LoginMachine(PushedRules):
    # Requests

    async def redeem(self, code: ModelCode, **changes: Any) -> httpx.Response:
        return await self.logins.redeem(
            code.value, **{"client": code.client_id, "secret": SECRETS[code.client_id]} | changes
        )

    async def refresh(self, family: ModelFamily, generation: int) -> httpx.Response:
        token, client_id = family.tokens[generation], family.client_id
        return await self.logins.refresh(token, client=client_id, secret=SECRETS[client_id])

    def given(self, family: ModelFamily, response: httpx.Response, generation: int) -> None:
        """The application has got tokens of the family."""
        content = response.json()
        assert family.tokens.setdefault(generation, content["refresh_token"]) == content["refresh_token"]
        family.access.append(claims_of(content["access_token"]))

    # Rules

    @initialize()
    def have_families(self) -> None:
        """One of each kind, each with a login of its own."""
        for client_id in (PUBLIC, CONFIDENTIAL):
            for offline in (False, True):
                self.begin_anew(client_id, offline)

    @precondition(lambda self: self.has_room())
    @rule(client_id=st.sampled_from([PUBLIC, CONFIDENTIAL]), offline=st.booleans())
    def begin_anew(self, client_id: str, offline: bool) -> None:
        self.log_in("ada")
        self.add_code(self.sessions[-1], client_id, offline)
        self.begin_family(self.codes[-1], self.runner.run(self.redeem(self.codes[-1])))

    @precondition(lambda self: self.has_room())
    @rule(name=st.sampled_from(["ada", "grace"]))
    def log_in(self, name: str) -> None:
        self.begun(name)

    @precondition(lambda self: self.alive_sessions())
    @rule(data=st.data(), client_id=st.sampled_from([CONFIDENTIAL, PUBLIC]), offline=st.booleans())
    def issue_code(self, data: st.DataObject, client_id: str, offline: bool) -> None:
        self.add_code(data.draw(st.sampled_from(self.alive_sessions())), client_id, offline)

    @precondition(lambda self: self.codes)
    @rule(data=st.data())
    def redeem_a_code(self, data: st.DataObject) -> None:
        code = data.draw(st.sampled_from(self.codes))
        response = self.runner.run(self.redeem(code))
        if not self.can_redeem(code):
            assert_refused(response)
            self.replayed(code)
            return
        assert response.status_code == 200, response.text
        self.begin_family(code, response)

    @precondition(lambda self: self.codes)
    @rule(
        data=st.data(),
        wrong=st.sampled_from(
            [
                {"code_verifier": "w" * 43},
                {"code_verifier": None},
                {"redirect_uri": "https://evil.example"},
                {"client": PUBLIC},
            ]
        ),
    )
    def redeem_a_stolen_code(self, data: st.DataObject, wrong: dict[str, Any]) -> None:
        """It neither gives a token nor spoils the code, nor ends anything."""
        code = data.draw(st.sampled_from(self.codes))
        if wrong == {"client": PUBLIC}:
            other = CONFIDENTIAL if code.client_id == PUBLIC else PUBLIC
            wrong = {"client": other, "secret": SECRETS[other]}
        assert_refused(self.runner.run(self.redeem(code, **wrong)))

    @precondition(lambda self: self.codes)
    @rule(data=st.data())
    def redeem_a_code_many_times_at_once(self, data: st.DataObject) -> None:
        """One gets a family at most; the others prove as much, so that it ends at once."""
        code = data.draw(st.sampled_from(self.codes))

        async def redeem_all() -> list[httpx.Response]:
            return await asyncio.gather(*(self.redeem(code) for _ in range(5)))

        responses = self.runner.run(redeem_all())
        good = [response for response in responses if response.status_code == 200]
        assert len(good) == (1 if self.can_redeem(code) else 0), [r.text for r in responses]
        for response in responses:
            if response not in good:
                assert_refused(response)
        if good:
            self.begin_family(code, good[0])
        self.replayed(code)

    @precondition(lambda self: self.codes)
    @rule(data=st.data())
    def redeem_a_code_and_lose_the_answer(self, data: st.DataObject) -> None:
        code = data.draw(st.sampled_from(self.codes))
        if self.can_redeem(code):
            self.store.loses_answer = True
            assert self.runner.run(self.redeem(code)).status_code == 503
            code.used = True

    @precondition(lambda self: self.families)
    @rule(data=st.data())
    def refresh_a_token(self, data: st.DataObject) -> None:
        family = data.draw(st.sampled_from(self.families))
        self.present(family, data.draw(st.sampled_from(sorted(family.tokens, reverse=True))))

    @precondition(lambda self: self.rotating_families())
    @rule(data=st.data(), times=st.integers(1, 3))
    def refresh_in_turn(self, data: st.DataObject, times: int) -> None:
        family = data.draw(st.sampled_from(self.rotating_families()))
        for _ in range(times):
            self.present(family, max(family.tokens))

    @precondition(lambda self: self.rotating_families())
    @rule(data=st.data())
    def present_an_earlier_token(self, data: st.DataObject) -> None:
        """As a thief, or as an application that has lost the answer."""
        family = data.draw(st.sampled_from(self.rotating_families()))
        self.present(family, data.draw(st.sampled_from(sorted(family.tokens))))

    @precondition(lambda self: self.rotating_families())
    @rule(data=st.data())
    def refresh_and_lose_the_answer(self, data: st.DataObject) -> None:
        """The application retries with the token that it has."""
        family = data.draw(st.sampled_from(self.rotating_families()))
        generation = max(family.tokens)
        if generation == family.generation:
            self.store.loses_answer = True
            assert self.runner.run(self.refresh(family, generation)).status_code == 503
            family.used(generation, self.now)

    @precondition(lambda self: self.families)
    @rule(data=st.data(), tabs=st.sampled_from([2, 50]))
    def refresh_one_token_many_times_at_once(self, data: st.DataObject, tabs: int) -> None:
        family = data.draw(st.sampled_from(self.families))
        generation = max(family.tokens)
        expected = family.expected(generation, self.now)

        async def refresh_all() -> list[httpx.Response]:
            return await asyncio.gather(*(self.refresh(family, generation) for _ in range(tabs)))

        responses = self.runner.run(refresh_all())
        family.used(generation, self.now)
        if not expected:
            for response in responses:
                assert_refused(response)
            return
        assert {response.status_code for response in responses} == {200}
        for response in responses:
            self.given(family, response, expected)

    @precondition(lambda self: self.alive_sessions())
    @rule(data=st.data())
    def log_out(self, data: st.DataObject) -> None:
        session = data.draw(st.sampled_from(self.alive_sessions()))
        self.runner.run(self.user_sessions.end(session.sid))
        self.end_session(session)

    @precondition(lambda self: self.families)
    @rule(data=st.data())
    def log_out_during_refreshes(self, data: st.DataObject) -> None:
        family = data.draw(st.sampled_from(self.families))
        generation = max(family.tokens)

        async def both() -> list[httpx.Response]:
            ending = asyncio.ensure_future(self.user_sessions.end(family.session.sid))
            responses = await asyncio.gather(*(self.refresh(family, generation) for _ in range(5)))
            await ending
            return responses

        expected = family.expected(generation, self.now)
        given = [response for response in self.runner.run(both()) if response.status_code == 200]
        assert not given or expected
        if given or not expected:
            family.used(generation, self.now)
        for response in given:
            self.given(family, response, expected)
        if family.session.is_alive(self.now):
            self.end_session(family.session)

    @rule(name=st.sampled_from(["ada", "grace"]))
    def log_out_everywhere(self, name: str) -> None:
        subject = user(name).subject
        self.runner.run(self.user_sessions.end_user(subject))
        for session in self.sessions:
            if session.subject == subject and session.is_alive(self.now):
                self.end_session(session)
        for family in self.families:
            if family.session.subject == subject and family.is_alive(self.now):
                family.end()

    @rule(name=st.sampled_from(["ada", "grace"]), client_id=st.sampled_from([CONFIDENTIAL, PUBLIC]))
    def withdraw_a_consent(self, name: str, client_id: str) -> None:
        self.withdraw_consent(user(name).subject, client_id)

    @precondition(lambda self: self.families or self.codes)
    @rule(data=st.data())
    def ask_while_the_store_is_away(self, data: st.DataObject) -> None:
        self.store.is_away = True
        for code in self.codes[-2:]:
            assert self.runner.run(self.redeem(code)).status_code == 503
        for family in self.families[-2:]:
            assert self.runner.run(self.refresh(family, min(family.tokens))).status_code == 503
        self.store.is_away = False

    @rule(seconds=st.sampled_from(SHORT_STEPS))
    def let_time_pass(self, seconds: int) -> None:
        self.clock.advance(seconds=seconds)

    @rule(seconds=st.sampled_from(LONG_STEPS))
    def let_hours_pass(self, seconds: int) -> None:
        self.clock.advance(seconds=seconds)

    # What is true after each step

    @invariant()
    def cookies_are_those_of_sessions_that_have_not_ended(self) -> None:
        for session in self.sessions:
            found = self.runner.run(self.user_sessions.of_sid(session.sid))
            assert (found is not None) == session.is_alive(self.now)

    @invariant()
    def what_is_stored_is_listed(self) -> None:
        for name in ("ada", "grace"):
            record = self.runner.run(self.record_of(user(name).subject))
            alive = {s.sid for s in self.alive_sessions() if s.subject == user(name).subject}
            assert {listed.sid for listed in record.sessions} == alive
            families = [family for family in self.families if family.session.subject == user(name).subject]
            listed = {family.family for family in record.families}
            assert {family_id(family) for family in families if family.is_alive(self.now)} <= listed
            assert not {family_id(family) for family in families if family.ended} & listed

    @invariant()
    def families_that_have_ended_are_not_stored(self) -> None:
        ended = [family_handle(family_id(family)) for family in self.families if family.ended]
        if ended:
            assert not any(self.runner.run(self.logins.sealed.read(*ended)).values)

    @invariant()
    def tokens_end_with_their_session_or_family_and_not_otherwise(self) -> None:
        record = self.issuer.background.revocations.record
        for family in self.families:
            for claims in family.access:
                has_ended = user_token_has_ended(
                    record,
                    claims["jti"][:12],
                    claims["jti"],
                    audience_key(claims["aud"]),
                    claims["iat"],
                    claims["sid"],
                    claims["sub"],
                )
                if self.now < claims["exp"]:
                    assert has_ended == family.ended

    # Helpers

    def add_code(self, session: ModelSession, client_id: str, offline: bool) -> None:
        scopes = (*SCOPES, "offline_access") if offline else SCOPES
        stored = self.runner.run(self.user_sessions.of_sid(session.sid))
        assert stored is not None
        value = self.runner.run(self.logins.code(stored, scopes, (READ_ACCESS,), client_id=client_id))
        self.consented.setdefault((session.subject, client_id), set()).update(scopes)
        self.codes.append(ModelCode(value, client_id, session, self.now + CODE_SECONDS, offline))

    def present(self, family: ModelFamily, generation: int) -> None:
        expected = family.expected(generation, self.now)
        response = self.runner.run(self.refresh(family, generation))
        family.used(generation, self.now)
        if not expected:
            assert_refused(response)
            return
        assert response.status_code == 200, response.text
        self.given(family, response, expected)

    def rotating_families(self) -> list[ModelFamily]:
        return [family for family in self.families if family.rotates and family.is_alive(self.now)]

    def can_redeem(self, code: ModelCode) -> bool:
        consented = self.consented.get((code.session.subject, code.client_id), set())
        if not consented or (code.offline and "offline_access" not in consented):
            return False
        return not code.used and self.now < code.end_time and code.session.is_alive(self.now)

    def begin_family(self, code: ModelCode, response: httpx.Response) -> None:
        rotates = code.client_id == PUBLIC
        family = ModelFamily(code.client_id, code.session, code.offline, rotates, self.now, self.now, self.now)
        code.used, code.family = True, family
        self.families.append(family)
        self.given(family, response, 1)

    def replayed(self, code: ModelCode) -> None:
        """A second redemption of a code that is remembered has proven as much as the first one."""
        if code.used and code.family is not None:
            code.family.end()

    def end_session(self, session: ModelSession) -> None:
        session.ended = True
        for family in self.families:
            if family.session is session and not family.offline:
                family.end()

    async def record_of(self, subject: str) -> Any:
        read = await self.logins.sealed.read(user_handle(subject))
        return user_of(subject, read.values[0], read.now).record


def family_id(family: ModelFamily) -> str:
    token = parse_refresh_token(family.tokens[min(family.tokens)])
    assert token is not None
    return token.family_id


def claims_of(token: str) -> dict[str, Any]:
    payload = token.split(".")[1]
    claims: dict[str, Any] = orjson.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    return claims


def assert_refused(response: httpx.Response) -> None:
    assert (response.status_code, response.json()["error"]) == (400, "invalid_grant")


TestLogins = LoginMachine.TestCase
TestLogins.settings = settings(
    max_examples=12,
    stateful_step_count=30,
    deadline=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],  # shrinking takes longer than reading the steps
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
