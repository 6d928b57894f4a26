"""Who may have which scope, worked out from the manifests alone: the auditor's own asked ∩ declared ∩ granted."""

from typing import Any

from tests.simulation.ledger import Ledger, seconds
from tests.simulation.server import At, Raw, Server, Where

FOREVER = float("inf")


class Allowed:
    def __init__(self, server: Server, ledger: Ledger) -> None:
        self._server, self._ledger = server, ledger
        self.ghosts: dict[str, dict[At, Raw]] = {}
        """Objects that went with their CRD: nobody has withdrawn what they said."""

    def before_removal(self, where: Where) -> None:
        at = where.namespace, where.name
        if where.plural in ("oauthclients", "resourceservers") and self._ledger.unprovable(where.plural, at):
            self.ghosts.setdefault(where.plural, {})[at] = self._server.all(where.plural)[at]

    def look(self) -> None:
        """What is allowed now; what no longer is, was until this instant."""
        self._ledger.stuck = self._stuck()
        now, allowed = self._server.loop.now, self._ledger.allowed
        current = self._current()
        for key, (ends, seen) in list(allowed.items()):
            if key not in current and seen == FOREVER:
                allowed[key] = (ends, now)
        for key, ends in current.items():
            allowed[key] = (max(ends, allowed.get(key, (0.0, 0.0))[0]), FOREVER)

    def _stuck(self) -> set[str]:
        ghosts = self.ghosts.get("resourceservers", {})
        return {raw["spec"].get("audience") or f"https://{at[1]}.{at[0]}.svc" for at, raw in ghosts.items()}

    def settle(self) -> None:
        """Everybody knows everything: what was withdrawn before this instant counts no more."""
        self._ledger.synced = self._server.loop.now
        self._ledger.allowed = {key: (ends, FOREVER) for key, ends in self._current().items()}

    def _all(self, plural: str) -> dict[At, Raw]:
        return {**self.ghosts.get(plural, {}), **self._server.all(plural)}

    def _current(self) -> dict[tuple[str, str, str], float]:
        found: dict[tuple[str, str, str], float] = {}
        servers = self._all("resourceservers")
        for (namespace, name), client in self._all("oauthclients").items():
            for asked in client["spec"].get("access", ()):
                at = asked.get("namespace") or namespace, asked["resourceServer"]
                server = servers.get(at)
                if server is None:
                    continue
                audience = server["spec"].get("audience") or f"https://{at[1]}.{at[0]}.svc"
                for scope in asked["scopes"]:
                    ends = self._ends(scope, at, server, namespace, name)
                    if ends is not None:
                        found[client["metadata"]["uid"], audience, scope] = ends
        return found

    def _ends(self, scope: str, at: At, server: Raw, namespace: str, name: str) -> float | None:
        if scope not in [s["name"] for s in server["spec"].get("scopes", ())]:
            return None
        if at[0] == namespace:
            return FOREVER
        ends = [
            seconds(end) if (end := grant["spec"].get("expirationTime")) else FOREVER
            for (owner, _), grant in self._all("scopegrants").items()
            if owner == at[0] and grant["spec"]["resourceServer"] == at[1] and scope in grant["spec"]["scopes"]
            and any(self._reaches(to, namespace, name) for to in grant["spec"]["to"])
        ]  # fmt: skip
        return max(ends, default=None)

    def _reaches(self, to: dict[str, Any], namespace: str, name: str) -> bool:
        if to.get("allNamespaces"):
            return True
        if "namespace" in to:
            return bool(to["namespace"] == namespace and to.get("client", name) == name)
        labels = (self._server.get("namespaces", "", namespace) or {}).get("metadata", {}).get("labels") or {}
        return bool(to["namespaceSelector"]["matchLabels"].items() <= labels.items())
