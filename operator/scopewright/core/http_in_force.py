"""Hostnames and rules in force: those of the manifest, or the last good ones that the platform still allows."""

from dataclasses import dataclass, replace
from typing import Final

from scopewright.api import ResourceServer
from scopewright.core.config import Config
from scopewright.core.failures import Rejected
from scopewright.core.hostnames import HostnameClaims, check_hostname, check_hostname_claim
from scopewright.core.http_rules import check_rules, http_access, path_at_host
from scopewright.core.records.resource_server import HttpAccess, HttpLocation, HttpRule
from scopewright.verifier.patterns import PathPattern
from scopewright.verifier.rules import RulesInvalid

MAX_HOSTNAME_CLAIMS: Final = 64
"""Hostnames and base paths that one ResourceServer may claim until the platform releases some."""


@dataclass(frozen=True, slots=True)
class HttpPolicy:
    """What decides about the hostnames and rules of one ResourceServer, beside its manifest."""

    claims: HostnameClaims
    config: Config
    beyond_limits: Rejected | None = None


def http_in_force(
    server: ResourceServer, current: HttpAccess | None, audience: str, policy: HttpPolicy
) -> tuple[HttpAccess | None, Rejected | None]:
    """Return what gateways enforce, and why that is not what the manifest asks for.

    `current` is in the record of this very ResourceServer. Without an audience in force no rule is: no token could be
    verified. The hostnames stay, and their requests are refused: they do not fall to the API around them.
    """
    if server.spec.http is None:
        return None, None
    wanted, refusal = http_access(server), policy.beyond_limits
    if audience and refusal is None:
        try:
            _check(server, wanted, policy)
        except Rejected as why:
            refusal = why
        else:
            return wanted, None
    kept = _still_allowed(server, current, policy) if current else None
    if kept and not audience:
        kept = replace(kept, rules=(), refused=())
    return kept, _with_consequence(refusal, kept) if refusal is not policy.beyond_limits else refusal


def locations(http: HttpAccess) -> tuple[HttpLocation, ...]:
    """The hostnames with the base path: what is claimed."""
    base_path = http.base_path.rstrip("/") or "/"
    return tuple(HttpLocation(hostname, base_path) for hostname in http.hostnames)


def unclaimed(http: HttpAccess | None, claims: HostnameClaims) -> tuple[HttpLocation, ...]:
    """The hostnames that need a claim before they are in force."""
    needed = locations(http) if http else ()
    return tuple(location for location in needed if location not in claims.get(location.hostname, {}))


def _with_consequence(refusal: Rejected | None, kept: HttpAccess | None) -> Rejected | None:
    if refusal is None:
        return None
    consequence = (
        "the last valid rules stay in force"
        if kept and kept.hostnames and kept.rules
        else "until then every request is refused"
    )
    return Rejected(refusal.reason, f"{refusal.message}; {consequence}")


def _check(server: ResourceServer, wanted: HttpAccess, policy: HttpPolicy) -> None:
    try:
        check_rules(server, wanted)
    except RulesInvalid as error:
        raise Rejected(error.reason, str(error)) from None
    for location in locations(wanted):
        _check_location(server, location, policy)
    for rule in wanted.rules:
        if refused := [path for path in rule.paths if not _may_be_open(wanted, rule, path, policy)]:
            raise _not_public(wanted, rule, refused[0], policy)
    _require_room(server, len(unclaimed(wanted, policy.claims)), policy)


def _require_room(server: ResourceServer, new: int, policy: HttpPolicy) -> None:
    """Claims outlive their ResourceServers, whose names are free to choose: the namespace has a limit too."""
    if not new:
        return
    owners = [owner for of_host in policy.claims.values() for owner in of_host.values()]
    of_namespace = sum(owner.split("/")[0] == server.namespace for owner in owners)
    for what, claimed, limit in (
        (f"ResourceServer {server.name}", owners.count(_key(server)), MAX_HOSTNAME_CLAIMS),
        (f"namespace {server.namespace}", of_namespace, policy.config.limits.objects_per_namespace),
    ):
        if claimed + new > limit:
            raise Rejected(
                "HostnameNotAllowed",
                f"{what} has claimed {claimed} hostnames and base paths, and {limit} is the limit: ask the platform "
                "team to release some of them",
            )


def _still_allowed(server: ResourceServer, current: HttpAccess, policy: HttpPolicy) -> HttpAccess:
    """Without the hostnames that the platform no longer allows. Paths that may no longer be open are refused: no rule
    with a wider pattern decides in their place.
    """
    hostnames = tuple(loc.hostname for loc in locations(current) if _is_allowed(server, loc, policy))
    rules: list[HttpRule] = []
    refused = dict.fromkeys(current.refused)
    for rule in current.rules:
        allowed = tuple(path for path in rule.paths if _may_be_open(current, rule, path, policy))
        refused |= dict.fromkeys(path for path in rule.paths if path not in allowed)
        rules += [replace(rule, paths=allowed)] if allowed else []
    return replace(current, hostnames=hostnames, rules=tuple(rules), refused=tuple(refused))


def _is_allowed(server: ResourceServer, location: HttpLocation, policy: HttpPolicy) -> bool:
    try:
        _check_location(server, location, policy)
    except Rejected:
        return False
    return True


def _check_location(server: ResourceServer, location: HttpLocation, policy: HttpPolicy) -> None:
    check_hostname(location, server.namespace, policy.config)
    check_hostname_claim(location, _key(server), policy.claims, policy.config)


def _may_be_open(http: HttpAccess, rule: HttpRule, path: str, policy: HttpPolicy) -> bool:
    """Whether the rule needs a token, or the platform allows requests without one there."""
    if rule.authentication == "Required":
        return True
    patterns = policy.config.gateway.unauthenticated_paths
    whole = _comparable(http, path_at_host(http.base_path, path))
    return any(_comparable(http, pattern).covers(whole) for pattern in patterns)


def _comparable(http: HttpAccess, pattern: str) -> PathPattern:
    return PathPattern.parse(pattern if http.case_sensitive else pattern.lower())


def _not_public(http: HttpAccess, rule: HttpRule, path: str, policy: HttpPolicy) -> Rejected:
    allowed = ", ".join(policy.config.gateway.unauthenticated_paths)
    return Rejected(
        "PublicNotAllowed",
        f"rule {rule.name} needs no token for {path_at_host(http.base_path, path)}, and the platform allows that "
        f"{f'only for {allowed}' if allowed else 'for no path'}: set its authentication to Required, or ask the "
        "platform team (gateway.unauthenticatedPaths)",
    )


def _key(server: ResourceServer) -> str:
    return f"{server.namespace}/{server.name}"
