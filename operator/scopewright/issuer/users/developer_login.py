"""The developer login of `scopewright dev`: the users of `DIR/users.yaml`, without passwords."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from scopewright.core.failures import Rejected
from scopewright.core.providers.static_users import STATIC_USERS_TYPE
from scopewright.core.providers.user_file import MAX_FILE, USERS_FILE, UserEntry, UserFile, parse_user_file
from scopewright.core.users import subject_of
from scopewright.issuer.upstream.authenticated_user import AuthenticatedUser
from scopewright.issuer.users.login_policy import DEVELOPER
from scopewright.issuer.users.stored import Session
from scopewright.manifests.files import Signature, read_regular, signature

DEVELOPER_DOMAIN: Final = "static:developer"
"""First argument of `core.users.subject_of`."""


class ListedUser(UserEntry):
    """A user without a password."""

    @property
    def subject(self) -> str:
        return subject_of(DEVELOPER_DOMAIN, self.id)

    def authenticated(self, auth_time: int) -> AuthenticatedUser:
        groups = tuple(dict.fromkeys(self.groups))
        return AuthenticatedUser(self.subject, DEVELOPER, DEVELOPER, groups, auth_time, self.claims())


class _UsersFile(UserFile[ListedUser]):
    """`DIR/users.yaml`."""


@dataclass(frozen=True, slots=True)
class DeveloperUsers:
    """The users by id, in the order of the file, or what is wrong with it."""

    users: Mapping[str, ListedUser] = field(default_factory=dict)
    problem: str = ""
    by_subject: Mapping[str, ListedUser] = field(default_factory=dict)


def parse_users(data: bytes) -> DeveloperUsers:
    """Parse the content of the file. The problem names the place and says what to do."""
    try:
        users = parse_user_file(data, _UsersFile)
    except Rejected as invalid:
        hint = _OF_STATIC_USERS if b"passwordHash" in data else f"an example: {USERS_EXAMPLE}"
        return DeveloperUsers(problem=f"{invalid.message}; {hint}")
    return DeveloperUsers({user.id: user for user in users}, by_subject={user.subject: user for user in users})


_TOP_LEVEL_KIND: Final = re.compile(r"""^["']?(apiVersion|kind)["']?\s*:|^\s*\{\s*"apiVersion\"""", re.MULTILINE)
_OF_STATIC_USERS: Final = (
    f"users with passwords belong in a Secret of type {STATIC_USERS_TYPE}, which an IdentityProvider names"
)
USERS_EXAMPLE: Final = "users: [{id: ada, name: Ada Lovelace, email: ada@hr.example, groups: [hr-staff]}]"


def lists_users(file: Path) -> bool:
    """Whether the file is meant to list users. It may have manifests: its name was free before there were users."""
    try:
        text = read_regular(file, MAX_FILE + 1)[0].decode("utf-8-sig", "replace")
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return _TOP_LEVEL_KIND.search(text) is None


class DeveloperLogin:
    """Reads the file again when it has changed. `report` is called with each new problem.

    `is_offered` returns false while real identity providers are declared, in force or not.
    """

    def __init__(
        self,
        file: Path,
        report: Callable[[str], None] = lambda problem: None,
        is_offered: Callable[[], bool] = lambda: True,
    ) -> None:
        self._file = file
        self.is_offered: Final = is_offered
        self._report = report
        self._read: tuple[Signature, DeveloperUsers] | None = None

    def users(self) -> DeveloperUsers:
        try:
            current = signature(self._file.stat())
            if self._read is not None and self._read[0] == current:
                return self._read[1]
            data, read, stable = read_regular(self._file, MAX_FILE + 1)
        except OSError as error:
            return self._unreadable(f"{USERS_FILE} cannot be read: {error.strerror or type(error).__name__}")
        users = parse_users(data)
        if users.problem:
            self._report(users.problem)
        self._read = (read, users) if stable else None
        return users

    def current(self, session: Session) -> Session | None:
        """Return the session with the groups and claims that its user has in the file now; None if the user is not in
        it any more. A file with a mistake says nothing: the session stays as it was.
        """
        listed = self.users()
        if listed.problem or session.provider != DEVELOPER:
            return session
        user = listed.by_subject.get(session.subject)
        if user is None:
            return None
        now = user.authenticated(session.auth_time)
        return replace(session, groups=now.groups, claims=now.claims)

    def _unreadable(self, problem: str) -> DeveloperUsers:
        if self._read is None or self._read[1].problem != problem:
            self._report(problem)
        self._read = (), DeveloperUsers(problem=problem)
        return self._read[1]
