"""A verified access token."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from types import MappingProxyType
from typing import Any


@dataclass(frozen=True, slots=True)
class Actor:
    """Who acts for the subject of a token (RFC 8693 §4.1). `actor` is the one before it, if several act in a chain."""

    subject: str
    client_id: str | None = None
    actor: "Actor | None" = None


@dataclass(frozen=True, slots=True)
class Token:
    """A verified access token. Times are in seconds since 1970; `claims` are all signed claims (RFC 9068 §2.2).

    `value` is the token as it was sent, for a token exchange. The repr contains neither `value` nor `claims`.
    """

    subject: str
    client_id: str
    scopes: frozenset[str]
    issuer: str
    audience: tuple[str, ...]
    expires_at: float
    claims: Mapping[str, Any] = field(repr=False, hash=False)
    value: str = field(repr=False)
    jkt: str | None = None
    """The thumbprint of the key that the token is bound to, or None (RFC 9449 §6.1)."""
    roles: frozenset[str] = frozenset()
    """Roles at this API (RFC 9068 §2.2.3.1), or none."""
    actor: Actor | None = None
    """The client that uses the token on behalf of `subject`, or None if the subject itself does (RFC 8693 §4.1)."""
    sid: str | None = None
    """The session of the user who logged in, or None: the token of a client."""

    def __reduce__(self) -> tuple[Any, ...]:
        """For pickle and `copy.deepcopy`, which know no read-only mappings."""
        values = {each.name: getattr(self, each.name) for each in fields(self)}
        return _restored, (values | {"claims": dict(self.claims)},)


def _restored(values: dict[str, Any]) -> Token:
    return Token(**values | {"claims": MappingProxyType(values["claims"])})
