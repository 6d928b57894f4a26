"""The records of the issuer, in memory, for lookups.

An object is a record if its type and its name are exact and its content can be decoded; the label only selects objects.
A malformed record is ignored, and the last valid one is kept.
"""

import logging
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Final

from scopewright.core.access import resolve_any_groups, resolve_user
from scopewright.core.failures import Rejected
from scopewright.core.objects import Existing, ManagedKind, Ref
from scopewright.core.records.client import ClientRecord, RequestedAccess
from scopewright.core.records.codec import decode
from scopewright.core.records.identity_provider import IdentityProviderRecord
from scopewright.core.records.issuer import IssuerRecord
from scopewright.core.records.names import (
    CLIENT_TYPE,
    IDENTITY_PROVIDER_TYPE,
    ISSUER_NAME,
    NONCE_KEY_TYPE,
    PRIVATE_KEY_ENTRY,
    PROVIDER_PREFIX,
    RECORD_LABEL,
    SESSION_KEY_NAME,
    SESSION_KEY_TYPE,
    SIGNING_KEY_TYPE,
    client_record_name,
    identity_provider_record_name,
    key_record_name,
    resource_server_record_name,
)
from scopewright.core.records.resource_server import ResourceServerRecord
from scopewright.core.records.signing_key import KeyRecord
from scopewright.core.records.written_by_issuers import RevocationRecord
from scopewright.core.revocations import merge_all
from scopewright.core.signing.jwks import JWKS_ENTRY
from scopewright.core.users import User
from scopewright.issuer.protocol.errors import unavailable
from scopewright.issuer.state import access_removal
from scopewright.issuer.state.clients import ClientIndex
from scopewright.issuer.state.entries import (
    Client,
    ResourceServerEntry,
    ServerAccess,
    UserScopes,
    build_client,
    build_server,
    ends_in_seconds,
    resolve_access,
    version_number,
)
from scopewright.issuer.state.keyring import Keyring, published_kids
from scopewright.issuer.state.keys import load_key
from scopewright.issuer.state.providers import ProviderIndex, load_provider
from scopewright.issuer.state.record_objects import load_nonces
from scopewright.issuer.state.resource_servers import ResourceServerIndex
from scopewright.issuer.state.session_keys import load_session_keys
from scopewright.issuer.state.user_access_removal import ended_logins, ends_more_logins
from scopewright.serving.records import load_issuer, record_entry, require_name
from scopewright.stores import Change, Entries
from scopewright.stores.sessions.sealed import SessionKeys
from scopewright.verifier.nonces import Nonces

log: Final = logging.getLogger(__name__)

_CLIENT_PREFIX: Final = client_record_name("", "")[:-1]
_MAX_WATCH_LAG_SECONDS: Final = 60.0
"""For this long after a read, older versions from the watch are ignored."""

OnEnded = Callable[[RevocationRecord], None]
"""Takes the revocations that follow from a change, and the longest lifetime of tokens."""


class Registry:
    def __init__(self, namespace: str, on_ended: OnEnded = lambda record: None, *, allow_http: bool = False) -> None:
        self.namespace = namespace
        self._allow_http = allow_http
        self._on_ended = on_ended
        self.issuer: IssuerRecord | None = None
        self.is_fapi2 = False
        self.nonces: Nonces | None = None
        """DPoP nonces, the same in all issuers that follow the Secret. If it is deleted, they stay valid."""
        self.session_keys: SessionKeys | None = None
        """Keys of what is stored for users. If the Secret is deleted, they stay valid until another one is made."""
        self.keys = Keyring()
        self.servers = ResourceServerIndex()
        self.clients = ClientIndex()
        self.providers = ProviderIndex()
        self._read_versions: dict[str, tuple[int, float]] = {}
        """By name of the Secret: the version of a read ahead of the watch, and when to drop the entry."""
        self._malformed: dict[Ref, str] = {}

    # Changes

    def apply(self, change: Change, now: float) -> bool:
        """Apply a change; false if it is ignored."""
        ref = change.existing.ref
        if ref.namespace != self.namespace or self._is_outdated(change.existing, now):
            return False
        if change.deleted:
            return self._remove(ref, now)
        try:
            applied = self._put(change.existing, change.entries, now)
        except Rejected as rejected:
            self._log_malformed(ref, rejected.message)
            return False
        self._malformed.pop(ref, None)
        return applied

    def complete(self, kind: ManagedKind, refs: frozenset[Ref], now: float) -> list[Ref]:
        """The list of `kind` is complete: remove and return the objects that are not in it."""
        deleted = [ref for ref in self.refs(kind) if ref not in refs]
        self._malformed = {r: m for r, m in self._malformed.items() if r.kind != kind or r in refs}
        return [ref for ref in deleted if self._remove(ref, now)]

    def apply_read(self, existing: Existing, entries: Entries, now: float) -> bool:
        """Apply a client record that was read, unless the watch has delivered this version or a newer one.

        An unchanged record stays the same object: callers compare by identity.
        """
        version = version_number(existing.resource_version)
        known = self.clients.get(existing.ref.name.removeprefix(_CLIENT_PREFIX))
        if known is not None and 0 <= version <= known.version:
            return False
        applied = self.apply(Change(existing, entries), now)
        if applied and version >= 0:
            self._read_versions = {n: read for n, read in self._read_versions.items() if now < read[1]}
            self._read_versions[existing.ref.name] = (version, now + _MAX_WATCH_LAG_SECONDS)
        return applied

    def refs(self, kind: ManagedKind) -> Iterable[Ref]:
        if kind == "Secret":
            names = [*map(_CLIENT_PREFIX.__add__, self.clients.ids()), *self.keys.names()]
            names += [identity_provider_record_name(provider.name) for provider in self.providers]
        else:
            names = [*self.servers.names(), *self.keys.config_maps(), *([ISSUER_NAME] if self.issuer else [])]
        return [Ref(kind, self.namespace, name) for name in names]

    def _is_outdated(self, existing: Existing, now: float) -> bool:
        """Whether a read returned a later version, which the watch has not reached yet."""
        version, until = self._read_versions.get(existing.ref.name, (-1, 0.0))
        return (
            existing.ref.kind == "Secret" and now < until and 0 <= version_number(existing.resource_version) < version
        )

    def _log_malformed(self, ref: Ref, message: str) -> None:
        if self._malformed.get(ref) != message:
            self._malformed[ref] = message
            log.warning("ignoring %s and keeping its last valid version: %s", ref, message)

    def _put(self, existing: Existing, entries: Entries, now: float) -> bool:
        """Whether it is a record."""
        ref, label = existing.ref, existing.labels.get(RECORD_LABEL)
        if ref.kind == "Secret":
            if existing.type == CLIENT_TYPE:
                self._put_client(existing, entries, now)
            elif existing.type == SIGNING_KEY_TYPE:
                self._put_key(existing, entries)
            elif existing.type == IDENTITY_PROVIDER_TYPE:
                self._put_provider(existing, entries, now)
            elif existing.type == NONCE_KEY_TYPE:
                self.nonces = load_nonces(existing, entries)
            elif existing.type == SESSION_KEY_TYPE:
                require_name(existing, SESSION_KEY_NAME)
                self.session_keys = load_session_keys(entries)
            else:
                self._remove(ref, now)
                return False
        elif label == "resource-server":
            self._put_server(existing, entries, now)
        elif label == "issuer":
            self._put_issuer(existing, entries)
        elif JWKS_ENTRY in entries:
            self.keys.set_published(ref.name, published_kids(entries[JWKS_ENTRY]))
        else:
            return False
        return True

    def _put_client(self, existing: Existing, entries: Entries, now: float) -> None:
        record = decode(ClientRecord, record_entry(entries))
        require_name(existing, client_record_name(record.namespace, record.name))
        client = build_client(record, existing.resource_version)
        self._client_changed(self.clients.put(client), client, now)

    def _put_key(self, existing: Existing, entries: Entries) -> None:
        name = existing.ref.name
        record = decode(KeyRecord, record_entry(entries))
        require_name(existing, key_record_name(record.kid))
        self.keys.put(name, load_key(record, entries.get(PRIVATE_KEY_ENTRY), self.keys.get(name)))

    def _put_provider(self, existing: Existing, entries: Entries, now: float) -> None:
        record = decode(IdentityProviderRecord, record_entry(entries))
        require_name(existing, identity_provider_record_name(record.name))
        before = self.providers.by_name(record.name)
        self.providers.put(load_provider(record, entries))
        if before is not None and ends_more_logins(before.record, record):
            self._on_ended(ended_logins(record.name, self.clients, now))

    def _put_server(self, existing: Existing, entries: Entries, now: float) -> None:
        record = decode(ResourceServerRecord, record_entry(entries))
        require_name(existing, resource_server_record_name(record.namespace, record.name))
        before = self.servers.by_name(existing.ref.name)
        server = build_server(existing.ref.name, record, existing.creation_time)
        self.servers.put(server)
        self._server_changed(before, server, now)

    def _put_issuer(self, existing: Existing, entries: Entries) -> None:
        record = load_issuer(existing, entries, allow_http=self._allow_http)
        if self.issuer is None or record.max_token_lifetime > self.issuer.max_token_lifetime:
            # Recorded at once: tokens that are issued with it live as long.
            self._on_ended(RevocationRecord(longest_lifetime=record.max_token_lifetime))
        self.issuer = record
        self.is_fapi2 = record.is_fapi2

    def _remove(self, ref: Ref, now: float) -> bool:
        self._malformed.pop(ref, None)
        if ref.kind == "Secret":
            self._read_versions.pop(ref.name, None)
            client_id = ref.name.removeprefix(_CLIENT_PREFIX)
            client = self.clients.remove(client_id) if client_id != ref.name else None
            self._client_changed(client, None, now)
            provider = ref.name.removeprefix(PROVIDER_PREFIX)
            removed = provider != ref.name and self.providers.remove(provider)
            return client is not None or removed or self.keys.remove(ref.name)
        if ref.name == ISSUER_NAME:
            log.warning("%s was deleted; its last version stays valid", ref)
            return False
        before = self.servers.by_name(ref.name)
        if self.servers.remove(ref.name):
            self._server_changed(before, None, now)
            return True
        if ref.name in self.keys.config_maps() and not self.keys.forget_published(ref.name):
            log.warning("%s was deleted; its keys stay in the JWKS, because their records exist", ref)
            return False
        return True

    def _client_changed(self, before: Client | None, after: Client | None, now: float) -> None:
        if before is not None:
            requested = [server for a in before.requested if (server := self.server_of(a))]
            if ended := access_removal.of_client(before, after, requested, now):
                self._on_ended(ended)

    def _server_changed(
        self, before: ResourceServerEntry | None, after: ResourceServerEntry | None, now: float
    ) -> None:
        if before is not None and (ended := access_removal.of_server(before, after, self.clients, now)):
            self._on_ended(ended)

    def ended_logins(self) -> RevocationRecord:
        """The tokens of users that end with the logins before `revokedBefore`, as far as records alone say it.

        For a start: the field may have been set while no issuer ran, such as after a restore of the session store.
        """
        ended = ((p.name, p.record.revoked_before) for p in self.providers)
        return merge_all(ended_logins(name, self.clients, until.timestamp()) for name, until in ended if until)

    # Lookups

    def require_issuer(self) -> IssuerRecord:
        """Raises OAuthError while the issuer starts."""
        if self.issuer is None:
            raise unavailable("the issuer is starting", reason="no_issuer_record")
        return self.issuer

    def server_of(self, requested: RequestedAccess) -> ResourceServerEntry | None:
        namespace, _, name = requested.resource_server.partition("/")
        return self.servers.by_name(resource_server_record_name(namespace, name))

    def access(
        self, client: Client, requested: RequestedAccess, server: ResourceServerEntry, now: float
    ) -> ServerAccess:
        """The scopes of the client at the server; computed again after a record changes or a grant ends."""
        cache = client.access
        if cache is None:
            cache = client.access = {}
        access = cache.get(requested.resource_server)
        if access is None or access.server is not server or now >= access.changes_at:
            access = cache[requested.resource_server] = resolve_access(client, requested, server, now)
        return access

    def user_access(
        self, client: Client, requested: RequestedAccess, server: ResourceServerEntry, user: User, now: float
    ) -> UserScopes:
        """The scopes of the user through the client at the server. Computed for each call: it differs by user."""
        instant = datetime.fromtimestamp(now, UTC)
        access = resolve_user(requested, client.namespace, client.client_id, server.record, user, instant)
        return UserScopes(server, ends_in_seconds(access.granted), ends_in_seconds(access.roles))

    def possible_user_access(
        self, client: Client, requested: RequestedAccess, server: ResourceServerEntry, subject: str, now: float
    ) -> UserScopes:
        """As `user_access`, whatever the user's groups are: what a token of the user may still have."""
        instant = datetime.fromtimestamp(now, UTC)
        access = resolve_any_groups(requested, client.namespace, client.client_id, server.record, subject, instant)
        return UserScopes(server, ends_in_seconds(access.granted), ends_in_seconds(access.roles))
