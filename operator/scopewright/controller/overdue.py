"""Finds what is overdue from the current state alone, without relying on timers or events."""

from collections.abc import Iterator
from datetime import datetime

from scopewright.api import OAuthClient
from scopewright.controller.cache import Cache
from scopewright.controller.index import Keys, secret_of
from scopewright.core.client.credentials import Cause, overdue_cause
from scopewright.core.client.restrictions import refuse_by_profile
from scopewright.core.config import Config
from scopewright.core.declared import ref_of
from scopewright.core.failures import Rejected
from scopewright.core.objects import Ref
from scopewright.core.records.client import ClientRecord


def overdue_clients(cache: Cache, config: Config, now: datetime) -> Iterator[tuple[Ref, Cause]]:
    """The OAuthClients whose next credential is due, each with the cause; without those that need a user's change."""
    managed = cache.managed
    for client in cache.all(OAuthClient):
        record = managed.client_record(client)[1]
        secret = managed.objects.get(secret_of(client))
        if (cause := overdue_cause(client, record, secret, now)) and not _waits_for_user(cache, config, client, record):
            yield ref_of(client), cause


def _waits_for_user(cache: Cache, config: Config, client: OAuthClient, record: ClientRecord | None) -> bool:
    """Whether the profile forbids the client, its namespace has too many, or its Secret's name is taken: its status
    reports that, and a change of any of them triggers a reconciliation.
    """
    has_record = record is not None and record.uid == client.uid
    if not has_record and cache.beyond_limits(ref_of(client)):
        return True
    ready, status = client.condition("Ready"), client.status
    if ready and ready.reason == "SecretConflict" and status:
        return status.observed_generation == client.metadata.generation
    try:
        refuse_by_profile(client, config)
    except Rejected:
        return True
    return False


def overdue_keys(cache: Cache, config: Config, now: datetime) -> Keys:
    """Objects with a due rotation or an ended overlap or grant; and all SigningKeys, which are few."""
    managed = cache.managed
    ended = {
        Ref("OAuthClient", record.namespace, record.name)
        for record in managed.clients.values()
        if any(not credential.accepted_at(now) for credential in record.credentials)
    }
    expired = {
        Ref("ResourceServer", record.namespace, record.name)
        for record in managed.servers.values()
        if any(grant.not_after and grant.not_after <= now for grant in record.grants)
    }
    signing = cache.declared["SigningKey"].keys() | managed.signing_keys()
    return {ref for ref, _ in overdue_clients(cache, config, now)} | ended | expired | signing
