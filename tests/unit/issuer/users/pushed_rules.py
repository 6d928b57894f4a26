"""Rules of pushed requests (RFC 9126) for `test_login_model`: browsers bring them, in tabs, late, twice, at once.

A request gives one answer at most, a code or an error; none to a browser that comes after 90 s; none to another client.
"""

import asyncio
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import httpx
from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, precondition, rule

from tests.harness.html_page import Page
from tests.harness.samples import ISSUER, SECRET
from tests.harness.transport import IssuerTransport
from tests.unit.issuer.users.browsers import COOKIE
from tests.unit.issuer.users.login_machine_state import LoginMachineState
from tests.unit.issuer.users.login_model import (
    ATTEMPT_SECONDS,
    CODE_SECONDS,
    PUSHED_SECONDS,
    ModelCode,
    ModelPushed,
    ModelSession,
    ModelTab,
)
from tests.unit.issuer.users.logins import CALLBACK, SCOPES, VERIFIER, s256

CONFIDENTIAL, PUBLIC = "leave.leave-worker", "leave.spa"
SECRETS = {CONFIDENTIAL: SECRET, PUBLIC: None}
CLIENTS = st.sampled_from([CONFIDENTIAL, PUBLIC])
WAITS = st.sampled_from([0, PUSHED_SECONDS - 1, PUSHED_SECONDS])
DECISIONS = st.lists(st.sampled_from(["allow", "deny"]), min_size=2, max_size=6)


class PushedRules(LoginMachineState):
    def __init__(self) -> None:
        super().__init__()
        self.pushed: list[ModelPushed] = []

    # Requests

    async def push(self, client_id: str, prompts: bool) -> httpx.Response:
        form = {
            "response_type": "code",
            "redirect_uri": CALLBACK,
            "scope": " ".join((*SCOPES, "payroll.read")),
            "code_challenge": s256(VERIFIER),
            "code_challenge_method": "S256",
            "nonce": "n-1",
            "prompt": "consent" if prompts else None,
        }
        return await self.logins.post({"client": client_id, **form}, SECRETS[client_id], "/par")

    async def bring(
        self, browser: httpx.AsyncClient, pushed: ModelPushed, *, client_id: str | None = None
    ) -> httpx.Response:
        """The last answer within the issuer, or the redirect to the client."""
        query = urlencode({"client_id": client_id or pushed.client_id, "request_uri": pushed.uri})
        answer = await browser.get(f"/authorize?{query}")
        while answer.headers.get("location", "").startswith(("/", ISSUER + "/")):
            answer = await browser.get(answer.headers["location"])
        return answer

    async def decide(self, tab: ModelTab, decision: str) -> httpx.Response:
        form = Page(tab.page).forms["consent"]
        button = form.buttons[decision]
        data = {**dict(form.fields), button.name: button.value}
        return await tab.browser.post(form.action, data=data, headers={"sec-fetch-site": "same-origin"})

    def browser_of(self, session: ModelSession) -> httpx.AsyncClient:
        browser = httpx.AsyncClient(
            transport=IssuerTransport(self.logins.harness.issuer), base_url=ISSUER, cookies={COOKIE: session.cookie}
        )
        self.runner.run(self.stack.enter_async_context(browser))
        return browser

    # Rules

    @initialize(data=st.data(), client_id=CLIENTS, seconds=WAITS, decisions=DECISIONS)
    def have_pushed_requests(self, data: st.DataObject, client_id: str, seconds: int, decisions: list[str]) -> None:
        """One with its answer, and one that waits in two tabs or had expired before."""
        self.decide_in_two_tabs_at_once(client_id, decisions)
        self.push_and_bring_a_request(client_id, True, seconds, 2)
        self.bring_a_request_of_another_client(data)

    @rule(client_id=CLIENTS, prompts=st.booleans())
    def push_a_request(self, client_id: str, prompts: bool) -> None:
        self.add_pushed(client_id, prompts)

    @precondition(lambda self: self.can_log_in())
    @rule(client_id=CLIENTS, prompts=st.booleans(), seconds=WAITS, tabs=st.integers(1, 2))
    def push_and_bring_a_request(self, client_id: str, prompts: bool, seconds: int, tabs: int) -> None:
        session, pushed = self.session(), self.add_pushed(client_id, prompts)
        self.clock.advance(seconds=seconds)
        self.bring_in_tabs(pushed, session, tabs)
        self.clock.advance(seconds=PUSHED_SECONDS - seconds)
        self.bring_in_tabs(pushed, session, 1)

    @precondition(lambda self: self.pushed and self.can_log_in())
    @rule(data=st.data(), tabs=st.integers(1, 2))
    def bring_a_request(self, data: st.DataObject, tabs: int) -> None:
        self.bring_in_tabs(self.drawn(data), self.session(), tabs)

    @precondition(lambda self: self.can_log_in())
    @rule(client_id=CLIENTS, prompts=st.booleans(), tabs=st.sampled_from([2, 20]))
    def bring_a_request_many_times_at_once(self, client_id: str, prompts: bool, tabs: int) -> None:
        session, pushed = self.session(), self.add_pushed(client_id, prompts)
        browser, expected = self.browser_of(session), self.answer_to(pushed, session)

        async def bring_all() -> list[httpx.Response]:
            return await asyncio.gather(*(self.bring(browser, pushed) for _ in range(tabs)))

        answers = self.runner.run(bring_all())
        if expected != "code":
            assert {kind_of(answer) for answer in answers} == {expected}
            return
        [given] = [answer for answer in answers if kind_of(answer) != "problem"]
        self.issued(pushed, session, given)

    @precondition(lambda self: self.pushed and self.can_log_in())
    @rule(data=st.data())
    def bring_a_request_of_another_client(self, data: st.DataObject) -> None:
        """It neither gives a code nor uses the request up."""
        pushed, session = self.drawn(data), self.session()
        other = CONFIDENTIAL if pushed.client_id == PUBLIC else PUBLIC
        answer = self.runner.run(self.bring(self.browser_of(session), pushed, client_id=other))
        assert kind_of(answer) == "problem"

    @precondition(lambda self: self.has_room())
    @rule(client_id=CLIENTS)
    def bring_a_request_and_lose_the_answer(self, client_id: str) -> None:
        """The code is stored, and nobody gets it: neither does anybody get another one."""
        session, pushed = self.begun("ada"), self.add_pushed(client_id, prompts=False)
        if self.answer_to(pushed, session) == "code":
            self.store.loses_answer = True
            assert self.runner.run(self.bring(self.browser_of(session), pushed)).status_code == 503
            pushed.used = True
            self.bring_in_tabs(pushed, session, 1)

    @precondition(lambda self: self.open_requests())
    @rule(data=st.data(), decision=st.sampled_from(["allow", "allow", "deny"]))
    def decide_in_a_tab(self, data: st.DataObject, decision: str) -> None:
        """After the 90 s too: the login has begun."""
        pushed = data.draw(st.sampled_from(self.open_requests()))
        tab = data.draw(st.sampled_from(pushed.tabs))
        answer = self.runner.run(self.decide(tab, decision))
        if pushed.used or not tab.can_decide(self.clock()):
            assert kind_of(answer) in ("problem", "login")
            return
        assert kind_of(answer) == ("code" if decision == "allow" else "error"), answer.text
        if decision == "allow":
            self.issued(pushed, tab.session, answer)
        pushed.used = True

    @precondition(lambda self: self.can_log_in())
    @rule(client_id=CLIENTS, decisions=DECISIONS)
    def decide_in_two_tabs_at_once(self, client_id: str, decisions: list[str]) -> None:
        session, pushed = self.session(), self.add_pushed(client_id, prompts=True)
        self.bring_in_tabs(pushed, session, 2)

        async def decide_all() -> list[httpx.Response]:
            each = (self.decide(pushed.tabs[number % 2], decision) for number, decision in enumerate(decisions))
            return await asyncio.gather(*each)

        answers = self.runner.run(decide_all())
        [given] = [answer for answer in answers if kind_of(answer) in ("code", "error")]
        if kind_of(given) == "code":
            self.issued(pushed, session, given)
        elif "allow" in decisions:  # the consent was stored, perhaps, before the request was used up by the refusal
            self.withdraw_consent(session.subject, client_id)
        pushed.used = True

    @precondition(lambda self: self.pushed)
    @rule(data=st.data(), client_id=CLIENTS)
    def push_and_decide_while_the_store_is_away(self, data: st.DataObject, client_id: str) -> None:
        """Nothing is used up."""
        browser = self.browser_of(data.draw(st.sampled_from(self.sessions)))
        self.store.is_away = True
        assert self.runner.run(self.push(client_id, prompts=False)).status_code == 503
        for pushed in self.pushed[-2:]:
            assert self.runner.run(self.bring(browser, pushed)).status_code == 503
            for tab in pushed.tabs[-1:]:
                assert kind_of(self.runner.run(self.decide(tab, "allow"))) in ("away", "problem")
        self.store.is_away = False

    # What is true after each step

    @invariant()
    def a_pushed_request_gives_one_code_at_most(self) -> None:
        assert all(pushed.codes <= 1 for pushed in self.pushed)

    # Helpers

    def drawn(self, data: st.DataObject) -> ModelPushed:
        """One of the last requests: earlier ones have expired."""
        return data.draw(st.sampled_from(self.pushed[-4:]))

    def add_pushed(self, client_id: str, prompts: bool) -> ModelPushed:
        answer = self.runner.run(self.push(client_id, prompts))
        assert answer.status_code == 201, answer.text
        pushed = ModelPushed(answer.json()["request_uri"], client_id, prompts, self.clock() + PUSHED_SECONDS)
        self.pushed.append(pushed)
        return pushed

    def bring_in_tabs(self, pushed: ModelPushed, session: ModelSession, tabs: int) -> None:
        """In one browser, one tab after the other. A client without the user's consent gets a consent page."""
        browser = self.browser_of(session)
        for _ in range(tabs):
            expected = self.answer_to(pushed, session)
            answer = self.runner.run(self.bring(browser, pushed))
            assert kind_of(answer) == expected, answer.text
            if expected == "code":
                self.issued(pushed, session, answer)
            elif expected == "consent":
                pushed.tabs.append(ModelTab(browser, answer, session, self.clock() + ATTEMPT_SECONDS))

    def open_requests(self) -> list[ModelPushed]:
        """Those without an answer first."""
        return sorted((pushed for pushed in self.pushed[-4:] if pushed.tabs), key=lambda pushed: pushed.used)

    def has_consented(self, session: ModelSession, pushed: ModelPushed) -> bool:
        return bool(self.consented.get((session.subject, pushed.client_id)))

    def answer_to(self, pushed: ModelPushed, session: ModelSession) -> str:
        """What a browser of the session gets that brings the request."""
        if not pushed.can_be_brought(self.clock()):
            return "problem"
        return "code" if self.has_consented(session, pushed) and not pushed.prompts else "consent"

    def issued(self, pushed: ModelPushed, session: ModelSession, answer: httpx.Response) -> None:
        """The client can redeem the code as any other one."""
        value = parameters_of(answer)["code"]
        pushed.used, pushed.codes = True, pushed.codes + 1
        self.consented.setdefault((session.subject, pushed.client_id), set()).update(SCOPES)
        self.codes.append(ModelCode(value, pushed.client_id, session, self.clock() + CODE_SECONDS, offline=False))


def kind_of(answer: httpx.Response) -> str:
    """`code` or `error` for the client, a page (`consent`, `problem`), a redirect to the `login`, or `away`."""
    location = answer.headers.get("location", "")
    if location.startswith(CALLBACK):
        return "code" if "code" in parameters_of(answer) else "error"
    if location:
        return "login"
    if answer.status_code == 503:
        return "away"
    return "consent" if "consent" in Page(answer).forms else "problem"


def parameters_of(answer: httpx.Response) -> dict[str, Any]:
    """Those of the redirect to the client."""
    assert answer.headers["location"].startswith(CALLBACK + "?")
    return {name: values[0] for name, values in parse_qs(urlsplit(answer.headers["location"]).query).items()}
