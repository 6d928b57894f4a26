"""Which client, and which user through it, may have which scope and role, computed from the manifests alone: asked for
∩ declared ∩ granted.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from scopewright.core.users import subject_of
from tests.simulation.observations import Observations, paused, seconds
from tests.simulation.server import NamespacedName, Raw, Server

NO_END = float("inf")
USERS: Mapping[str, tuple[str, ...]] = {"ada": ("managers",), "bob": ("staff", "managers"), "eve": ()}
"""Users, and the groups of each."""
KINDS = ("oauthclients", "resourceservers", "scopegrants", "namespaces")
Key = tuple[str, str, str]
"""UID of the client, audience, scope or `role <name>`, with a user's name in front for what the user has."""
Versions = Mapping[str, Mapping[NamespacedName, list[Raw]]]
"""By plural, namespace and name: the versions of an object that may be in force."""


def subject(user: str) -> str:
    return subject_of("https://login.example", user)


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
    """Until when each client, and each user through it, may have each scope and role, in seconds since the simulation
    began.
    """
    found: dict[Key, float] = {}
    declared, roles = _declared(versions["resourceservers"]), _roles(versions["resourceservers"])
    grants = [(at[0], grant["spec"]) for at, raws in versions["scopegrants"].items() for grant in raws]
    for (namespace, name), client in _each(versions["oauthclients"]):
        labels = [raw["metadata"].get("labels") or {} for raw in versions["namespaces"].get(("", namespace), ())]
        asked = set(_asked(namespace, client))
        wanted = [(at, scope, audience) for at, scope in asked for audience in declared.get((at, scope), ())]
        wanted += [
            (at, f"role {role}", audience)
            for (at, role), declarations in roles.items()
            for audience, scopes in declarations
            if {(at, scope) for scope in scopes} <= asked
        ]
        for at, what, audience in wanted:
            giving = [grant for owner, grant in grants if owner == at[0] and _gives(grant, at, what, roles)]
            reaching = [g for g in giving if any(_reaches(to, namespace, name, labels) for to in g.get("to", ()))]
            ends = {what: NO_END if at[0] == namespace else _latest_end(reaching)}
            for user, groups in USERS.items():
                through = [g for g in giving if any(
                    _names(entry, user, groups) and _reaches(entry["through"], namespace, name, labels)
                    for entry in g.get("toUsers", ())
                )]  # fmt: skip
                ends[f"{user} {what}"] = _latest_end(through)
            for granted, end in ends.items():
                if end is not None:
                    key = client["metadata"]["uid"], audience, granted
                    found[key] = max(found.get(key, 0.0), end)
    return found


def _each(objects: Mapping[NamespacedName, list[Raw]]) -> Iterator[tuple[NamespacedName, Raw]]:
    return ((at, raw) for at, raws in objects.items() for raw in raws)


def _asked(namespace: str, client: Raw) -> Iterator[tuple[NamespacedName, str]]:
    if "client_credentials" not in client["spec"].get("grantTypes", ("client_credentials",)):
        return
    for entry in client["spec"].get("access", ()):
        for scope in entry["scopes"]:
            yield (entry.get("namespace") or namespace, entry["resourceServer"]), scope


def _declared(servers: Mapping[NamespacedName, list[Raw]]) -> dict[tuple[NamespacedName, str], set[str]]:
    found: dict[tuple[NamespacedName, str], set[str]] = {}
    for at, server in _each(servers):
        for scope in server["spec"].get("scopes", ()):
            found.setdefault((at, scope["name"]), set()).add(_audience(at, server))
    return found


Roles = dict[tuple[NamespacedName, str], list[tuple[str, tuple[str, ...]]]]
"""By API and role: audience and scopes of each declaration that has an effect."""


def _roles(servers: Mapping[NamespacedName, list[Raw]]) -> Roles:
    found: Roles = {}
    for at, server in _each(servers):
        scopes = {scope["name"] for scope in server["spec"].get("scopes", ())}
        for role in server["spec"].get("roles", ()):
            if scopes.issuperset(role["scopes"]):
                found.setdefault((at, role["name"]), []).append((_audience(at, server), tuple(role["scopes"])))
    return found


def _gives(grant: Raw, at: NamespacedName, what: str, roles: Roles) -> bool:
    """Whether the grant lists the scope, or `role <name>`, or a role with the scope."""
    if grant["resourceServer"] != at[1]:
        return False
    listed = grant.get("roles", ())
    if what.startswith("role "):
        return what.removeprefix("role ") in listed
    of_roles = (scope for role in listed for _, scopes in roles.get((at, role), ()) for scope in scopes)
    return what in grant.get("scopes", ()) or what in of_roles


def _latest_end(grants: Iterable[Raw]) -> float | None:
    ends = (grant.get("expirationTime") for grant in grants)
    return max((seconds(end) if end else NO_END for end in ends), default=None)


def _names(entry: Raw, user: str, groups: tuple[str, ...]) -> bool:
    named = entry.get("allUsers") or subject(user) in entry.get("subjects", ())
    return bool(named or set(groups) & set(entry.get("groups", ())))


def _reaches(to: dict[str, Any], namespace: str, name: str, labels: list[dict[str, str]]) -> bool:
    if to.get("allNamespaces"):
        return True
    if "namespace" in to:
        return bool(to["namespace"] == namespace and to.get("client", name) == name)
    return any(to["namespaceSelector"]["matchLabels"].items() <= found.items() for found in labels)
