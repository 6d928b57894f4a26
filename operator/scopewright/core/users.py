"""Users: what decides about their access, and their subject (`sub`) at this issuer."""

import base64
import hashlib
import json
import re
from dataclasses import dataclass
from typing import Final

OPENID_SCOPES: Final = ("openid", "profile", "email", "phone", "address", "groups", "offline_access")
"""Scopes with a meaning of their own in requests of users (OpenID Connect Core §5.4 and §11). No API can grant one of
these names to a user."""

OFFLINE_ACCESS: Final = "offline_access"
"""The scope of refresh tokens that outlive the session of the browser (OpenID Connect Core §11)."""

_PLAIN_WORD: Final = re.compile(r"[A-Za-z0-9_.:@/+-]+")
_VERSION: Final = "scopewright-sub-v1"
_PREFIX: Final = "u-"
_LENGTH: Final = 26
"""Characters of lower-case base32: 130 bits of the SHA-256."""


@dataclass(frozen=True, slots=True)
class User:
    """A user: `subject` is unique and never changes, `groups` are those that the identity provider may assign."""

    subject: str
    groups: tuple[str, ...] = ()


def quoted_group(name: str) -> str:
    """Return the name of a group for a message.

    It is in quotes unless it is one plain word, so that no part of the name reads like a part of the message.
    """
    if _PLAIN_WORD.fullmatch(name):
        return name
    return "".join(c if c.isprintable() else f"\\u{ord(c):04x}" for c in json.dumps(name, ensure_ascii=False))


def subject_of(domain: str, upstream_subject: str) -> str:
    """Return the `sub` of a user, such as `u-` and 26 characters of base32.

    `domain` is the issuer of the identity provider, and `upstream_subject` the user's `sub` there. Neither the name nor
    the UID of the IdentityProvider enters: a restore changes no subject, and a new provider of the same name has other
    users. It has no dot, so it is never a client id. It is an identifier, not a pseudonym.
    """
    hashed = hashlib.sha256()
    for part in (_VERSION, domain, upstream_subject):
        encoded = part.encode()
        hashed.update(len(encoded).to_bytes(8, "big") + encoded)
    return _PREFIX + base64.b32encode(hashed.digest()).decode().lower()[:_LENGTH]
