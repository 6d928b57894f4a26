"""Which client may have which scope, computed from the manifests alone: asked for ∩ declared ∩ granted."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from tests.simulation.observations import Observations, paused, seconds
from tests.simulation.server import NamespacedName, Raw, Server

NO_END = float("inf")
KINDS = ("oauthclients", "resourceservers", "scopegrants", "namespaces")
Key = tuple[str, str, str]
"""UID of the client, audience, scope."""
Versions = Mapping[str, Mapping[NamespacedName, list[Raw]]]
"""By plural, namespace and name: the versions of an object that may be in force."""


class ExpectedAccess:
    """A withdrawn scope stays allowed until all processes are known to have seen the change.

    Until then a process may have seen any subset of the changes. So any recent version of a client, of an API and of a
    grant is in force.
    """

    def __init__(self, server: Server, observed: Observations) -> None:
        self._server, self._observed = server, observed
        self.deleted_with_crd: dict[str, dict[NamespacedName, Raw]] = {}
        """Objects deleted with their CRD. Their owners have not withdrawn them."""
        self._versions: dict[str, dict[NamespacedName, list[Raw]]] = {plural: {} for plural in KINDS}

    def update(self) -> None:
        """Record what is allowed now; what no longer is was allowed until now."""
        self._observed.unprovable_audiences |= self._unprovable()
        self._record_versions()
        now, allowed = self._server.loop.now, self._observed.access
        current = _reachable(self._current_versions())
        for key, (ends, seen) in list(allowed.items()):
            if key not in current and seen == NO_END:
                allowed[key] = (ends, now)
        for key, ends in _reachable(self._versions).items():
            allowed[key] = (max(ends, allowed.get(key, (0.0, 0.0))[0]), NO_END if key in current else now)

    def forget_withdrawn(self) -> None:
        """All processes have the current objects: what was withdrawn before now is not allowed."""
        clients = {at: raws for at, raws in self._versions["oauthclients"].items() if paused(raws[-1])}
        self._versions = {plural: {} for plural in KINDS} | {"oauthclients": clients}
        self._record_versions()
        self._observed.converged_time = self._server.loop.now
        self._observed.unprovable_audiences = self._unprovable()
        self._observed.access = {key: (ends, NO_END) for key, ends in _reachable(self._current_versions()).items()}

    def _unprovable(self) -> set[str]:
        """Audiences of deleted APIs whose records stay, because the deletion by their owner is not proven.

        The API was deleted with its CRD, or its record was restored from a backup that is older than the CRD.
        """
        records = self._observed.server_records().items()
        kept = {str(record["audience"]) for at, record in records if self._observed.may_stay("resourceservers", at)}
        return kept | {_audience(at, raw) for at, raw in self.deleted_with_crd.get("resourceservers", {}).items()}

    def _all(self, plural: str) -> dict[NamespacedName, Raw]:
        return {**self.deleted_with_crd.get(plural, {}), **self._server.all(plural)}

    def _current_versions(self) -> Versions:
        """The current objects. Of a paused client, every version since it was last unpaused."""
        lately = self._versions["oauthclients"]
        now = {plural: {at: [raw] for at, raw in self._all(plural).items()} for plural in KINDS}
        now["oauthclients"] |= {at: lately[at] for at, (raw,) in now["oauthclients"].items() if paused(raw)}
        return now

    def _record_versions(self) -> None:
        for plural, known in self._versions.items():
            for at, raw in self._all(plural).items():
                before = known.setdefault(at, [])
                if not before or _content(before[-1]) != _content(raw):
                    before.append(raw)


def _content(raw: Raw) -> tuple[Any, ...]:
    meta = raw["metadata"]
    return meta["uid"], meta.get("labels"), raw.get("spec"), paused(raw)


def _audience(at: NamespacedName, server: Raw) -> str:
    return str(server["spec"].get("audience") or f"https://{at[1]}.{at[0]}.svc")


def _reachable(versions: Versions) -> dict[Key, float]:
    """Until when each client may have each scope, in seconds since the simulation began."""
    found: dict[Key, float] = {}
    declared = _declared(versions["resourceservers"])
    grants = [(at[0], grant["spec"]) for at, raws in versions["scopegrants"].items() for grant in raws]
    for (namespace, name), client in _each(versions["oauthclients"]):
        labels = [raw["metadata"].get("labels") or {} for raw in versions["namespaces"].get(("", namespace), ())]
        for at, scope in _asked(namespace, client):
            audiences = declared.get((at, scope))
            ends = audiences and _ends(at, scope, grants, namespace, name, labels)
            for audience in audiences or () if ends else ():
                key = client["metadata"]["uid"], audience, scope
                found[key] = max(found.get(key, 0.0), ends or 0.0)
    return found


def _each(objects: Mapping[NamespacedName, list[Raw]]) -> Iterator[tuple[NamespacedName, Raw]]:
    return ((at, raw) for at, raws in objects.items() for raw in raws)


def _asked(namespace: str, client: Raw) -> Iterator[tuple[NamespacedName, str]]:
    for entry in client["spec"].get("access", ()):
        for scope in entry["scopes"]:
            yield (entry.get("namespace") or namespace, entry["resourceServer"]), scope


def _declared(servers: Mapping[NamespacedName, list[Raw]]) -> dict[tuple[NamespacedName, str], set[str]]:
    found: dict[tuple[NamespacedName, str], set[str]] = {}
    for at, server in _each(servers):
        for scope in server["spec"].get("scopes", ()):
            found.setdefault((at, scope["name"]), set()).add(_audience(at, server))
    return found


def _ends(
    at: NamespacedName,
    scope: str,
    grants: Iterable[tuple[str, Raw]],
    namespace: str,
    name: str,
    labels: list[dict[str, str]],
) -> float | None:
    if at[0] == namespace:
        return NO_END
    ends = [
        seconds(end) if (end := grant.get("expirationTime")) else NO_END
        for owner, grant in grants
        if owner == at[0] and grant["resourceServer"] == at[1] and scope in grant["scopes"]
        and any(_reaches(to, namespace, name, labels) for to in grant["to"])
    ]  # fmt: skip
    return max(ends, default=None)


def _reaches(to: dict[str, Any], namespace: str, name: str, labels: list[dict[str, str]]) -> bool:
    if to.get("allNamespaces"):
        return True
    if "namespace" in to:
        return bool(to["namespace"] == namespace and to.get("client", name) == name)
    return any(to["namespaceSelector"]["matchLabels"].items() <= found.items() for found in labels)
