"""Identity headers: what a proxy passes to the service about the caller, in place of what the caller sent."""

import re
from collections.abc import Mapping
from typing import Any, Final

from scopewright.bounded import BoundedDict
from scopewright.http.messages import Headers
from scopewright.verifier.token import Token

DEFAULT_NAMES: Final[Mapping[str, str]] = {
    "subject": "X-Auth-Subject",
    "client": "X-Auth-Client",
    "scope": "X-Auth-Scope",
    "roles": "X-Auth-Roles",
    "token-id": "X-Auth-Token-Id",
}
"""The values, and the headers that have them."""
REMEMBERED_TOKENS: Final = 20_000
REMEMBERED_BYTES: Final = 4096
"""Of one token with its headers. Those of longer ones are encoded for each request: memory has a bound."""

_NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9-]{0,63}")
_RESERVED: Final = frozenset(
    {
        *("authorization", "cache-control", "connection", "content-length", "content-type", "cookie", "date", "dpop"),
        *("dpop-nonce", "host", "retry-after", "te", "trailer", "transfer-encoding", "upgrade", "www-authenticate"),
    }
)
_TO_ENCODE: Final = re.compile(rb"[^!-$&-~]")


class IdentityHeaders:
    """The identity headers of allowed requests. `names` replaces names of `DEFAULT_NAMES`.

    Every header is in every answer, empty where there is no value, so that the proxy overwrites what the caller sent.
    A value is printable ASCII without spaces and `%`; every other byte of its UTF-8 is percent-encoded. Scopes and
    roles are sorted and separated by spaces. Raises ValueError for an unknown value, and for a name that cannot be used
    or is used twice.
    """

    def __init__(self, names: Mapping[str, str] = DEFAULT_NAMES) -> None:
        if unknown := sorted(names.keys() - DEFAULT_NAMES.keys()):
            known = ", ".join(DEFAULT_NAMES)
            raise ValueError(f"{unknown[0]!r} is not the value of an identity header: use one of {known}")
        self.names: Mapping[str, str] = {**DEFAULT_NAMES, **names}
        for name in self.names.values():
            _check_name(name)
        if len({name.lower() for name in self.names.values()}) < len(self.names):
            raise ValueError("two identity headers have the same name: give each value a name of its own")
        self._keys = [(value, name.lower().encode("ascii")) for value, name in self.names.items()]
        self._anonymous: Headers = tuple((name, b"") for _, name in self._keys)
        self._known: BoundedDict[str, tuple[Token, Headers]] = BoundedDict(REMEMBERED_TOKENS)

    def of(self, token: Token | None) -> Headers:
        """The headers for the verified token of a request, or for a request without one."""
        if token is None:
            return self._anonymous
        known = self._known.get(token.value)
        if known is not None and known[0] is token:
            return known[1]
        values = identity(token)
        headers = tuple((name, values[value]) for value, name in self._keys)
        if len(token.value) + sum(len(value) for _, value in headers) <= REMEMBERED_BYTES:
            self._known[token.value] = (token, headers)
        return headers


def identity(token: Token) -> Mapping[str, bytes]:
    """The values of the identity headers, encoded."""
    return {
        "subject": _encoded(token.subject),
        "client": _encoded(token.client_id),
        "scope": b" ".join(map(_encoded, sorted(token.scopes))),
        "roles": b" ".join(map(_encoded, sorted(token.roles))),
        "token-id": _encoded(token_id(token)),
    }


def token_id(token: Token) -> str:
    """The claim `jti` (RFC 9068 §2.2), which names the token in logs; empty if it has none."""
    jti: Any = token.claims.get("jti")
    return jti if isinstance(jti, str) else ""


def _encoded(text: str) -> bytes:
    return _TO_ENCODE.sub(lambda byte: b"%%%02X" % byte[0][0], text.encode("utf-8", "replace"))


def _check_name(name: str) -> None:
    """No underscore: servers with CGI variables read `X_Auth` and `X-Auth` as the same header."""
    if not _NAME.fullmatch(name):
        raise ValueError(f"{name!r} cannot be the name of an identity header: use letters, digits and hyphens")
    if name.lower() in _RESERVED:
        raise ValueError(
            f"{name!r} cannot be the name of an identity header, because HTTP or OAuth uses it: use another"
        )
