"""Asks OpenID providers whether the users of sessions still exist, and for their groups and claims.

A question is due when the last answer is older than the provider's `check_interval`. At most one is on its way for a
login, in all processes that share the store: the request that asks writes `pause_until` first, and only then sends the
provider's refresh token, which the provider may rotate. Requests that come meanwhile use the login's stored groups.
The request waits CHECK_SECONDS at most. The question goes on, because its answer may have the only valid refresh token,
and it is stored as soon as the store takes it.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import replace
from itertools import chain, repeat
from typing import Final

from scopewright.core.failures import Unavailable
from scopewright.issuer.observability.user_events import CheckResult, EndReason
from scopewright.issuer.state.providers import Provider
from scopewright.issuer.upstream.authenticated_user import AuthenticatedUser, UpstreamTokens
from scopewright.issuer.upstream.login import (
    CHECK_SECONDS,
    CheckFailed,
    LoginEnded,
    LoginRefused,
    LoginUnconfirmable,
    UpstreamLogins,
)
from scopewright.issuer.users.compare_and_set import retry_lost, save_or_lose
from scopewright.issuer.users.running_check import BeingChecked, NotConfirmed, RunningCheck, paused
from scopewright.issuer.users.sessions import live_session, save_session
from scopewright.issuer.users.stored import CheckProblem, Session, UpstreamLogin
from scopewright.issuer.users.upstream_logins import (
    VersionedLogin,
    confirmed_login,
    is_recent,
    login_of,
    read_login,
    with_login,
)
from scopewright.issuer.users.user_record import login_handle, read_user, session_handle
from scopewright.stores.sessions.sealed import SealedSessions
from scopewright.upstream import UpstreamFailed

log: Final = logging.getLogger(__name__)

ASK_SECONDS: Final = 20.0
"""After it, the question counts as not answered."""
LEASE_SECONDS: Final = 30
"""For this long no other process asks: longer than a question takes, by clocks that differ a little."""
RETRY_SECONDS: Final = 15
"""The pause for a login after a question without an answer."""
MAX_CHECKS_PER_PROVIDER: Final = 32
"""Questions at once in a process. Above it, the stored groups count, as if the provider did not answer."""
SAVE_SECONDS: Final = 600.0
"""How long an answer is kept in memory while the store takes no writes."""
CLOSE_SECONDS: Final = 5.0
_POLL_SECONDS: Final = 0.1
_SAVE_PAUSES_SECONDS: Final = (0.1, 0.5, 1.0, 2.0, 5.0)

EndSession = Callable[[str, str, EndReason], Awaitable[None]]
"""Ends a session, given by `sid` and `sub`."""


class UpstreamChecks:
    """Of one process. `logins` is its client of providers, `end` ends a session, `count` counts the questions."""

    def __init__(
        self,
        store: SealedSessions,
        logins: UpstreamLogins,
        end: EndSession,
        count: Callable[[CheckResult], None] = lambda result: None,
    ) -> None:
        self._store = store
        self._logins = logins
        self._end = end
        self._count = count
        self._checks: dict[str, RunningCheck] = {}
        """By `sid`."""
        self._of_provider = Counter[str]()
        """By UID of the provider."""

    async def check(self, session: Session, provider: Provider, now: float) -> Session | None:
        """Return the session as its provider has last confirmed it; None if it is over.

        Without an answer it is as its login is stored: another session of the login may have asked since this one did.
        Raises `LoginRefused` and, while the store is away, `Unavailable`.
        """
        if not session.login or is_recent(session.checked_time, provider.record.check_interval, now):
            return session
        last = await read_login(self._store, session.login)
        if last is None:
            return None
        session = with_login(session, last.login)
        is_usable = is_recent(session.checked_time, provider.record.check_max_age, now)
        with suppress(NotConfirmed, TimeoutError):
            async with asyncio.timeout(CHECK_SECONDS):
                login = await self._confirmed(session, provider, wait=not is_usable)
                return with_login(session, login) if login is not None else None
        return session

    async def close(self) -> None:
        """Wait a while for answers that are not stored yet."""
        tasks = [check.task for check in self._checks.values() if check.task is not None]
        if tasks:
            _, pending = await asyncio.wait(tasks, timeout=CLOSE_SECONDS)
            for task in pending:
                task.cancel()
            await asyncio.gather(*pending, return_exceptions=True)

    async def _confirmed(self, session: Session, provider: Provider, *, wait: bool) -> UpstreamLogin | None:
        """`wait`: for the answer to another process too."""
        while True:
            try:
                answer = self._joined(session, provider).answer
                await asyncio.wait((answer,))  # others wait for it too: a timeout must not cancel it
                return answer.result()
            except BeingChecked:
                if not wait:
                    raise
            await asyncio.sleep(_POLL_SECONDS)

    def _joined(self, session: Session, provider: Provider) -> RunningCheck:
        """The check of the session that is on its way, or a new one."""
        check = self._checks.get(session.sid)
        if check is None:
            if self._of_provider[provider.uid] >= MAX_CHECKS_PER_PROVIDER:
                self._count("not_asked")
                raise NotConfirmed
            answer = asyncio.get_running_loop().create_future()
            check = self._checks[session.sid] = RunningCheck(session.sid, session.login, provider, answer)
            self._of_provider[provider.uid] += 1
            check.task = asyncio.create_task(self._run(check), name="upstream check")
        return check

    async def _run(self, check: RunningCheck) -> None:
        try:
            await self._ask_and_store(check)
        except (NotConfirmed, LoginRefused, Unavailable) as failure:
            check.fail(failure)
        except Exception:
            log.exception("a question to the provider %s failed", check.provider.name)
        finally:
            check.fail(NotConfirmed())
            del self._checks[check.sid]
            self._of_provider[check.provider.uid] -= 1
            self._of_provider += Counter()  # without zeros

    async def _ask_and_store(self, check: RunningCheck) -> None:
        asked = await retry_lost(lambda: self._reserve(check))
        if asked is None:
            return
        try:
            user = await self._ask(check.provider, asked.login)
        except LoginEnded:
            await self._end_login(check, asked.login, "provider")
        except LoginRefused as refused:
            self._count("refused")
            check.fail(refused)
            await self._pause(check, asked, "too_many_groups", refused.tokens)
        except (UpstreamFailed, TimeoutError) as failure:
            is_usable = is_recent(asked.login.checked_time, check.provider.record.check_max_age, asked.now)
            if isinstance(failure, LoginUnconfirmable) and not is_usable:
                await self._end_login(check, asked.login, "not_confirmed")
                return
            self._count("no_answer")
            check.fail(NotConfirmed())
            await self._pause(check, asked, "no_answer", failure.tokens if isinstance(failure, CheckFailed) else None)
        else:
            self._count("confirmed")
            login = confirmed_login(asked.login, user, asked.now)
            await self._until_stored(check, lambda: self._save(check, asked.login, user, asked.now), login)

    async def _ask(self, provider: Provider, login: UpstreamLogin) -> AuthenticatedUser:
        async with asyncio.timeout(ASK_SECONDS):
            user = await self._logins.confirm(provider, login.subject, login.tokens)
        if user.subject != login.subject:
            raise LoginEnded
        return user

    # Before the question

    async def _reserve(self, check: RunningCheck) -> VersionedLogin | None:
        """The login to ask about, which no other process asks about now; None if the answer is known already."""
        session, found, version = await self._read(check)
        if session is None or found is None:
            check.settle(None)
            return None
        login, now = found.login, found.now
        await self._copy(session, login, version, now)
        if is_recent(login.checked_time, check.provider.record.check_interval, now):
            check.settle(login)
            return None
        if 0 < login.pause_until - now <= 2 * LEASE_SECONDS:  # beyond it, the clock was set back
            raise paused(login.problem)
        reserved = replace(login, pause_until=int(now) + LEASE_SECONDS, problem="")
        try:
            await save_or_lose(self._store, found.save(reserved))
        except Unavailable:  # such as a full store: the refresh token that follows could not be stored either
            raise NotConfirmed from None
        return VersionedLogin(found.version + 1, reserved, now)

    async def _copy(self, session: Session, login: UpstreamLogin, version: int, now: float) -> None:
        """Another session of the login has asked."""
        if login.checked_time != session.checked_time:
            with suppress(Unavailable):
                await save_or_lose(self._store, save_session(with_login(session, login), version, now))

    # After it

    async def _until_stored(
        self,
        check: RunningCheck,
        store: Callable[[], Awaitable[UpstreamLogin | None]],
        known: UpstreamLogin | None = None,
    ) -> None:
        """Repeat `store` while the store takes no writes. Requests get `known` meanwhile; None: the session is over."""
        try:
            async with asyncio.timeout(SAVE_SECONDS):
                for pause in chain(_SAVE_PAUSES_SECONDS, repeat(_SAVE_PAUSES_SECONDS[-1])):
                    try:
                        return check.settle(await retry_lost(store))
                    except Unavailable:
                        check.settle(known)
                    await asyncio.sleep(pause)
        except TimeoutError:
            log.warning("the answer of the provider %s could not be stored", check.provider.name)

    async def _save(
        self, check: RunningCheck, asked: UpstreamLogin, user: AuthenticatedUser, now: float
    ) -> UpstreamLogin | None:
        """Store the answer in the login and in the session. A logout meanwhile is not undone."""
        session, found, version = await self._read(check)
        if found is None:
            return None
        if found.login.checked_time != asked.checked_time:
            return found.login
        login = confirmed_login(found.login, user, now)
        sessions = [save_session(with_login(session, login), version, found.now)] if session is not None else []
        await save_or_lose(self._store, found.save(login), *sessions)
        return login if session is not None else None

    async def _end_login(self, check: RunningCheck, asked: UpstreamLogin, reason: EndReason) -> None:
        self._count("ended")
        await self._until_stored(check, lambda: self._over(check, asked, reason))

    async def _over(self, check: RunningCheck, asked: UpstreamLogin, reason: EndReason) -> UpstreamLogin | None:
        """End all sessions of the login, unless another process got another answer in the meantime."""
        _, found, _ = await self._read(check)
        if found is not None and found.login.checked_time != asked.checked_time:
            return found.login
        user = await read_user(self._store, asked.subject)
        for sid in {check.sid, *user.record.sids_of_login(check.login_sid)}:
            await self._end(sid, asked.subject, reason)
        return None

    async def _pause(
        self, check: RunningCheck, asked: VersionedLogin, problem: CheckProblem, tokens: UpstreamTokens | None
    ) -> None:
        """The provider may have rotated the refresh token before it failed: `tokens` are the ones to use then.

        Without the write, the pause is that of the question.
        """

        async def attempt() -> None:
            _, found, _ = await self._read(check)
            if found is not None and found.login.checked_time == asked.login.checked_time:
                until, kept = int(found.now) + RETRY_SECONDS, tokens or found.login.tokens
                login = replace(found.login, pause_until=until, problem=problem, tokens=kept)
                await save_or_lose(self._store, found.save(login))

        if tokens is not None:
            await self._until_stored(check, attempt)
            return
        with suppress(Unavailable):
            await retry_lost(attempt)

    async def _read(self, check: RunningCheck) -> tuple[Session | None, VersionedLogin | None, int]:
        """The session, its login, and the version of the session."""
        read = await self._store.read(session_handle(check.sid), login_handle(check.login_sid))
        opened, login = read.values
        return live_session(opened, read.now), login_of(login, read.now), opened.version if opened else 0
