"""`RunningCheck`: a question to an OpenID provider on its way, which the requests of one process wait for together."""

import asyncio
from dataclasses import dataclass, field

from scopewright.issuer.state.providers import Provider
from scopewright.issuer.upstream.login import LoginRefused
from scopewright.issuer.users.stored import CheckProblem, UpstreamLogin


class NotConfirmed(Exception):
    """The provider has not answered, or another process asks it."""


class BeingChecked(NotConfirmed):
    """Another process asks."""


@dataclass(slots=True, eq=False)
class RunningCheck:
    """`answer` is None if the session is over. It may be there before it is stored. The first one counts."""

    sid: str
    login_sid: str
    provider: Provider
    answer: "asyncio.Future[UpstreamLogin | None]"
    task: "asyncio.Task[None] | None" = field(default=None)

    def settle(self, login: UpstreamLogin | None) -> None:
        if not self.answer.done():
            self.answer.set_result(login)

    def fail(self, failure: Exception) -> None:
        if not self.answer.done():
            self.answer.set_exception(failure)
            self.answer.exception()  # retrieved: the request that began it may have stopped waiting


def paused(problem: CheckProblem) -> Exception:
    """Return the error for a request in the pause after a question that failed with `problem`; empty: the question is
    running."""
    if problem == "too_many_groups":
        return LoginRefused("too_many_groups", "the provider sends more groups than allowed; narrow groups.allow")
    return NotConfirmed() if problem else BeingChecked()
