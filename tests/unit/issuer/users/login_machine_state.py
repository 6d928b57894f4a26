"""The issuer that `test_login_model` asks, and the sessions, codes, families and consents that its rules have made."""

import asyncio
from contextlib import AsyncExitStack
from unittest.mock import patch

from hypothesis.stateful import RuleBasedStateMachine

from scopewright.issuer import user_entries
from scopewright.issuer.users.user_record import MAX_SESSIONS
from tests.harness.clock import Clock
from tests.unit.issuer.users.login_model import SESSION_SECONDS, ModelCode, ModelFamily, ModelSession, UnreliableStore
from tests.unit.issuer.users.logins import public_client, running_logins, user


class LoginMachineState(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.stack = AsyncExitStack()
        self.sessions: list[ModelSession] = []
        self.codes: list[ModelCode] = []
        self.families: list[ModelFamily] = []
        self.consented: dict[tuple[str, str], set[str]] = {}
        """By user and client: the scopes of OpenID Connect."""
        self.runner.run(self.start())

    async def start(self) -> None:
        self.clock = Clock()
        # With more of them, other tokens of the user end too, which is a test of its own.
        self.stack.enter_context(patch.object(user_entries, "MAX_TOKENS_PER_USER", 10_000))
        self.store = UnreliableStore(self.clock)
        self.logins = await self.stack.enter_async_context(running_logins(store=self.store, clock=self.clock))
        await self.logins.put(public_client(name="spa", uid="uid-spa"))
        self.issuer = self.logins.harness.issuer
        self.user_sessions = self.logins.sessions_with_revocations()

    def teardown(self) -> None:
        self.runner.run(self.stack.aclose())
        self.runner.close()

    @property
    def now(self) -> float:
        return self.clock()

    def has_room(self) -> bool:
        """With more sessions the oldest one ends, which is a test of its own."""
        return len(self.alive_sessions()) < MAX_SESSIONS

    def alive_sessions(self) -> list[ModelSession]:
        return [session for session in self.sessions if session.is_alive(self.clock())]

    def begun(self, name: str) -> ModelSession:
        """A new login."""
        cookie, session = self.runner.run(self.user_sessions.begin(user(name)))
        self.sessions.append(ModelSession(session.sid, cookie, session.subject, self.clock() + SESSION_SECONDS))
        return self.sessions[-1]

    def logged_in(self) -> list[ModelSession]:
        return [session for session in self.sessions if session.logs_in(self.clock())]

    def can_log_in(self) -> bool:
        return bool(self.logged_in()) or self.has_room()

    def session(self) -> ModelSession:
        """One that logs the user in, a new one if there is none."""
        return (self.logged_in() or [self.begun("ada")])[-1]

    def withdraw_consent(self, subject: str, client_id: str) -> None:
        client = self.issuer.registry.clients.get(client_id)
        assert client is not None
        self.runner.run(self.logins.consents.withdraw(subject, client.uid_hash))
        self.consented.pop((subject, client_id), None)
        for family in self.families:
            if (family.session.subject, family.client_id) == (subject, client_id):
                family.end()
        self.clock.advance(seconds=1)  # a token of the same second ends too
