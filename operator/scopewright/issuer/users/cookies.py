"""Cookies of users' browsers (RFC 6265bis): their names, and how they are set."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

_SESSION: Final = "scopewright-session"
_ATTEMPT: Final = "scopewright-attempt-"
_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,64}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Cookies:
    """The cookies of one issuer. An issuer on plain http (loopback) sets them without prefix and `Secure`.

    `__Host-` keeps other hosts of the domain from setting them; it needs the path `/`.
    """

    prefix: str
    path: str
    secure: bool

    @classmethod
    def of(cls, issuer: str) -> "Cookies":
        url = urlsplit(issuer)
        path = url.path.rstrip("/") + "/"
        if url.scheme != "https":
            return cls("", path, False)
        return cls("__Host-" if path == "/" else "__Secure-", path, True)

    @property
    def session(self) -> str:
        return self.prefix + _SESSION

    def attempt(self, attempt: str) -> str:
        return self.prefix + _ATTEMPT + attempt

    def attempts(self, sent: Mapping[str, str]) -> dict[str, str]:
        """Return the values of the attempt cookies that the browser sent, by attempt."""
        prefix = self.prefix + _ATTEMPT
        named = ((name.removeprefix(prefix), value) for name, value in sent.items() if name.startswith(prefix))
        return {attempt: value for attempt, value in named if _ID.fullmatch(attempt)}

    def set(self, name: str, value: str, max_age: int | None = None) -> str:
        """Return the value of a Set-Cookie header. Without `max_age` (seconds) it ends with the browser."""
        age = "" if max_age is None else f"; Max-Age={max_age}"
        return f"{name}={value}; Path={self.path}{age}; HttpOnly; SameSite=Lax" + ("; Secure" if self.secure else "")

    def delete(self, name: str) -> str:
        return self.set(name, "", 0)
