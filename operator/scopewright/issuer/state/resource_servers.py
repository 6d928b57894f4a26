"""The resource servers, by name, by audience and by default audience."""

import logging
from datetime import UTC, datetime
from typing import Final

from scopewright.issuer.state.entries import ResourceServerEntry

log: Final = logging.getLogger(__name__)
_LATEST: Final = datetime.max.replace(tzinfo=UTC)


class ResourceServerIndex:
    """Of two records with one audience, that of the older ConfigMap is served and the other one ignored."""

    def __init__(self) -> None:
        self._by_name: dict[str, ResourceServerEntry] = {}
        self._by_audience: dict[str, dict[str, ResourceServerEntry]] = {}
        self._by_default_audience: dict[str, ResourceServerEntry] = {}
        self._served: dict[str, ResourceServerEntry] = {}

    def __len__(self) -> int:
        return len(self._by_name)

    def names(self) -> list[str]:
        return [*self._by_name]

    def put(self, server: ResourceServerEntry) -> None:
        self.remove(server.name)
        self._by_name[server.name] = server
        if not server.audience:
            return
        self._by_audience.setdefault(server.audience, {})[server.name] = server
        self._choose_served(server.audience, new=server)
        if server.default_audience != server.audience:
            self._by_default_audience[server.default_audience] = server

    def remove(self, name: str) -> bool:
        server = self._by_name.pop(name, None)
        if server is None:
            return False
        server.served = False
        self._by_audience.get(server.audience, {}).pop(name, None)
        self._choose_served(server.audience)
        if self._by_default_audience.get(server.default_audience) is server:
            del self._by_default_audience[server.default_audience]
        return True

    def _choose_served(self, audience: str, new: ResourceServerEntry | None = None) -> None:
        claims = self._by_audience.get(audience)
        if not claims:
            self._by_audience.pop(audience, None)
            self._served.pop(audience, None)
            return
        oldest = min(claims.values(), key=lambda s: (s.creation_time or _LATEST, s.name))
        for server in claims.values():
            if server is not oldest and (server.served or server is new):
                log.warning("ignoring ConfigMap %s: the older %s has its audience", server.name, oldest.name)
            server.served = server is oldest
        self._served[audience] = oldest

    def by_name(self, name: str) -> ResourceServerEntry | None:
        server = self._by_name.get(name)
        return server if server is not None and server.served else None

    def by_resource(self, resource: str) -> ResourceServerEntry | None:
        """By audience, otherwise by default audience, of a server with a custom one."""
        server = self._served.get(resource) or self._by_default_audience.get(resource)
        return server if server is not None and server.served else None
