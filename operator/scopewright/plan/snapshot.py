"""The state of an installation once reconciliation has nothing to write, and the scopes that clients hold then."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from scopewright.api import Kind, ScopeGrant
from scopewright.core.access import reaches, resolve
from scopewright.core.grants import Labels, declared_by_record, in_force, resolve_grant
from scopewright.core.objects import Ref
from scopewright.core.records.client import ClientRecord, RequestedAccess
from scopewright.core.records.resource_server import ResolvedGrant, ResourceServerRecord
from scopewright.core.records.signing_key import KeyRecord
from scopewright.plan.changes import EffectiveScope

ScopeKey = tuple[str, str, str]
"""Client, resource server and scope, as in EffectiveScope."""


@dataclass(frozen=True, slots=True)
class StateSnapshot:
    """Declared objects with their status, and records. `clients` are keyed by OAuthClient, `servers` by
    `<namespace>/<name>`, `keys` by kid; `secrets` are those that clients mount, with the digests of their entries.
    """

    declared: Mapping[Ref, Kind]
    namespaces: Mapping[str, Labels]
    clients: Mapping[Ref, ClientRecord]
    servers: Mapping[str, ResourceServerRecord]
    keys: Mapping[str, KeyRecord]
    namespace: str
    """The issuer's."""
    secrets: Mapping[Ref, Mapping[str, str]] = field(repr=False)
    now: datetime

    def access(self) -> dict[ScopeKey, EffectiveScope]:
        """Scopes that tokens may carry, by the issuer's own `resolve` on the same records."""
        grants = self._grants()
        return {
            (effective.client, effective.server, effective.scope): effective
            for record in self.clients.values()
            if not record.refused
            for requested in record.access
            for effective in self._of(record, requested, grants.get(requested.resource_server, ()))
        }

    def _of(
        self, client: ClientRecord, requested: RequestedAccess, grants: Iterable[tuple[str, ResolvedGrant]]
    ) -> Iterator[EffectiveScope]:
        server = self.servers.get(requested.resource_server)
        granted = resolve(requested, client.namespace, client.client_id, server, self.now).granted
        own = server is not None and server.namespace == client.namespace
        reaching = [(name, g) for name, g in grants if not own and reaches(g, client.namespace, client.client_id)]
        for scope, until in granted.items():
            via = tuple(name for name, g in reaching if scope in g.scopes)
            yield EffectiveScope(f"{client.namespace}/{client.name}", requested.resource_server, scope, via, until)

    def _grants(self) -> dict[str, list[tuple[str, ResolvedGrant]]]:
        """Grants in force with their names, by resource server."""
        by_server: dict[str, list[tuple[str, ResolvedGrant]]] = {}
        for _, grant in sorted(self.declared.items()):
            if isinstance(grant, ScopeGrant) and in_force(grant, self.now):
                server = f"{grant.namespace}/{grant.spec.resource_server}"
                if (record := self.servers.get(server)) is None:
                    continue
                resolved = resolve_grant(grant, declared_by_record(record), self.namespaces)
                by_server.setdefault(server, []).append((f"{grant.namespace}/{grant.name}", resolved))
        return by_server
