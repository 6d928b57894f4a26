"""What should have happened by now, found from the level alone: no timer, event or earlier look is believed."""

from collections.abc import Iterator
from datetime import datetime

from scopewright.api import OAuthClient
from scopewright.controller.index import Keys
from scopewright.controller.world import World
from scopewright.core.credentials import Cause, overdue
from scopewright.core.objects import Ref


def overdue_clients(world: World, now: datetime) -> Iterator[tuple[Ref, Cause]]:
    """The OAuthClients whose next credential is due, each with the cause."""
    owned = world.owned
    for client in world.all(OAuthClient):
        record = owned.clients.get(world.record_of_client(client.namespace, client.name))
        secret = owned.objects.get(Ref("Secret", client.namespace, client.secret_name))
        if cause := overdue(client, record, secret, now):
            yield Ref("OAuthClient", client.namespace, client.name), cause


def overdue_keys(world: World, now: datetime) -> Keys:
    """The objects that time alone gives something to do: rotations, ends of overlaps and of grants. And all
    SigningKeys, of which there are few.
    """
    owned = world.owned
    ended = {
        Ref("OAuthClient", record.namespace, record.name)
        for record in owned.clients.values()
        if any(not credential.accepted_at(now) for credential in record.credentials)
    }
    expired = {
        Ref("ResourceServer", record.namespace, record.name)
        for record in owned.servers.values()
        if any(grant.not_after and grant.not_after <= now for grant in record.grants)
    }
    names = {record.signing_key for record in owned.key_records()}
    signing = {*world.declared["SigningKey"], *(Ref("SigningKey", owned.namespace, name) for name in names)}
    return {ref for ref, _ in overdue_clients(world, now)} | ended | expired | signing
