"""The APIs of a gateway, and which of them a request is for. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from scopewright.core.records.resource_server import HostnameClaim
from scopewright.gateway.refusals import GatewayReason, GatewayRefused
from scopewright.verifier.protection import Protection
from scopewright.verifier.refusals import Reason, TokenRejected
from scopewright.verifier.requirement import Requirement
from scopewright.verifier.resource_metadata import ResourceMetadata
from scopewright.verifier.rules import Rule, Rules
from scopewright.verifier.verifier import Verifier


@dataclass(eq=False, slots=True)
class GatewayApi:
    """One API. `key` is that of its ResourceServer, such as `payroll/payroll`; `verifier` is for its audience.

    Raises ValueError for `metadata` of another audience or issuer. Challenges name its URL (RFC 9728 §5.1).
    """

    key: str
    hostnames: tuple[str, ...]
    rules: Rules
    verifier: Verifier
    metadata: ResourceMetadata | None = None
    protection: Protection = field(init=False)
    """Makes the challenges."""
    requirements: dict[str, Requirement] = field(init=False)
    """By the name of the rule."""

    def __post_init__(self) -> None:
        self.protection = Protection(self.verifier, dpop=True, resource_metadata=self.metadata)
        self.requirements = {
            rule.name: Requirement(frozenset(rule.scopes), rule.any_scope, rule.roles) for rule in self.rules.rules
        }

    def rule(self, method: str, below: Sequence[str]) -> Rule:
        """The rule for segments below the base path. Raises `TokenRejected` if there is none, and `PathRefused`."""
        rule = self.rules.find(method, below)
        if rule is None:
            raise TokenRejected(Reason.NO_RULE)
        return rule


class _Place(NamedTuple):
    """What is at a base path. Without `api` every request is refused."""

    base: tuple[str, ...]
    api: GatewayApi | None


_Places = dict[tuple[str, ...], GatewayApi | None]


def _around(places: _Places, base: tuple[str, ...]) -> GatewayApi | None:
    """The API that decides about a base path that no API has."""
    return next((places[base[:n]] for n in reversed(range(len(base))) if base[:n] in places), None)


class ApiTable:
    """All APIs of a gateway. Replaced as a whole when a record changes.

    `claims` are those of all ResourceServers. Where the ResourceServer of a claim does not serve it, because it is
    deleted, cannot be read, has moved or may no longer have that hostname, requests are refused: they do not become
    those of another API around it. Those to a base path that two APIs have are refused too.
    """

    def __init__(self, apis: Iterable[GatewayApi] = (), claims: Iterable[HostnameClaim] = ()) -> None:
        hosts: dict[str, _Places] = {}
        refused: list[tuple[_Places, tuple[str, ...]]] = []
        self.apis: Final = tuple(apis)
        for api in self.apis:
            for hostname in api.hostnames:
                places = hosts.setdefault(hostname, {})
                base = api.rules.base_segments
                places[base] = None if base in places else api
        for claim in claims:
            places, base = hosts.setdefault(claim.hostname, {}), claim.location.segments
            around = _around(places, base)
            if base not in places and (around is None or around.key != claim.key):
                refused.append((places, base))
        for places, base in refused:
            places.setdefault(base, None)
        self._hosts = {hostname: _Host(places.items()) for hostname, places in hosts.items() if places}

    def find(self, hostname: str, segments: tuple[str, ...]) -> tuple[GatewayApi, tuple[str, ...]]:
        """The API with the longest base path of a canonical path, and the segments below it.

        Raises `GatewayRefused`, also if the path leads to another API in another case.
        """
        host = self._hosts.get(hostname)
        place = host.find(segments) if host is not None else None
        if place is None or place.api is None:
            raise GatewayRefused(GatewayReason.NO_API)
        return place.api, segments[len(place.base) :] if place.base else segments


class _Host:
    """The APIs at one hostname."""

    def __init__(self, places: Iterable[tuple[tuple[str, ...], GatewayApi | None]]) -> None:
        longest_first = sorted((_Place(base, api) for base, api in places), key=lambda place: -len(place.base))
        self._exact = {place.base: place for place in longest_first}
        self._folded: dict[tuple[str, ...], _Place] = {}
        for place in longest_first:
            base = _folded(place.base)
            # Two whose base paths differ in case alone are ambiguous.
            self._folded[base] = place if base not in self._folded else _Place(base, None)
        self._lengths = sorted({len(place.base) for place in longest_first}, reverse=True)

    def find(self, segments: tuple[str, ...]) -> _Place | None:
        exact = self._first(self._exact, segments)
        deepest = self._lengths[0]
        if not deepest:
            return exact
        folded = self._first(self._folded, _folded(segments[:deepest]))
        if folded is exact or folded is None:
            return exact
        if exact is None:
            return folded if folded.api is not None and not folded.api.rules.case_sensitive else None
        # Proxies differ in whether they choose a service by case: its rules would be those of another API.
        raise GatewayRefused(GatewayReason.AMBIGUOUS_CASE)

    def _first(self, places: Mapping[tuple[str, ...], _Place], segments: tuple[str, ...]) -> _Place | None:
        for length in self._lengths:
            place = places.get(segments[:length])
            if place is not None:
                return place
        return None


def _folded(segments: tuple[str, ...]) -> tuple[str, ...]:
    """Without case. Some letters become ASCII in upper case alone, such as the long s."""
    return tuple(segment.lower() if segment.isascii() else segment.upper().lower() for segment in segments)
