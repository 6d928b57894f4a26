"""Removed access: after a change of a record, tokens that relied on it end at services that validate locally.

The result is a revocation record with a not-before time for each of them. Introspection does not use it: it checks each
token against the current records. The time is that at which an issuer saw the change, so that all affected tokens end;
some that were issued in the same second end too.
"""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from itertools import islice
from typing import Final

from scopewright.core.access import AccessDecision, resolve
from scopewright.core.records.written_by_issuers import RevocationRecord
from scopewright.core.revocation_keys import audience_key, namespace_key, owner_of_audience
from scopewright.core.revocations import merge
from scopewright.issuer.state.entries import Client, ResourceServerEntry
from scopewright.issuer.state.user_access_removal import USER_GRANT_TYPES, users_lost_access, users_lost_client

MAX_CLIENTS: Final = 1000
"""Clients that lose access to one API by one change. Above this, all tokens of the API end."""


def of_client(
    before: Client, after: Client | None, servers: Iterable[ResourceServerEntry], now: float
) -> RevocationRecord | None:
    """`servers` are those that the client requested before. All tokens of a deleted or disabled client end.

    If the client can no longer act for users as before, only its tokens of users end.
    """
    if before.disabled:
        return None
    same = after is not None and not after.disabled and after.uid_hash == before.uid_hash
    if after is None or not same or set(before.grant_types) - set(after.grant_types) - USER_GRANT_TYPES:
        # The feed cannot tell tokens of one grant type from others: all tokens of the client end.
        return _all_of([before], now)
    if after.dpop_required and not before.dpop_required:
        # Nor bound tokens from others.
        return _all_of([before], now)
    ended = RevocationRecord()
    if users_lost_client(before, after):
        ended = RevocationRecord(user_clients={before.uid_hash: int(now)})
    if after.requested != before.requested:
        lost = [(before, s) for s in servers if _asked(before, s) - _asked(after, s)]
        if lost:
            ended = merge(ended, RevocationRecord(access=_access(lost, now), owners=_owners([before])))
    return ended if ended != RevocationRecord() else None


def of_server(
    before: ResourceServerEntry, after: ResourceServerEntry | None, clients: Iterable[Client], now: float
) -> RevocationRecord | None:
    """`clients` are all clients."""
    audience = before.audience
    binds = after is not None and after.record.dpop_required and not before.record.dpop_required
    if after is None or after.audience != audience or binds:
        # All tokens of the API end, also if DPoP becomes required: the feed cannot tell bound tokens from others.
        return _audience(audience, now) if audience else None
    ended = _of_clients_at(before, after, clients, now)
    if users_lost_access(before.record, after.record, now):
        ended = merge(ended, RevocationRecord(user_access={audience_key(audience): int(now)}))
    return ended if ended != RevocationRecord() else None


def _of_clients_at(
    before: ResourceServerEntry, after: ResourceServerEntry, clients: Iterable[Client], now: float
) -> RevocationRecord:
    old, new = before.record, after.record
    retired = set(old.served_by) - set(new.served_by)
    if (new.grants, new.scopes, new.roles) == (old.grants, old.scopes, old.roles) and not retired:
        return RevocationRecord()
    affected = [c for c in clients if c.client_id in retired or c.requested_from(before)]
    affected_now = (c for c in affected if _has_lost(c, before, after, now))
    lost = list(islice(affected_now, MAX_CLIENTS + 1))
    # A client that no longer serves the API loses the tokens that it got by exchange.
    ended = _all_of([c for c in affected if c.client_id in retired], now)
    if len(lost) > MAX_CLIENTS:
        return merge(ended, _audience(old.audience, now))
    if lost:
        access = _access([(c, before) for c in lost], now)
        return merge(ended, RevocationRecord(access=access, owners=_owners(lost)))
    return ended


def _all_of(clients: list[Client], now: float) -> RevocationRecord:
    return RevocationRecord(clients={c.uid_hash: int(now) for c in clients}, owners=_owners(clients))


def _audience(audience: str, now: float) -> RevocationRecord:
    key, owner = audience_key(audience), owner_of_audience(audience)
    return RevocationRecord(audiences={key: int(now)}, owners={key: owner} if owner else {})


def _owners(clients: list[Client]) -> Mapping[str, str]:
    return {c.uid_hash: namespace_key(c.namespace) for c in clients}


def _access(lost: list[tuple[Client, ResourceServerEntry]], now: float) -> Mapping[str, Mapping[str, int]]:
    access: dict[str, dict[str, int]] = {}
    for client, server in lost:
        access.setdefault(client.uid_hash, {})[audience_key(server.audience)] = int(now)
    return access


def _asked(client: Client, server: ResourceServerEntry) -> set[str]:
    requested = client.requested_from(server)
    return set(requested.scopes) if requested else set()


def _has_lost(client: Client, before: ResourceServerEntry, after: ResourceServerEntry, now: float) -> bool:
    """Whether the client, which acts for itself, has lost a scope or a role."""
    if USER_GRANT_TYPES.issuperset(client.grant_types):
        return False
    old, new = _access_at(client, before, now), _access_at(client, after, now)
    if old.granted.keys() - new.granted.keys():
        return True
    roles = {role.name: role.scopes for role in after.record.roles}
    # A token has a role only with all its scopes: one whose role got another scope has it no longer.
    return any(
        role.name not in new.roles or not set(role.scopes).issuperset(roles[role.name])
        for role in before.record.roles
        if role.name in old.roles
    )


def _access_at(client: Client, server: ResourceServerEntry, now: float) -> AccessDecision:
    requested = client.requested_from(server)
    if requested is None:
        return AccessDecision({}, ())
    return resolve(requested, client.namespace, client.client_id, server.record, datetime.fromtimestamp(now, UTC))
