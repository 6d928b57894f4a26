"""Static users: the entry `users.yaml` of the Secret that `spec.static.usersRef` names, and `users.json` of the record.

A Secret of this kind is for a first login, demonstrations and emergencies. It is not a directory.
"""

import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Annotated, Final

from pydantic import AfterValidator, ConfigDict, Field, StringConstraints, ValidationError
from pydantic.alias_generators import to_camel

from scopewright.core.failures import Rejected
from scopewright.core.providers.password_hash import parse_password_hash
from scopewright.core.providers.user_file import USERS_FILE, Name, UserEntry, UserFile, parse_user_file

STATIC_USERS_TYPE: Final = "scopewright.dev/static-users"
MAX_RECORD_ENTRY: Final = 896 * 1024
"""Bytes of `users.json`: a Secret has at most 1 MiB, and the record is beside it."""
MAX_KNOWN: Final = 4
"""Contents of Secrets whose users are kept, with what is wrong in them."""


def _checked_hash(text: str) -> str:
    parse_password_hash(text)
    return text


def name_key(username: str) -> str:
    """Return what all spellings of a user name have in common, whatever their case, outer spaces and compatible
    characters are.
    """
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", username).casefold()).strip()


class StaticUser(UserEntry):
    """A user with the hash of the password."""

    model_config = ConfigDict(alias_generator=to_camel, hide_input_in_errors=True)

    username: Name | None = None
    """What the user types to log in. It may change, other than `id`. Defaults to `id`."""
    password_hash: Annotated[str, StringConstraints(max_length=256), AfterValidator(_checked_hash)] = Field(repr=False)
    """Argon2id, in the PHC string format."""

    @property
    def login_name(self) -> str:
        return self.username or self.id

    @property
    def login_key(self) -> str:
        """`name_key` of the name to log in."""
        return name_key(self.login_name)

    def unique(self) -> Mapping[str, str]:
        return {"id": self.id, "username": self.login_key}


class _StaticUserFile(UserFile[StaticUser]):
    """As in the Secret and in the record."""


@dataclass(frozen=True, slots=True)
class RecordedUsers:
    """The users of one Secret, as their record needs them."""

    encoded: bytes = field(repr=False)
    """See `encode_static_users`."""
    groups: tuple[str, ...]
    """The different ones, in order."""


def recorded_users(data: bytes) -> RecordedUsers:
    """As `parse_static_users`, once for each content: one of 1 MiB takes most of a second, in which nothing else runs,
    and is read again at each resync.
    """
    outcome = _recorded(data)
    if isinstance(outcome, Rejected):
        raise Rejected(outcome.reason, outcome.message)
    return outcome


@lru_cache(MAX_KNOWN)
def _recorded(data: bytes) -> RecordedUsers | Rejected:
    try:
        users = parse_static_users(data)
    except Rejected as invalid:
        return Rejected(invalid.reason, invalid.message)
    return RecordedUsers(encode_static_users(users), tuple(sorted({group for user in users for group in user.groups})))


def parse_static_users(data: bytes) -> tuple[StaticUser, ...]:
    """Return the users of the entry `users.yaml`, by id. Raises `Rejected` with UsersInvalid, which quotes no value."""
    users = tuple(sorted(parse_user_file(data, _StaticUserFile), key=lambda user: user.id))
    if (size := len(encode_static_users(users))) > MAX_RECORD_ENTRY:
        message = (
            f"{USERS_FILE}: the users take {size} bytes as JSON, at most {MAX_RECORD_ENTRY}; list fewer users or groups"
        )
        raise Rejected("UsersInvalid", message)
    return users


def encode_static_users(users: Iterable[StaticUser]) -> bytes:
    """Return the users for the record: the same bytes for the same users."""
    content = _StaticUserFile.model_construct(users=list(users))
    return content.model_dump_json(by_alias=True, exclude_defaults=True).encode()


def decode_static_users(data: bytes) -> tuple[StaticUser, ...]:
    """Return the users of the record. Raises `Rejected` with MalformedRecord, which quotes no value."""
    try:
        return tuple(_StaticUserFile.model_validate_json(data, extra="ignore").users)
    except ValidationError:
        raise Rejected("MalformedRecord", "not a list of static users") from None
