"""Hostnames and rules of an API: what its manifest asks for, and the rules of a record."""

from typing import Final
from urllib.parse import urlsplit

from scopewright.api import ResourceServer
from scopewright.api.http_rules import HttpRequestRule, is_hostname
from scopewright.core.records.resource_server import HttpAccess, HttpRule
from scopewright.verifier.rules import Rules

_WEB: Final = ("https", "http")


def http_access(server: ResourceServer) -> HttpAccess:
    """What `spec.http` asks for, with its defaults; without it, neither hostnames nor rules.

    Hostnames default to the host of the audience, if it is a web URL, and the base path to its path.
    """
    spec = server.spec.http
    if spec is None:
        return HttpAccess()
    hostname, base_path = _place(server.effective_audience)
    return HttpAccess(
        hostnames=tuple(spec.hostnames) if spec.hostnames else (hostname,) if is_hostname(hostname) else (),
        base_path=base_path if spec.base_path is None else spec.base_path,
        case_sensitive=spec.case_sensitive,
        rules=tuple(_rule(rule) for rule in spec.rules),
    )


def rules_of(http: HttpAccess, audience: str) -> Rules:
    """The rules of a record, checked against each other. Raises `RulesInvalid`."""
    return Rules.parse(
        {
            "audience": audience,
            "basePath": http.base_path,
            "caseSensitive": http.case_sensitive,
            "refused": http.refused,
            "rules": [
                {
                    "name": rule.name,
                    "paths": rule.paths,
                    "methods": rule.methods,
                    "authentication": rule.authentication,
                    "scopes": rule.scopes,
                    "anyScope": rule.any_scope,
                    "roles": rule.roles,
                }
                for rule in http.rules
            ],
        }
    )


def unauthenticated(http: HttpAccess) -> tuple[str, ...]:
    """Methods and paths that need no token, such as `* /healthz` or `GET,POST /payroll/hooks/*`. Paths begin with the
    base path.
    """
    return tuple(
        f"{','.join(sorted(rule.methods)) or '*'} {path_at_host(http.base_path, path)}"
        for rule in http.rules
        if rule.authentication != "Required"
        for path in rule.paths
    )


def path_at_host(base_path: str, pattern: str) -> str:
    """The pattern of a rule as it is at the hostname of the API."""
    return f"{base_path.removesuffix('/')}{pattern.removesuffix('/')}" or "/"


def _rule(rule: HttpRequestRule) -> HttpRule:
    return HttpRule(
        name=rule.name,
        paths=tuple(rule.paths),
        methods=tuple(rule.methods or ()),
        authentication=rule.authentication or "Required",
        scopes=tuple(rule.scopes),
        any_scope=tuple(rule.any_scope),
        roles=tuple(rule.roles),
    )


def _place(audience: str) -> tuple[str, str]:
    """Host and path of the audience: empty and `/` unless it is a web URL."""
    parts = urlsplit(audience)
    return (parts.hostname or "", parts.path or "/") if parts.scheme in _WEB else ("", "/")
