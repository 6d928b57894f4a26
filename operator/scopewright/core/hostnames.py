"""Rules for hostnames: which ResourceServer may serve which paths of which host."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import SplitResult, urlsplit

from scopewright.api.http_rules import is_hostname
from scopewright.api.names import EVERY_NAMESPACE
from scopewright.core.config import Config
from scopewright.core.failures import Rejected
from scopewright.core.gateway_config import SERVICE_SUFFIXES, namespace_in
from scopewright.core.records.resource_server import HttpLocation

HostnameClaims = Mapping[str, Mapping[HttpLocation, str]]
"""By hostname: each claimed hostname and base path, to the `<namespace>/<name>` of the ResourceServer that has it."""

_HTTPS: Final = 443


@dataclass(frozen=True, slots=True)
class _Assignment:
    """`precision` orders assignments with one prefix: a hostname before a suffix, and a longer suffix first."""

    prefix: tuple[str, ...]
    precision: int
    namespaces: tuple[str, ...]

    def has(self, namespace: str) -> bool:
        return namespace in self.namespaces or EVERY_NAMESPACE in self.namespaces


def check_hostname(location: HttpLocation, namespace: str, config: Config) -> None:
    """Raise `Rejected` unless ResourceServers of the namespace may serve this hostname under this base path.

    Of the assignments that cover it, by whole segments, the one with the longest path decides: what the platform gives
    to one namespace is not another's, because that has the paths around it. Nor is it in another case: gateways refuse
    requests to paths of two APIs that differ in case alone.
    """
    hostname = location.hostname
    if not is_hostname(hostname):
        raise _not_allowed(f"{hostname!r} is not a hostname: write one such as payroll.hr.example, without port")
    if hostname in config.reserved_hostnames:
        raise _not_allowed(f"{hostname} is reserved: choose another hostname in spec.http.hostnames")
    if not _is_assigned(location, namespace, config):
        raise _not_allowed(_not_assigned(location, namespace, config))


def check_hostname_claim(location: HttpLocation, key: str, claims: HostnameClaims, config: Config) -> None:
    """Raise `Rejected` if another ResourceServer than `key` (`<namespace>/<name>`) has claimed it.

    A path around it that another namespace has claimed counts too, and for a new claim also a path below it, unless the
    platform assigns the inner path in particular: gateways decide by the rules of the longest base path, and so one
    team would decide about requests to the service of the other. Paths are compared without case.
    """
    of_host = claims.get(location.hostname, {})
    if of_host.get(location, key) != key:
        raise _taken(location)
    namespace = key.split("/")[0]
    for other, owner in of_host.items():
        if owner.split("/")[0] == namespace:
            continue
        around = _is_above(other, location) and not _is_separate(location, other, config)
        below = location not in of_host and _is_above(location, other) and not _is_separate(other, location, config)
        if around or below:
            raise _taken(location)


def _is_above(outer: HttpLocation, inner: HttpLocation) -> bool:
    above = _without_case(outer.segments)
    return _without_case(inner.segments)[: len(above)] == above


def _is_separate(inner: HttpLocation, outer: HttpLocation, config: Config) -> bool:
    """Whether the platform assigns `inner`, or a path between the two, in particular."""
    return any(len(a.prefix) > len(outer.segments) for a in _deciding(inner, config))


def _is_assigned(location: HttpLocation, namespace: str, config: Config) -> bool:
    """By the path as it is written, and by the path without case too."""
    written = [a for a in _assignments(location.hostname, config) if location.segments[: len(a.prefix)] == a.prefix]
    return all(any(a.has(namespace) for a in found) for found in (_longest(written), _deciding(location, config)))


def _deciding(location: HttpLocation, config: Config) -> list[_Assignment]:
    """The assignments that decide if case has no meaning."""
    path = _without_case(location.segments)
    return _longest(
        [a for a in _assignments(location.hostname, config) if path[: len(a.prefix)] == _without_case(a.prefix)]
    )


def _longest(covering: list[_Assignment]) -> list[_Assignment]:
    best = max(((len(a.prefix), a.precision) for a in covering), default=None)
    return [a for a in covering if (len(a.prefix), a.precision) == best]


def _without_case(segments: tuple[str, ...]) -> tuple[str, ...]:
    """Base paths are ASCII."""
    return tuple(segment.lower() for segment in segments)


def _assignments(hostname: str, config: Config) -> Iterator[_Assignment]:
    services = [namespace_in(hostname, suffix) for suffix in SERVICE_SUFFIXES if hostname.endswith(f".{suffix}")]
    if services:
        yield _Assignment((), 0, tuple(filter(None, services)))
        return
    exact = len(hostname) + 1
    for prefix in config.audiences:
        parts = _https(prefix.prefix)
        if parts and parts.hostname == hostname:
            yield _Assignment(HttpLocation(hostname, parts.path).segments, exact, prefix.namespaces)
    for entry in config.gateway.hostnames:
        if entry.hostname == hostname:
            yield _Assignment(HttpLocation(hostname, entry.path_prefix).segments, exact, entry.namespaces)
        elif entry.suffix and (namespace := namespace_in(hostname, entry.suffix)):
            yield _Assignment((), len(entry.suffix), (namespace,))
    if config.gateway.allows_any_hostname:
        yield _Assignment((), 0, (EVERY_NAMESPACE,))


def _https(prefix: str) -> SplitResult | None:
    """The parts of a prefix that assigns a hostname: requests have no port to tell two namespaces apart."""
    try:
        parts = urlsplit(prefix)
        port = parts.port
    except ValueError:
        return None
    return parts if parts.scheme == "https" and port in (None, _HTTPS) else None


def _not_assigned(location: HttpLocation, namespace: str, config: Config) -> str:
    own = [
        *(p.prefix for p in config.audiences if namespace in p.namespaces and _https(p.prefix)),
        *(
            f"https://{entry.hostname}{entry.path_prefix.rstrip('/')}"
            for entry in config.gateway.hostnames
            if namespace in entry.namespaces or EVERY_NAMESPACE in entry.namespaces
        ),
        *(f"hostnames below {namespace}.{entry.suffix}" for entry in config.gateway.hostnames if entry.suffix),
    ]
    allowed = f"it may use {', '.join(own)}" if own else "the platform assigns it no hostname"
    return (
        f"namespace {namespace} may not serve {location}: {allowed}; choose "
        "another hostname or basePath in spec.http, or ask the platform team for this one (gateway.hostnames)"
    )


def _not_allowed(message: str) -> Rejected:
    return Rejected("HostnameNotAllowed", message)


def _taken(location: HttpLocation) -> Rejected:
    return Rejected(
        "HostnameConflict",
        f"{location} is taken: choose another hostname or basePath in spec.http, "
        "or ask the platform team to release it",
    )
