"""A valid token, and functions to change it as an attacker does."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from scopewright.verifier import Reason
from tests.unit.verifier.support import SigningKey, b64


@dataclass(frozen=True)
class Attack:
    name: str
    token: str = field(repr=False)
    reason: Reason


@dataclass(frozen=True)
class Forge:
    """The claims of a valid token, its expected type, and the published key."""

    key: SigningKey
    claims: Mapping[str, Any]
    now: int
    typ: str = "at+jwt"
    wrong_types: tuple[Any, ...] = (
        None,
        "JWT",
        "jwt",
        "at",
        "at+jwt ",
        " at+jwt",
        "dpop+jwt",
        "logout+jwt",
        1,
        ["at+jwt"],
    )
    skew: int = 60
    thief: SigningKey = field(default_factory=lambda: SigningKey("key-1"))

    def header(self, **changes: Any) -> str:
        """The header in JSON. A member that is None is omitted."""
        good = {"typ": self.typ, "alg": "ES256", "kid": self.key.kid} | changes
        return json.dumps({name: value for name, value in good.items() if value is not None})

    def payload(self, **changes: Any) -> str:
        return json.dumps({name: value for name, value in {**self.claims, **changes}.items() if value is not None})

    def signed(self, header: str, payload: str | bytes, key: SigningKey | None = None) -> str:
        body = payload if isinstance(payload, bytes) else payload.encode("utf-8", "surrogatepass")
        return self.sign_as_is(f"{b64(header.encode())}.{b64(body)}", key)

    def sign_as_is(self, signing_input: str, key: SigningKey | None = None) -> str:
        """Sign without any check or encoding."""
        return f"{signing_input}.{b64((key or self.key).sign(signing_input.encode()))}"

    def token(self, **header: Any) -> str:
        return self.signed(self.header(**header), self.payload())

    def claiming(self, **claims: Any) -> str:
        return self.signed(self.header(), self.payload(**claims))

    def halves(self, **header: Any) -> str:
        """The signing input."""
        return f"{b64(self.header(**header).encode())}.{b64(self.payload().encode())}"
