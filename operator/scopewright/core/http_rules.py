"""Hostnames and rules of an API: what its manifest asks for, and the rules of a record."""

from typing import Final
from urllib.parse import urlsplit

from scopewright.api import ResourceServer
from scopewright.api.http_rules import HttpRequestRule, is_hostname
from scopewright.core.records.resource_server import HttpAccess, HttpLocation, HttpRule
from scopewright.verifier.issuer_url import check_issuer_url
from scopewright.verifier.rules import Rules, RulesInvalid

_WEB: Final = ("https", "http")


def http_access(server: ResourceServer) -> HttpAccess:
    """What `spec.http` asks for, with its defaults; without it, neither hostnames nor rules.

    Hostnames default to the host of the audience, if it is a web URL, and the base path to its path.
    """
    spec = server.spec.http
    if spec is None:
        return HttpAccess()
    default = _location(server.effective_audience)
    return HttpAccess(
        hostnames=tuple(spec.hostnames or filter(is_hostname, [default.hostname])),
        base_path=default.base_path if spec.base_path is None else spec.base_path,
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


def check_rules(server: ResourceServer, asked: HttpAccess) -> Rules:
    """The rules that `spec.http` asks for. Raises `RulesInvalid`, also for a scope or a role that is not declared."""
    rules = rules_of(asked, server.effective_audience)
    scopes, roles = {s.name for s in server.spec.scopes}, {r.name for r in server.spec.roles}
    for rule in asked.rules:
        if unknown := [s for s in (*rule.scopes, *rule.any_scope) if s not in scopes]:
            raise _undeclared("UnknownScope", rule, "scope", unknown[0])
        if unknown := [r for r in rule.roles if r not in roles]:
            raise _undeclared("UnknownRole", rule, "role", unknown[0])
    return rules


def _undeclared(reason: str, rule: HttpRule, what: str, name: str) -> RulesInvalid:
    message = (
        f"rule {rule.name} of spec.http needs {what} {name}, which spec.{what}s does not declare: declare it there, or "
        "correct the rule"
    )
    return RulesInvalid(reason, rule.name, message)


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


def audience_is_its_url(http: HttpAccess, audience: str) -> bool:
    """Whether clients can find the issuer from a 401 (RFC 9728 §3.3): the audience is a URL at one of the hostnames,
    and protected resource metadata can name it.
    """
    try:
        check_issuer_url(audience)
    except ValueError:
        return False
    return _location(audience).hostname in http.hostnames


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


def _location(audience: str) -> HttpLocation:
    """Host and path of the audience; without hostname unless it is a web URL."""
    parts = urlsplit(audience)
    return HttpLocation(parts.hostname or "", parts.path or "/") if parts.scheme in _WEB else HttpLocation("", "/")
