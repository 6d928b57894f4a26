"""Relations between the objects of the cache, and the keys to reconcile when one of them changes."""

from typing import Final

from scopewright.api import IdentityProvider, OAuthClient, ResourceServer, ScopeGrant, SigningKey
from scopewright.controller.index import DeclaredByKind, Keys, ReferenceIndex, all_of, secret_of, server_key
from scopewright.controller.managed_objects import ManagedObjects
from scopewright.controller.namespace_limits import NamespaceLimits
from scopewright.core.access import requested_access
from scopewright.core.client.status import rounded_use
from scopewright.core.declared import Declared, ref_of
from scopewright.core.lifecycle import is_paused_or_deleting
from scopewright.core.objects import CLIENT_LABEL, Ref
from scopewright.core.records.names import USAGE_NAME
from scopewright.core.session_stores import NOT_SHARED, apart_until

_ORDER: Final = ("SigningKey", "IdentityProvider", "ResourceServer", "ScopeGrant", "OAuthClient")


def precedence(key: Ref) -> tuple[int, Ref]:
    """Sort key: dependencies first. Any order converges, this one takes fewer writes."""
    return _ORDER.index(key.kind), key


class Relations:
    """Reads the parts of the cache that it is given."""

    def __init__(
        self, declared: DeclaredByKind, managed: ManagedObjects, index: ReferenceIndex, limits: NamespaceLimits
    ) -> None:
        self._declared = declared
        self._managed = managed
        self._index = index
        self._limits = limits

    def of_declared(self, obj: Declared | None) -> Keys:
        """The keys to reconcile when the object changes, its own among them."""
        if obj is None:
            return set()
        keys = {ref_of(obj)}
        if isinstance(obj, OAuthClient):
            servers = (server_key(access.resource_server) for access in requested_access(obj))
            keys.update(self.holders(secret_of(obj)), *(self._index.referrers("ScopeGrant", s) for s in servers))
        elif isinstance(obj, ResourceServer):
            keys |= self._index.referrers("ScopeGrant", ref_of(obj))
        elif isinstance(obj, ScopeGrant):
            keys.add(Ref("ResourceServer", obj.namespace, obj.spec.resource_server))
        elif isinstance(obj, IdentityProvider) and self._declared[obj.KIND].keys() <= keys:
            keys |= self._logins()  # with the first one the developer login ends, with the last one it begins
        return keys

    def of_all(self, refs: Keys) -> Keys:
        """`of_declared` of several declared objects."""
        return set().union(*(self.of_declared(self._declared[ref.kind].get(ref)) for ref in refs))

    def of_managed(self, ref: Ref) -> Keys:
        """The keys to reconcile when a managed object changes."""
        if (key := self._managed.key_of(ref)) and key.kind == "OAuthClient":
            return {key}
        if key and key.kind == "IdentityProvider":
            return {key, *self._depending_on_providers()}
        if key:
            return {key, *self._index.referrers("OAuthClient", key), *self._grants_waiting_for(key)}
        if ref == Ref("ConfigMap", self._managed.namespace, USAGE_NAME):
            return self._clients_used_since_shown() | self._providers_with_other_stores()
        keys = self._index.referrers("OAuthClient", ref) | self.holders(ref) | self._managed.servers_at_claim(ref)
        return keys | self._signing_keys(ref) if ref.namespace == self._managed.namespace else keys

    def holders(self, secret: Ref) -> Keys:
        """The declared clients whose credential the Secret holds, by its owner references and annotation."""
        existing = self._managed.objects.get(secret)
        if existing is None:
            return set()
        retained = Ref("OAuthClient", secret.namespace, existing.labels.get(CLIENT_LABEL, ""))
        known = {retained} & self._declared["OAuthClient"].keys() if existing.is_retained else set()
        return known | {of for uid in existing.owner_uids if (of := self._index.client(uid))}

    def clients_requesting(self, server: Ref) -> tuple[OAuthClient, ...]:
        """The clients that request scopes at the ResourceServer."""
        clients = (self._declared["OAuthClient"][ref] for ref in self._index.referrers("OAuthClient", server))
        return tuple(client for client in clients if isinstance(client, OAuthClient))

    def is_named_by_other(self, secret: Ref, client: OAuthClient) -> bool:
        """Whether another OAuthClient than this one names the Secret."""
        return bool(self._index.referrers("OAuthClient", secret) - {ref_of(client)})

    def secrets_in_cycle(self, client: OAuthClient) -> Keys:
        """Former Secrets of the client for which its own Secret waits: the named Secret is held by a client that has
        moved to another Secret, which is held in the same way, and so on until one that this client holds.
        """
        in_cycle: Keys = set()
        names, seen = [secret_of(client)], set[Ref]()
        while names:
            seen.add(secret := names.pop())
            for key in self.holders(secret) - self._index.referrers("OAuthClient", secret):
                holder = self._declared["OAuthClient"][key]
                if key == ref_of(client):
                    in_cycle.add(secret)
                elif isinstance(holder, OAuthClient) and not is_paused_or_deleting(holder.metadata):
                    name = secret_of(holder)
                    names += [name] if name not in seen else []
        return in_cycle

    def grants_on(self, server: Ref) -> tuple[ScopeGrant, ...]:
        """The grants on the ResourceServer within the limits of their namespace: the others are not in force."""
        refs = sorted(self._index.referrers("ScopeGrant", server))
        grants = (self._declared["ScopeGrant"][ref] for ref in refs if self._limits.refusal(ref) is None)
        return tuple(grant for grant in grants if isinstance(grant, ScopeGrant))

    def waits_for(self, key: Ref) -> Ref | None:
        """The ResourceServer of a grant: a grant is in force once the record of that has it."""
        grant = self._declared["ScopeGrant"].get(key)
        return (
            Ref("ResourceServer", key.namespace, grant.spec.resource_server) if isinstance(grant, ScopeGrant) else None
        )

    def _grants_waiting_for(self, server: Ref) -> Keys:
        """Grants in force that may wait for the record of the ResourceServer, because they are not Ready."""
        found = ((ref_of(grant), grant.condition("Ready")) for grant in self.grants_on(server))
        return {ref for ref, ready in found if ready is None or ready.status != "True"}

    def _clients_used_since_shown(self) -> Keys:
        """Clients whose status shows an earlier use than is reported: at most once an hour each."""
        keys: Keys = set()
        usage = self._managed.usage
        for client in all_of(self._declared, OAuthClient) if usage else ():
            record = self._managed.client_record(client)[1]
            used = usage.of(record) if record and usage else {}
            shown = client.status.credentials.last_used_time if client.status and client.status.credentials else None
            if used and rounded_use(max(used.values())) != shown:
                keys.add(ref_of(client))
        return keys

    def _providers_with_other_stores(self) -> Keys:
        """Providers whose status does not show what issuers report of their session stores."""
        apart = bool(self._managed.usage and apart_until(self._managed.usage.session_stores))
        found = ((ref_of(p), p.condition("Ready")) for p in all_of(self._declared, IdentityProvider))
        return {ref for ref, ready in found if (ready is not None and ready.reason == NOT_SHARED) is not apart}

    def _depending_on_providers(self) -> Keys:
        """The other providers, one of which may get a domain or groups now, and the clients with a login."""
        return {ref_of(provider) for provider in all_of(self._declared, IdentityProvider)} | self._logins()

    def _logins(self) -> Keys:
        return {ref_of(client) for client in all_of(self._declared, OAuthClient) if client.spec.login}

    def _signing_keys(self, ref: Ref) -> Keys:
        """For a key record: its SigningKey, and the ResourceServers and logins that use it. For a JWKS: its
        SigningKeys.
        """
        if key := self._managed.keys.get(ref):
            name = key.record.signing_key
            servers, clients = all_of(self._declared, ResourceServer), all_of(self._declared, OAuthClient)
            using = {ref_of(server) for server in servers if server.spec.tokens.signing_key == name}
            logins = {ref_of(c) for c in clients if c.spec.login and c.spec.login.id_token_signing_key == name}
            return {Ref("SigningKey", self._managed.namespace, name), *using, *logins}
        if ref.kind != "ConfigMap":
            return set()
        publishing = {k.signing_key for k in self._managed.key_records() if k.config_map == ref.name}
        declared = {k.name for k in all_of(self._declared, SigningKey) if k.spec.jwks.config_map_name == ref.name}
        return {Ref("SigningKey", self._managed.namespace, name) for name in publishing | declared}
