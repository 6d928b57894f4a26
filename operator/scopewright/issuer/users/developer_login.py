"""The developer login of `scopewright dev`: the users of `DIR/users.yaml`, without passwords."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Final

import yaml
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, field_validator

from scopewright.core.users import subject_of
from scopewright.issuer.upstream.authenticated_user import AuthenticatedUser
from scopewright.issuer.users.login_policy import DEVELOPER
from scopewright.issuer.users.stored import Session
from scopewright.manifests.files import Signature, read_regular, signature

USERS_FILE: Final = "users.yaml"
MAX_USERS: Final = 1000
MAX_FILE: Final = 1 << 20
"""Bytes."""
_DOMAIN: Final = "static:developer"
_MAX_GROUPS: Final = 200
_MAX_GROUP: Final = 256

Name = Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f]+$")]
Group = Annotated[str, StringConstraints(min_length=1, max_length=_MAX_GROUP, pattern=r"^[^\x00-\x1f\x7f]+$")]

Email = Annotated[str, StringConstraints(max_length=254, pattern=r"^[^@\s\x00-\x1f]+@[^@\s\x00-\x1f]+$")]


class ListedUser(BaseModel):
    """A user of the file. `id` never changes: it decides the user's `sub`."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    id: Annotated[str, StringConstraints(max_length=64, pattern=r"^[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?$")]
    name: Name | None = None
    email: Email | None = None
    groups: Annotated[list[Group], Field(max_length=_MAX_GROUPS)] = Field(default_factory=list)

    @property
    def subject(self) -> str:
        return subject_of(_DOMAIN, self.id)

    def authenticated(self, auth_time: int) -> AuthenticatedUser:
        claims: dict[str, Any] = {"name": self.name or self.id, "preferred_username": self.id}
        if self.email:
            claims |= {"email": self.email, "email_verified": True}
        groups = tuple(dict.fromkeys(self.groups))
        return AuthenticatedUser(self.subject, DEVELOPER, DEVELOPER, groups, auth_time, claims)


class _UsersFile(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    users: Annotated[list[ListedUser], Field(min_length=1, max_length=MAX_USERS)]

    @field_validator("users")
    @classmethod
    def _unique(cls, users: list[ListedUser]) -> list[ListedUser]:
        seen: set[str] = set()
        for user in users:
            if user.id in seen:
                raise ValueError(f"two users have the id {user.id}")
            seen.add(user.id)
        return users


@dataclass(frozen=True, slots=True)
class DeveloperUsers:
    """The users by id, in the order of the file, or what is wrong with it."""

    users: Mapping[str, ListedUser] = field(default_factory=dict)
    problem: str = ""
    by_subject: Mapping[str, ListedUser] = field(default_factory=dict)


def parse_users(text: str) -> DeveloperUsers:
    """Parse the content of the file. The problem names the place and says what to do."""
    try:
        content = yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506  # it is safe
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark else ""
        return DeveloperUsers(problem=f"{USERS_FILE}{where}: not YAML; an example: {USERS_EXAMPLE}")
    try:
        users = _UsersFile.model_validate(content).users
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        return DeveloperUsers(
            problem=f"{USERS_FILE}: {_place(first['loc'])}{_message(first)}; an example: {USERS_EXAMPLE}"
        )
    return DeveloperUsers({user.id: user for user in users}, by_subject={user.subject: user for user in users})


_TOP_LEVEL_KIND: Final = re.compile(r"""^["']?(apiVersion|kind)["']?\s*:|^\s*\{\s*"apiVersion\"""", re.MULTILINE)
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
    """Reads the file again when it has changed. `report` is called with each new problem."""

    def __init__(self, file: Path, report: Callable[[str], None] = lambda problem: None) -> None:
        self._file = file
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
        users = _parsed(data)
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


def _parsed(data: bytes) -> DeveloperUsers:
    if len(data) > MAX_FILE:
        return DeveloperUsers(problem=f"{USERS_FILE} is larger than {MAX_FILE >> 20} MiB; list fewer users")
    try:
        return parse_users(data.decode("utf-8-sig"))
    except UnicodeDecodeError:
        return DeveloperUsers(problem=f"{USERS_FILE} is not UTF-8 text; save it as UTF-8")


def _place(location: tuple[int | str, ...]) -> str:
    """Return the place of an error, such as `users[0].id: `."""
    place = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location)
    return re.sub(r"[^\w.\[\]-]", "?", place.removeprefix("."))[:100] + ": " if place else ""


def _message(error: Mapping[str, Any]) -> str:
    if error["type"] == "extra_forbidden":
        return "unknown field; " + (
            "a user has id, name, email and groups" if error["loc"][1:] else "there is only users"
        )
    message = str(error["msg"]).removeprefix("Value error, ")
    return message[:1].lower() + message[1:]
