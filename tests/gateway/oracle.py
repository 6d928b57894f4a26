"""What a request that a service saw must be like, whatever the caller sent."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import jwt
import yaml

from scopewright.verifier.canonical_path import PathRefused, canonical_path, canonical_segments
from scopewright.verifier.patterns import PathAuthentication
from scopewright.verifier.rules import METHOD_OVERRIDES, Rule, Rules
from tests.gateway.apis import Routed
from tests.gateway.proxies import HOST
from tests.gateway.services.routes import UNROUTED, may_reach

AUDIENCE: Final = f"https://{HOST}"
MANIFEST: Final = Path(__file__).with_name("manifests") / "payroll.yaml"
IDENTITY_HEADERS: Final = {
    "x-auth-subject": "sub",
    "x-auth-client": "client_id",
    "x-auth-scope": "scope",
    "x-auth-roles": "roles",
    "x-auth-token-id": "jti",
}
"""The claim of each."""


def rules() -> Rules:
    """The rules of the API, from its manifest."""
    payroll, *_ = yaml.safe_load_all(MANIFEST.read_text())
    return Rules.parse({"rules": payroll["spec"]["http"]["rules"]})


@dataclass(frozen=True)
class Oracle:
    """`valid` are the tokens that the API accepts. Every other one, and none, is the same to it."""

    rules: Rules
    valid: frozenset[str]

    def violations(self, seen: Routed) -> list[str]:
        """Why the gateway should not have allowed this request, or not with these headers."""
        return [f"{why}: {seen}" for why in (*self._of_decision(seen), *self._of_headers(seen))]

    def allows(self, method: str, target: bytes, token: str) -> bool:
        """Whether the gateway allows a request with a canonical path. `token` is empty for a request without one."""
        rule = self.rules.find(method, canonical_path(target))
        if rule is None or (token and token not in self.valid and rule.authentication is not PathAuthentication.NONE):
            return False
        return _permitted(rule, bool(token), frozenset(self._claims(token).get("scope", "").split()))

    def _of_decision(self, seen: Routed) -> Iterator[str]:
        claims = self._claims(_token(seen))
        scopes = claims.get("scope", "").split()
        if seen.route != UNROUTED and not may_reach(seen.route, seen.method, scopes):
            yield "the route is not for this caller"
        try:
            rule = self.rules.find(seen.method, canonical_segments(seen.path))
        except PathRefused:
            yield "the routed path is not canonical"
            return
        if rule is None:
            yield "no rule allows the routed path and method"
            return
        if not _permitted(rule, bool(claims), frozenset(scopes)):
            yield f"rule {rule.name} does not allow this caller"
        expected = {} if rule.authentication is PathAuthentication.NONE else claims
        for header, claim in IDENTITY_HEADERS.items():
            values = seen.values(header)
            if len(values) > 1 or _words(values[0] if values else "") != _words(expected.get(claim, "")):
                yield f"{header} is not that of the token"

    def _of_headers(self, seen: Routed) -> Iterator[str]:
        if len(seen.values("authorization")) > 1:
            yield "two Authorization headers"
        if seen.values("host") != [HOST]:
            yield "another host"
        for name, text in seen.headers:
            if "_" in name:
                yield f"{name} has an underscore"
            if name in METHOD_OVERRIDES:
                yield f"{name} may change the method"
            if name == "upgrade" and text.lower() != "websocket":
                yield f"upgrade to {text!r}"
            if name in ("forwarded", "x-forwarded-host") and HOST not in text:
                yield f"a forged {name}"

    def _claims(self, token: str) -> Mapping[str, Any]:
        """Empty for a token that is not valid."""
        return jwt.decode(token, options={"verify_signature": False}) if token in self.valid else {}


def _token(seen: Routed) -> str:
    """The token that the service got; empty: none."""
    values = seen.values("authorization")
    scheme, _, token = values[0].partition(" ") if len(values) == 1 else ("", "", "")
    return token if scheme.lower() == "bearer" else ""


def _permitted(rule: Rule, authenticated: bool, scopes: frozenset[str]) -> bool:
    if rule.authentication is not PathAuthentication.REQUIRED:
        return True
    enough = scopes.issuperset(rule.scopes) and (not rule.any_scope or bool(scopes & set(rule.any_scope)))
    return authenticated and enough and not rule.roles


def _words(value: object) -> set[str]:
    return set(value.split() if isinstance(value, str) else map(str, value) if isinstance(value, list) else ())
