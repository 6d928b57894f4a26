"""Who may have which scope, worked out from the manifests alone: the auditor's own asked ∩ declared ∩ granted."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from tests.simulation.ledger import Ledger, paused, seconds
from tests.simulation.server import At, Raw, Server

FOREVER = float("inf")
KINDS = ("oauthclients", "resourceservers", "scopegrants", "namespaces")
Key = tuple[str, str, str]
"""UID of the client, audience, scope."""
Versions = Mapping[str, Mapping[At, list[Raw]]]
"""By plural and place: an object as it is, or all that it has been lately."""


class Allowed:
    """What was withdrawn is allowed until everybody is known to know.

    Until then some may know one change and not another, in whatever order these were made: then what counts is what
    any version of a client asked, any version of an API declared, and any version of a grant gave.
    """

    def __init__(self, server: Server, ledger: Ledger) -> None:
        self._server, self._ledger = server, ledger
        self.ghosts: dict[str, dict[At, Raw]] = {}
        """Objects that went with their CRD: nobody has withdrawn what they said."""
        self._lately: dict[str, dict[At, list[Raw]]] = {plural: {} for plural in KINDS}

    def look(self) -> None:
        """What is allowed now; what no longer is, was until this instant."""
        self._ledger.stuck |= self._stuck()
        self._note_versions()
        now, allowed = self._server.loop.now, self._ledger.allowed
        current = _reachable(self._as_it_is())
        for key, (ends, seen) in list(allowed.items()):
            if key not in current and seen == FOREVER:
                allowed[key] = (ends, now)
        for key, ends in _reachable(self._lately).items():
            allowed[key] = (max(ends, allowed.get(key, (0.0, 0.0))[0]), FOREVER if key in current else now)

    def settle(self) -> None:
        """Everybody knows everything: what was withdrawn before this instant counts no more."""
        clients = {at: raws for at, raws in self._lately["oauthclients"].items() if paused(raws[-1])}
        self._lately = {plural: {} for plural in KINDS} | {"oauthclients": clients}
        self._note_versions()
        self._ledger.synced = self._server.loop.now
        self._ledger.stuck = self._stuck()
        self._ledger.allowed = {key: (ends, FOREVER) for key, ends in _reachable(self._as_it_is()).items()}

    def _stuck(self) -> set[str]:
        """Audiences of APIs that are not there, whose records stay: nobody can prove that somebody deleted them.

        They went with their CRD; or the record came back out of a backup that is older than the CRD.
        """
        records = self._ledger.server_records().items()
        kept = {str(record["audience"]) for at, record in records if self._ledger.stays("resourceservers", at)}
        return kept | {_audience(at, raw) for at, raw in self.ghosts.get("resourceservers", {}).items()}

    def _all(self, plural: str) -> dict[At, Raw]:
        return {**self.ghosts.get(plural, {}), **self._server.all(plural)}

    def _as_it_is(self) -> Versions:
        """What a paused client says counts no more than what it said before."""
        lately = self._lately["oauthclients"]
        now = {plural: {at: [raw] for at, raw in self._all(plural).items()} for plural in KINDS}
        now["oauthclients"] |= {at: lately[at] for at, (raw,) in now["oauthclients"].items() if paused(raw)}
        return now

    def _note_versions(self) -> None:
        for plural, known in self._lately.items():
            for at, raw in self._all(plural).items():
                before = known.setdefault(at, [])
                if not before or _said(before[-1]) != _said(raw):
                    before.append(raw)


def _said(raw: Raw) -> tuple[Any, ...]:
    meta = raw["metadata"]
    return meta["uid"], meta.get("labels"), raw.get("spec"), paused(raw)


def _audience(at: At, server: Raw) -> str:
    return str(server["spec"].get("audience") or f"https://{at[1]}.{at[0]}.svc")


def _reachable(versions: Versions) -> dict[Key, float]:
    """Until when each client may have each scope."""
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


def _each(objects: Mapping[At, list[Raw]]) -> Iterator[tuple[At, Raw]]:
    return ((at, raw) for at, raws in objects.items() for raw in raws)


def _asked(namespace: str, client: Raw) -> Iterator[tuple[At, str]]:
    for asked in client["spec"].get("access", ()):
        for scope in asked["scopes"]:
            yield (asked.get("namespace") or namespace, asked["resourceServer"]), scope


def _declared(servers: Mapping[At, list[Raw]]) -> dict[tuple[At, str], set[str]]:
    found: dict[tuple[At, str], set[str]] = {}
    for at, server in _each(servers):
        for scope in server["spec"].get("scopes", ()):
            found.setdefault((at, scope["name"]), set()).add(_audience(at, server))
    return found


def _ends(
    at: At, scope: str, grants: Iterable[tuple[str, Raw]], namespace: str, name: str, labels: list[dict[str, str]]
) -> float | None:
    if at[0] == namespace:
        return FOREVER
    ends = [
        seconds(end) if (end := grant.get("expirationTime")) else FOREVER
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
    return any(to["namespaceSelector"]["matchLabels"].items() <= mine.items() for mine in labels)
