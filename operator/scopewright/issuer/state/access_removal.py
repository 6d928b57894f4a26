"""Removed access: after a change of a record, tokens that relied on it end at services that validate locally.

The result is a revocation record with a not-before time for each of them. Introspection does not use it: it checks each
token against the current records. The time is that at which an issuer saw the change, so that all affected tokens end;
some that were issued in the same second end too.
"""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from itertools import islice
from typing import Final

from scopewright.core.access import resolve
from scopewright.core.records.written_by_issuers import RevocationRecord
from scopewright.core.revocation_keys import audience_key, namespace_key, owner_of_audience
from scopewright.core.revocations import merge
from scopewright.issuer.state.entries import Client, ResourceServerEntry

MAX_CLIENTS: Final = 1000
"""Clients that lose access to one API by one change. Above this, all tokens of the API end."""


def of_client(
    before: Client, after: Client | None, servers: Iterable[ResourceServerEntry], now: float
) -> RevocationRecord | None:
    """`servers` are those that the client requested before. All tokens of a deleted or disabled client end."""
    if before.disabled:
        return None
    same = after is not None and not after.disabled and after.uid_hash == before.uid_hash
    if after is None or not same or set(before.grant_types) - set(after.grant_types):
        # The feed cannot tell tokens of one grant type from others: all tokens of the client end.
        return _all_of([before], now)
    if after.requested == before.requested:
        return None
    lost = [(before, s) for s in servers if _asked(before, s) - _asked(after, s)]
    return RevocationRecord(access=_access(lost, now), owners=_owners([before])) if lost else None


def of_server(
    before: ResourceServerEntry, after: ResourceServerEntry | None, clients: Iterable[Client], now: float
) -> RevocationRecord | None:
    """`clients` are all clients."""
    old, new = before.record, after.record if after else None
    if new is None or new.audience != old.audience or (new.dpop_required and not old.dpop_required):
        # All tokens of the API end, also if DPoP becomes required: the feed cannot tell bound tokens from others.
        return _audience(old.audience, now) if old.audience else None
    retired = set(old.served_by) - set(new.served_by)
    if (new.grants, new.scopes) == (old.grants, old.scopes) and not retired:
        return None
    affected = [c for c in clients if c.client_id in retired or c.requested_from(before)]
    affected_now = (c for c in affected if _granted(c, before, now) - _granted(c, after, now))
    lost = list(islice(affected_now, MAX_CLIENTS + 1))
    # A client that no longer serves the API loses the tokens that it got by exchange.
    ended = _all_of([c for c in affected if c.client_id in retired], now)
    if len(lost) > MAX_CLIENTS:
        ended = merge(ended, _audience(old.audience, now))
    elif lost:
        access = _access([(c, before) for c in lost], now)
        ended = merge(ended, RevocationRecord(access=access, owners=_owners(lost)))
    return ended if ended != RevocationRecord() else None


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


def _granted(client: Client, server: ResourceServerEntry | None, now: float) -> set[str]:
    requested = client.requested_from(server) if server else None
    if requested is None or server is None:
        return set()
    return set(
        resolve(requested, client.namespace, client.client_id, server.record, datetime.fromtimestamp(now, UTC)).granted
    )
