"""Objects managed by Scopewright, as they exist: records decoded, Secrets as digests. A malformed record is treated
as missing, not as empty.
"""

import logging
from collections import defaultdict
from collections.abc import Hashable, Iterator
from typing import Final, TypeVar

from cryptography.exceptions import UnsupportedAlgorithm

from scopewright.api import IdentityProvider, OAuthClient, ResourceServer
from scopewright.controller.key_generation import matches
from scopewright.core.client.truncate import truncate_secret
from scopewright.core.failures import Rejected
from scopewright.core.objects import CLIENT_LABEL, Existing, Ref
from scopewright.core.providers.view import StoredProvider
from scopewright.core.records.client import ClientRecord
from scopewright.core.records.codec import decode
from scopewright.core.records.identity_provider import IdentityProviderRecord
from scopewright.core.records.names import (
    CLIENT_TYPE,
    ENTRY,
    IDENTITY_PROVIDER_TYPE,
    PRIVATE_KEY_ENTRY,
    PROVIDER_PREFIX,
    RECORD_LABEL,
    SIGNING_KEY_TYPE,
    USAGE_NAME,
    audience_claim_name,
    client_record_name,
    hostname_claim_name,
    identity_provider_record_name,
    key_record_name,
    resource_server_record_name,
)
from scopewright.core.records.resource_server import AudienceClaim, HostnameClaim, HttpLocation, ResourceServerRecord
from scopewright.core.records.signing_key import KeyRecord
from scopewright.core.records.written_by_issuers import UsageRecord
from scopewright.core.signing.jwks import StoredKey
from scopewright.stores import Entries

_KINDS_BY_RECORD: Final = {("Secret", "client"): "OAuthClient", ("ConfigMap", "resourceserver"): "ResourceServer"}

ObjectRecord = ClientRecord | ResourceServerRecord | IdentityProviderRecord
"""A record that is deleted with its object."""

K = TypeVar("K", bound=Hashable)

log = logging.getLogger(__name__)


class ManagedObjects:
    """Secrets and ConfigMaps by reference, and the decoded records among them."""

    def __init__(self, namespace: str) -> None:
        self.namespace = namespace
        self.objects: dict[Ref, Existing] = {}
        self.clients: dict[Ref, ClientRecord] = {}
        self.servers: dict[str, ResourceServerRecord] = {}
        """By `<namespace>/<name>`."""
        self.claims: dict[str, str] = {}
        """Claimed audiences, to the `<namespace>/<name>` of the ResourceServer that has each."""
        self.hostname_claims: dict[str, dict[HttpLocation, str]] = {}
        """The same for claimed hostnames with their base paths, by hostname."""
        self.keys: dict[Ref, StoredKey] = {}
        self.providers: dict[Ref, StoredProvider] = {}
        self.usage: UsageRecord | None = None
        self._claimed: dict[Ref, str] = {}
        self._claimed_hostnames: dict[Ref, HttpLocation] = {}
        self._servers_at: dict[str, set[Ref]] = {}
        """By hostname: the ResourceServers whose records have it."""
        self._secrets_by_owner: dict[Hashable, set[Ref]] = defaultdict(set)

    def __iter__(self) -> Iterator[Existing]:
        return iter(self.objects.values())

    def put(self, existing: Existing, entries: Entries) -> None:
        self.drop(existing.ref)
        if existing.ref.kind == "Secret" and existing.ref.namespace != self.namespace:
            existing = truncate_secret(existing)
        self.objects[existing.ref] = existing
        for owner in _owners(existing):
            self._secrets_by_owner[owner].add(existing.ref)
        if existing.ref.namespace == self.namespace:
            self._decode(existing, entries)

    def drop(self, ref: Ref) -> None:
        existing = self.objects.pop(ref, None)
        for owner in _owners(existing) if existing else ():
            _discard(self._secrets_by_owner, owner, ref)
        self.clients.pop(ref, None)
        self.keys.pop(ref, None)
        self.providers.pop(ref, None)
        if ref.kind == "ConfigMap" and (key := self.key_of(ref)):
            server = self.servers.pop(f"{key.namespace}/{key.name}", None)
            for hostname in server.http.hostnames if server and server.http else ():
                _discard(self._servers_at, hostname, key)
        if (audience := self._claimed.pop(ref, None)) is not None:
            self.claims.pop(audience, None)
        if (location := self._claimed_hostnames.pop(ref, None)) is not None:
            del self.hostname_claims[location.hostname][location]
            if not self.hostname_claims[location.hostname]:
                del self.hostname_claims[location.hostname]

    def record_of(self, key: Ref) -> tuple[Existing | None, ObjectRecord | None]:
        """The object with the record of an OAuthClient, ResourceServer or IdentityProvider, and the record unless it is
        malformed.
        """
        if key.kind == "OAuthClient":
            return self.client_record(key)
        if key.kind == "IdentityProvider":
            return self.provider_record(key)
        return self.server_record(key) if key.kind == "ResourceServer" else (None, None)

    def key_of(self, ref: Ref) -> Ref | None:
        """The key of the OAuthClient, ResourceServer or IdentityProvider whose record has this reference, if any."""
        if ref.kind == "Secret" and ref.namespace == self.namespace and ref.name.startswith(PROVIDER_PREFIX):
            return Ref("IdentityProvider", self.namespace, ref.name.removeprefix(PROVIDER_PREFIX))
        kind, *parts = ref.name.split(".")
        of = _KINDS_BY_RECORD.get((ref.kind, kind))
        return Ref(of, *parts) if of and len(parts) == 2 and ref.namespace == self.namespace else None

    def servers_at_claim(self, ref: Ref) -> set[Ref]:
        """The ResourceServers that serve the hostname of this claim: one of them may lose it, or its paths."""
        location = self._claimed_hostnames.get(ref)
        return set(self._servers_at.get(location.hostname, ())) if location else set()

    def client_record(self, client: Ref | OAuthClient) -> tuple[Existing | None, ClientRecord | None]:
        """See `record_of`."""
        at = client_ref(self.namespace, client.namespace, client.name)
        return self.objects.get(at), self.clients.get(at)

    def server_record(self, server: Ref | ResourceServer) -> tuple[Existing | None, ResourceServerRecord | None]:
        """See `record_of`."""
        at = server_ref(self.namespace, server.namespace, server.name)
        return self.objects.get(at), self.servers.get(f"{server.namespace}/{server.name}")

    def provider_record(
        self, provider: Ref | IdentityProvider
    ) -> tuple[Existing | None, IdentityProviderRecord | None]:
        """See `record_of`. A provider outside of the issuer's namespace has none."""
        if provider.namespace != self.namespace:
            return None, None
        at = Ref("Secret", self.namespace, identity_provider_record_name(provider.name))
        stored = self.providers.get(at)
        return self.objects.get(at), stored.record if stored else None

    def key_records(self) -> tuple[KeyRecord, ...]:
        return tuple(key.record for key in self.keys.values())

    def signing_keys(self) -> set[Ref]:
        """The SigningKeys that have keys, declared or not."""
        return {Ref("SigningKey", self.namespace, record.signing_key) for record in self.key_records()}

    def of_client(self, client: OAuthClient) -> tuple[Existing, ...]:
        """Secrets that the client owns, and those with its name that outlive it."""
        owned = self._secrets_by_owner.get(client.uid, set())
        retained = self._secrets_by_owner.get((client.namespace, client.name), set())
        return tuple(self.objects[ref] for ref in sorted(owned | retained))

    def _decode(self, existing: Existing, entries: Entries) -> None:
        ref, data = existing.ref, entries.get(ENTRY, b"")
        try:
            if existing.type == CLIENT_TYPE:
                client = decode(ClientRecord, data)
                _expect(ref, client_record_name(client.namespace, client.name))
                self.clients[ref] = client
            elif existing.type == SIGNING_KEY_TYPE:
                key = decode(KeyRecord, data)
                _expect(ref, key_record_name(key.kid))
                has_private_key = matches(entries.get(PRIVATE_KEY_ENTRY, b""), key.jwk)
                self.keys[ref] = StoredKey(key, existing, has_private_key)
            elif existing.type == IDENTITY_PROVIDER_TYPE:
                provider = decode(IdentityProviderRecord, data)
                _expect(ref, identity_provider_record_name(provider.name))
                self.providers[ref] = StoredProvider(provider, existing)
            elif ref.kind == "ConfigMap" and existing.labels.get(RECORD_LABEL) == "resource-server":
                server = decode(ResourceServerRecord, data)
                _expect(ref, resource_server_record_name(server.namespace, server.name))
                self.servers[server.key] = server
                for at in server.http.hostnames if server.http else ():
                    self._servers_at.setdefault(at, set()).add(Ref("ResourceServer", server.namespace, server.name))
            elif ref.kind == "ConfigMap" and ref.name == USAGE_NAME:
                self.usage = decode(UsageRecord, data)
            elif ref.kind == "ConfigMap" and existing.labels.get(RECORD_LABEL) == "audience":
                claim = decode(AudienceClaim, data)
                _expect(ref, audience_claim_name(claim.audience))
                self.claims[claim.audience] = claim.key
                self._claimed[ref] = claim.audience
            elif ref.kind == "ConfigMap" and existing.labels.get(RECORD_LABEL) == "hostname":
                hostname = decode(HostnameClaim, data)
                _expect(ref, hostname_claim_name(hostname.hostname, hostname.base_path))
                self.hostname_claims.setdefault(hostname.hostname, {})[hostname.location] = hostname.key
                self._claimed_hostnames[ref] = hostname.location
        except (Rejected, UnsupportedAlgorithm) as error:
            log.warning("%s is malformed and will be replaced: %s", ref, error)


def _discard(index: dict[K, set[Ref]], key: K, ref: Ref) -> None:
    index[key].discard(ref)
    if not index[key]:
        del index[key]


def _owners(existing: Existing) -> tuple[Hashable, ...]:
    """UIDs of the owners; for a Secret that outlives its client, also the client's namespace and name."""
    if existing.is_retained:
        return (*existing.owner_uids, (existing.ref.namespace, existing.labels.get(CLIENT_LABEL, "")))
    return existing.owner_uids


def _expect(ref: Ref, name: str) -> None:
    if ref.name != name:
        raise Rejected("MalformedRecord", "its name does not match its content")


def client_ref(namespace: str, client_namespace: str, name: str) -> Ref:
    """The Secret with the record of a client; `namespace` is the issuer's."""
    return Ref("Secret", namespace, client_record_name(client_namespace, name))


def server_ref(namespace: str, server_namespace: str, name: str) -> Ref:
    """The ConfigMap with the record of a resource server; `namespace` is the issuer's."""
    return Ref("ConfigMap", namespace, resource_server_record_name(server_namespace, name))
