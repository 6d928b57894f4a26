"""Credentials that are given as values: in arguments, or in environment variables."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Final

from scopewright.client.clock import Clock
from scopewright.client.credentials import MountedCredentials
from scopewright.client.errors import SecretError
from scopewright.client.files import FollowedFiles, Version, identity, read_entry
from scopewright.client.key import parse_private_key
from scopewright.client.service_account import require_audience

_CREDENTIALS: Final = ("client_secret", "private_key", "service_account_token")
_EVERY_SECONDS: Final = 1.0


@dataclass(frozen=True, slots=True)
class CredentialValues:
    """Empty values are None. `private_key` is a JWK, and `service_account_token` the file of a projected token."""

    client_id: str | None = None
    client_secret: str | None = field(default=None, repr=False)
    private_key: str | None = field(default=None, repr=False)
    service_account_token: str | os.PathLike[str] | None = None
    issuer: str | None = None
    token_endpoint: str | None = None

    def given(self, names: Mapping[str, str]) -> str:
        """The names of the values that are not None; an empty string if all are."""
        return " and ".join(names[each.name] for each in fields(self) if getattr(self, each.name) is not None)

    def source(self, names: Mapping[str, str], clock: Clock) -> "GivenCredentials":
        """`names` are those of the arguments or variables, for errors. Raises `SecretError` if the values cannot be
        used together, and TypeError for a value that is not text.
        """
        self._check_text(names)
        for required in ("client_id", "issuer"):
            if getattr(self, required) is None:
                raise SecretError(f"{names[required]} is missing; it is needed with {self.given(names)}")
        given = [names[each] for each in _CREDENTIALS if getattr(self, each) is not None]
        if len(given) != 1:
            problem = f"{' and '.join(given)} are given" if given else f"no credential for {names['client_id']}"
            raise SecretError(f"{problem}: give one of {', '.join(names[each] for each in _CREDENTIALS)}")
        if self.private_key is not None:
            parse_private_key(self.private_key, names["private_key"])
        credentials = MountedCredentials(
            str(self.client_id),
            str(self.issuer),
            self.token_endpoint,
            client_secret=self.client_secret,
            private_key=self.private_key,
        )
        return GivenCredentials(credentials, self.service_account_token, clock)

    def _check_text(self, names: Mapping[str, str]) -> None:
        for each in fields(self):
            value, name = getattr(self, each.name), names[each.name]
            if each.name == "service_account_token" and isinstance(value, os.PathLike):
                continue
            if value is not None and not isinstance(value, str):
                raise TypeError(f"{name} takes a string, not {type(value).__name__}")
            is_json = each.name == "private_key"  # may have line ends
            if value is not None and not is_json and not (value and value.isprintable()):
                raise SecretError(f"{name} is empty or holds control characters; put the value there, and nothing else")


class GivenCredentials:
    """The same credentials at all times. A `token_file` is read again after a change, because it expires."""

    def __init__(
        self, credentials: MountedCredentials, token_file: str | os.PathLike[str] | None, clock: Clock
    ) -> None:
        self._credentials = credentials
        self._followed = _followed(Path(token_file), credentials, clock) if token_file is not None else None

    def read(self, *, now: bool = False) -> MountedCredentials:
        return self._credentials if self._followed is None else self._followed.read(now=now)


def _followed(file: Path, credentials: MountedCredentials, clock: Clock) -> FollowedFiles[MountedCredentials]:
    def load(_: Version) -> MountedCredentials:
        token = read_entry(file)
        if token is None:
            raise SecretError(f"there is no ServiceAccount token at {file}; project a token for the issuer there")
        require_audience(token, credentials.issuer, file)
        return replace(credentials, service_account_token=token)

    return FollowedFiles(str(file), lambda: (identity(file),), load, _EVERY_SECONDS, clock)
