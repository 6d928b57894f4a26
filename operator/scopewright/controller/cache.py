"""The cache: the current state that plans are made from, and the keys to reconcile when a part of it changes.

Watches and lists put in what they see; writes put in what they wrote, so that the next plan sees it. An older version
than the one known changes nothing.
"""

import logging
from collections import Counter
from collections.abc import Iterable
from typing import Final, TypeVar

from scopewright.api import KINDS, OAuthClient, ResourceServer, ScopeGrant, SigningKey
from scopewright.controller.index import Keys, ReferenceIndex, secret_of, service_account_of
from scopewright.controller.managed_objects import ManagedObjects, client_of, client_ref, server_of, server_ref
from scopewright.controller.namespace_limits import NamespaceLimits
from scopewright.core.access import requested_access
from scopewright.core.client.status import shown_use
from scopewright.core.config import Limits
from scopewright.core.declared import Declared, ref_of
from scopewright.core.failures import Rejected
from scopewright.core.grants import Labels
from scopewright.core.lifecycle import is_halted
from scopewright.core.objects import CLIENT_LABEL, Existing, Ref
from scopewright.core.records.names import USAGE_NAME
from scopewright.stores import Entries

MAX_DELETIONS_REMEMBERED: Final = 10_000
"""Deletions of what is ours that are remembered: far more than can happen while one answer is on its way."""

_ORDER: Final = ("SigningKey", "ResourceServer", "ScopeGrant", "OAuthClient")

log = logging.getLogger(__name__)

K = TypeVar("K", OAuthClient, ResourceServer, ScopeGrant, SigningKey)


def precedence(key: Ref) -> tuple[int, Ref]:
    """What others depend on first: any order converges, this one takes fewer writes."""
    return _ORDER.index(key.kind), key


def newer(version: str | None, known: str | None) -> bool:
    """Whether a resourceVersion is later than the known one (they are numbers; where not, unequal is newer)."""
    if not known or not version:
        return True
    if version.isdecimal() and known.isdecimal():
        return int(version) > int(known)
    return version != known


class Cache:
    """Declared objects, namespaces, what is ours, and the UIDs of ServiceAccounts where there is a cluster to have any.

    What takes something in returns the keys that must look again.
    """

    def __init__(
        self, issuer_name: str, namespace: str, *, in_cluster: bool = False, limits: Limits | None = None
    ) -> None:
        self.issuer_name = issuer_name
        self.declared: dict[str, dict[Ref, Declared]] = {kind: {} for kind in KINDS}
        self.deleted: set[Ref] = set()
        """Objects known to be deleted. Only then are their records deleted. Cleared when the object is put again."""
        self.withheld: set[Ref] = set()
        """Objects that seem to be deleted, too many of one namespace at once: their records are kept, and refused."""
        self.unconfirmed: set[Ref] = set()
        """Objects that no list confirms, because their CRD is missing; until they are put again or listed."""
        self.absent_namespaces: set[str] = set()
        """Namespaces that are proven to be deleted, with everything in them."""
        self.namespaces: dict[str, Labels] = {}
        self.terminating: set[str] = set()
        """Namespaces that are being deleted."""
        self.managed = ManagedObjects(namespace)
        self.service_accounts: dict[Ref, str] | None = {} if in_cluster else None
        self._index = ReferenceIndex()
        self._shares = NamespaceLimits(limits or Limits())
        self._gone: dict[Ref, str] = {}
        """The version at which an object went: a list that began before would bring it back."""
        self._listed: dict[str, str] = {}
        """The version of the last list of each kind."""
        self._managed_deleted: dict[Ref, str] = {}
        """The same for what is ours: the answer to a write may come after the news that somebody has deleted it."""
        self._managed_listed: dict[tuple[str, str | None], str] = {}
        """The version of the last list of what is ours, by kind and namespace (None: all of them)."""
        self._namespace_versions: dict[str, str] = {}
        self._usable: Counter[str] = Counter()
        """How often news came that a namespace is there and not being deleted."""

    # Declared objects

    def get(self, kind: type[K], namespace: str, name: str) -> K | None:
        obj = self.declared[kind.KIND].get(Ref(kind.KIND, namespace, name))
        return obj if isinstance(obj, kind) else None

    def all(self, kind: type[K]) -> Iterable[K]:
        return (o for o in self.declared[kind.KIND].values() if isinstance(o, kind))

    def has_seen(self, ref: Ref, version: str) -> bool:
        """Whether `put` would change nothing, because a version no older is known, or that it was gone by then."""
        known = self.declared[ref.kind].get(ref)
        latest = known.metadata.resource_version if known else self._gone.get(ref, self._listed.get(ref.kind))
        return latest is not None and not newer(version, latest)

    def put(self, obj: Declared) -> Keys:
        """A declared object is there, as read or as we wrote its status."""
        ref = ref_of(obj)
        known = self.declared[ref.kind].get(ref)
        version = obj.metadata.resource_version or ""
        if obj.spec.issuer != self.issuer_name:
            return self.drop(ref, version) if known else set()
        if self.has_seen(ref, version):
            return set()
        self._gone.pop(ref, None)
        self.unconfirmed.discard(ref)
        self.is_back(ref)
        keys = self._affected(known) | self._affected(obj) if _differs(known, obj) else set()
        if (known is None or known.uid != obj.uid) and ref.namespace not in self.namespaces:
            # Namespaces are not watched: one in which something is created is not being deleted (any more).
            keys |= self._is_usable(ref.namespace)
        self._index.remove(known)
        self.declared[ref.kind][ref] = obj
        self._index.add(obj)
        if known is None or _spec_may_differ(known, obj):
            keys |= self._affected_all(self._shares.put(obj))
        return keys

    def wrote_status(self, obj: Declared) -> None:
        """`put` of what the answer to a write says; unless the object is known to have gone meanwhile."""
        if ref_of(obj) in self.declared[obj.KIND]:
            self.put(obj)

    def drop(self, ref: Ref, version: str) -> Keys:
        """A declared object was deleted at this version, unless a later version is known."""
        known = self.declared[ref.kind].get(ref)
        if known and newer(known.metadata.resource_version, version):
            return set()
        self._gone[ref] = version
        self.unconfirmed.discard(ref)
        self._index.remove(self.declared[ref.kind].pop(ref, None))
        return {ref, *self._affected(known), *self._affected_all(self._shares.drop(ref))}

    def listed(self, kind: str, version: str) -> Keys:
        """A list of this version is through: what is no newer and not known is gone, however late the watch is."""
        self._listed[kind] = version
        self._gone = {r: v for r, v in self._gone.items() if r.kind != kind or newer(v, version)}
        confirmed = {ref for ref in self.unconfirmed if ref.kind == kind}
        self.unconfirmed -= confirmed
        return confirmed

    def cannot_be_listed(self, kind: str) -> None:
        """Its CRD is missing: what events have said of its objects is all that is known."""
        self.unconfirmed |= self.declared[kind].keys()

    def put_namespace(self, name: str, labels: Labels | None, version: str = "", *, terminating: bool = False) -> Keys:
        """A namespace is there, is being deleted (`terminating`), or gone (None), as of this version."""
        known = self._namespace_versions.get(name)
        if not newer(version, known):
            # A late refusal, such as of an earlier namespace of that name, may have marked one that lives.
            return self._is_usable(name) if version == known and labels is not None and not terminating else set()
        self._namespace_versions[name] = version
        if labels is not None:
            self.absent_namespaces.discard(name)
        keys: Keys = set()
        if labels is not None and terminating:
            self.namespace_terminates(name, self.usable(name))
        elif labels is not None:
            keys = self._is_usable(name)
        elif not self._declared_in(name):
            self.terminating.discard(name)
        if self.namespaces.get(name) == labels:
            return keys
        if labels is None:
            del self.namespaces[name]
        else:
            self.namespaces[name] = dict(labels)
        selecting = [g for g in self.all(ScopeGrant) if any(to.namespace_selector for to in g.spec.to)]
        return keys.union(*(self._affected(grant) for grant in selecting))

    def usable(self, name: str) -> int:
        """What to give to `namespace_terminates`, asked before the request whose answer says so."""
        return self._usable[name]

    def namespace_terminates(self, name: str, usable: int) -> None:
        """It is being deleted: nothing can be created there any more, and Kubernetes cannot take that back.

        Unless it has been made again meanwhile: then the answer is late, and speaks of the one before.
        """
        if name not in self.terminating and usable == self.usable(name):
            self.terminating.add(name)
            log.info("namespace %s is being deleted: nothing is written there any more", name)

    def _is_usable(self, name: str) -> Keys:
        """It is not being deleted (any more): what was held back there must look again."""
        self._usable[name] += 1
        if name not in self.terminating:
            return set()
        self.terminating.discard(name)
        log.info("namespace %s is not being deleted", name)
        return self._declared_in(name)

    def _declared_in(self, namespace: str) -> Keys:
        return {ref for objects in self.declared.values() for ref in objects if ref.namespace == namespace}

    def put_service_account(self, ref: Ref, uid: str | None) -> Keys:
        """A ServiceAccount of this cluster is there, or gone (None). One stream tells of them, in its order."""
        if self.service_accounts is None or self.service_accounts.get(ref) == uid:
            return set()
        if uid is None:
            del self.service_accounts[ref]
        else:
            self.service_accounts[ref] = uid
        return set(self._index.clients_as(ref))

    def service_account_uid(self, client: OAuthClient) -> str | None:
        """Of the one that the client names, as ClientView has it."""
        ref = service_account_of(client)
        if ref is None or self.service_accounts is None:
            return None
        return self.service_accounts.get(ref, "")

    # Managed objects

    def put_managed(self, existing: Existing, entries: Entries) -> Keys:
        """A managed object exists, as read, watched or written, unless a later version or its deletion is known."""
        known, gone = self.managed.objects.get(existing.ref), self._managed_deleted.get(existing.ref)
        if known and not newer(existing.resource_version, known.resource_version):
            return set()
        if gone and newer(gone, existing.resource_version):
            return set()
        before = self._interested(existing.ref)
        self.managed.put(existing, entries)
        return before | self._interested(existing.ref)

    def wrote(self, existing: Existing, entries: Entries) -> Keys:
        """`put_managed` of what the answer to a write says; unless a later list did not have the object any more."""
        kind, namespace = existing.ref.kind, existing.ref.namespace
        listed = self._managed_listed.get((kind, None)) or self._managed_listed.get((kind, namespace))
        if existing.ref not in self.managed.objects and listed and not newer(existing.resource_version, listed):
            return set()
        return self.put_managed(existing, entries)

    def managed_listed(self, kind: str, namespace: str | None, version: str) -> None:
        """All that is ours of this kind, in one namespace or (None) in all of them, is known as of this version."""
        if version and newer(version, self._managed_listed.get((kind, namespace))):
            self._managed_listed[kind, namespace] = version

    def drop_managed(self, ref: Ref, version: str | None = None) -> Keys:
        """A managed object was deleted at this version, unless a later version is known."""
        known = self.managed.objects.get(ref)
        if version and newer(version, self._managed_deleted.get(ref)):
            self._managed_deleted.pop(ref, None)
            self._managed_deleted[ref] = version
            if len(self._managed_deleted) > MAX_DELETIONS_REMEMBERED:
                del self._managed_deleted[next(iter(self._managed_deleted))]
        if known is None or (version and newer(known.resource_version, version)):
            return set()
        keys = self._interested(ref)
        self.managed.drop(ref)
        if (of := client_of(ref) or server_of(ref)) and ref.namespace == self.managed.namespace:
            kind = "OAuthClient" if ref.kind == "Secret" else "ResourceServer"
            self.is_back(Ref(kind, *of.split("/")))
        return keys

    def is_back(self, ref: Ref) -> None:
        """No record needs to be deleted or kept on account of this object any more."""
        self.deleted.discard(ref)
        self.withheld.discard(ref)

    def record_of_client(self, namespace: str, name: str) -> Ref:
        return client_ref(self.managed.namespace, namespace, name)

    def record_of_server(self, namespace: str, name: str) -> Ref:
        return server_ref(self.managed.namespace, namespace, name)

    def clients_asking(self, server: str) -> tuple[OAuthClient, ...]:
        """The clients that ask for something at `<namespace>/<name>`."""
        found = (self.declared["OAuthClient"].get(ref) for ref in self._index.clients_asking(server))
        return tuple(c for c in found if isinstance(c, OAuthClient))

    def is_named_by_another(self, secret: Ref, client: OAuthClient) -> bool:
        """Whether an OAuthClient other than this one names the Secret."""
        return bool(self._index.clients_naming(secret) - {ref_of(client)})

    def awaited_in_a_ring(self, client: OAuthClient) -> Keys:
        """The client's earlier Secrets that its own one waits for: the Secret that it names is held by a client that
        has moved on to one that is held likewise, and so on until one that this client holds.
        """
        awaited: Keys = set()
        names, seen = [secret_of(client)], set[Ref]()
        while names:
            seen.add(secret := names.pop())
            for key in self._holders(secret) - self._index.clients_naming(secret):
                holder = self.get(OAuthClient, key.namespace, key.name)
                if key == ref_of(client):
                    awaited.add(secret)
                elif holder and not is_halted(holder.metadata):
                    name = secret_of(holder)
                    names += [name] if name not in seen else []
        return awaited

    def grants_on(self, server: str) -> tuple[ScopeGrant, ...]:
        """Those that are within the limits of their namespace: the others are not in force."""
        refs = (ref for ref in sorted(self._index.grants_on(server)) if self.beyond_limits(ref) is None)
        found = (self.declared["ScopeGrant"].get(ref) for ref in refs)
        return tuple(g for g in found if isinstance(g, ScopeGrant))

    def beyond_limits(self, ref: Ref) -> Rejected | None:
        """Why the object is not served, where its namespace has too many or too large ones."""
        return self._shares.refusal(ref)

    # Keys to reconcile

    def waits_for(self, key: Ref) -> Ref | None:
        """Of a grant its ResourceServer: a grant is in force once the record of that has it."""
        grant = self.get(ScopeGrant, key.namespace, key.name) if key.kind == "ScopeGrant" else None
        return Ref("ResourceServer", grant.namespace, grant.spec.resource_server) if grant else None

    def _affected(self, obj: Declared | None) -> Keys:
        if obj is None:
            return set()
        keys = {ref_of(obj)}
        if isinstance(obj, OAuthClient):
            keys |= self._holders(secret_of(obj))
            return keys.union(*(self._index.grants_on(a.resource_server) for a in requested_access(obj)))
        if isinstance(obj, ResourceServer):
            return keys | self._index.grants_on(f"{obj.namespace}/{obj.name}")
        if isinstance(obj, ScopeGrant):
            return keys | {Ref("ResourceServer", obj.namespace, obj.spec.resource_server)}
        return keys

    def _affected_all(self, refs: Keys) -> Keys:
        return set().union(*(self._affected(self.declared[ref.kind].get(ref)) for ref in refs))

    def _interested(self, ref: Ref) -> Keys:
        if (client := client_of(ref)) is not None and ref.namespace == self.managed.namespace:
            return {Ref("OAuthClient", *client.split("/"))}
        if (server := server_of(ref)) is not None and ref.namespace == self.managed.namespace:
            asking = self._index.clients_asking(server)
            return {Ref("ResourceServer", *server.split("/")), *asking, *self._grants_waiting_for(server)}
        if ref == Ref("ConfigMap", self.managed.namespace, USAGE_NAME):
            return self._clients_used_since_shown()
        keys = set(self._index.clients_naming(ref))
        keys |= self._holders(ref)
        return keys | self._signing_keys(ref) if ref.namespace == self.managed.namespace else keys

    def _holders(self, secret: Ref) -> Keys:
        """The declared clients whose credential the Secret holds, by what it says of itself."""
        existing = self.managed.objects.get(secret)
        if existing is None:
            return set()
        retained = Ref("OAuthClient", secret.namespace, existing.labels.get(CLIENT_LABEL, ""))
        known = {retained} & self.declared["OAuthClient"].keys() if existing.is_retained else set()
        return known | {of for uid in existing.owner_uids if (of := self._index.client(uid))}

    def _grants_waiting_for(self, server: str) -> Keys:
        """Those that may be waiting for what the record of the ResourceServer says; the others do not look again."""
        ready = ((g, g.condition("Ready")) for g in self.grants_on(server))
        return {ref_of(g) for g, said in ready if said is None or said.status != "True"}

    def _clients_used_since_shown(self) -> Keys:
        """Whose status shows an earlier use than is reported: at most once an hour each."""
        keys: Keys = set()
        usage = self.managed.usage
        for client in self.all(OAuthClient) if usage else ():
            record = self.managed.clients.get(self.record_of_client(client.namespace, client.name))
            used = usage.of(record) if record and usage else {}
            shown = client.status.credentials.last_used_time if client.status and client.status.credentials else None
            if used and shown_use(max(used.values())) != shown:
                keys.add(ref_of(client))
        return keys

    def _signing_keys(self, ref: Ref) -> Keys:
        """Who is interested in a key's record (its SigningKey, and the APIs it signs for) or in a JWKS."""
        if held := self.managed.keys.get(ref):
            name = held.record.signing_key
            served = {ref_of(s) for s in self.all(ResourceServer) if s.spec.tokens.signing_key == name}
            return {Ref("SigningKey", self.managed.namespace, name), *served}
        if ref.kind != "ConfigMap":
            return set()
        publishing = {k.signing_key for k in self.managed.key_records() if k.config_map == ref.name}
        declared = {k.name for k in self.all(SigningKey) if k.spec.jwks.config_map_name == ref.name}
        return {Ref("SigningKey", self.managed.namespace, name) for name in publishing | declared}


def _spec_may_differ(known: Declared, obj: Declared) -> bool:
    old, new = known.metadata, obj.metadata
    return new.generation is None or (old.uid, old.generation) != (new.uid, new.generation)


def _differs(known: Declared | None, obj: Declared) -> bool:
    """Whether anything but the status is new: our own writes of a status are no reason to look again."""
    if known is None:
        return True
    old, new = known.metadata, obj.metadata
    same = (old.uid, old.generation, old.deletion_timestamp) == (new.uid, new.generation, new.deletion_timestamp)
    if new.deletion_timestamp and (old.finalizers, old.more_finalizers) != (new.finalizers, new.more_finalizers):
        return True
    return not same or old.annotations != new.annotations or known.status != obj.status
