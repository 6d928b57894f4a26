"""A token like an earlier one: most clients repeat their requests, and only times, `jti` and signature differ.

`find` replaces authorisation, the choice of the key and the encoding of constant members. What was found holds while:

- it belongs to the client's record as it is now: it is part of that object, and is replaced with it
- the issuer's record is the same object: URL, profile, lifetimes, clock skew
- the signing keys and the published JWKS have not changed: `Keyring.generation`
- the API's record is the same object, and still the one with that audience or default audience
- no grant ends, and no key starts, ends or leaves the JWKS: the time is from `since` to before `until`

A client keeps at most `MAX_OF_CLIENT`.
"""

import math
from functools import lru_cache
from typing import Any, Final

import orjson

from scopewright.issuer.state.entries import Client
from scopewright.issuer.state.registry import Registry
from scopewright.issuer.state.repeated import RepeatedToken
from scopewright.issuer.tokens.authorise import Authorisation
from scopewright.issuer.tokens.sign import last_expiry, lifetime
from scopewright.serving.audit import encoded_members

MAX_OF_CLIENT: Final = 4


def find(client: Client, parameters: object, registry: Registry, now: float) -> RepeatedToken | None:
    """What an earlier token for the same parameters has in common with the next one; None if anything has changed."""
    for known in client.repeated:
        if known.parameters is parameters:
            holds = (
                known.issuer is registry.issuer
                and known.keys is registry.keys.generation
                and known.since <= now < known.until
                and known.server.served
                and (not known.resource or registry.servers.by_resource(known.resource) is known.server)
            )
            return known if holds else None
    return None


def remember(
    authorisation: Authorisation, parameters: Any, resource: str, answered: bytes, registry: Registry, now: float
) -> None:
    """The client has just got this token for itself, without delegation, user or proof."""
    client, server, granted = authorisation.client, authorisation.server, authorisation.granted
    issuer, keys = registry.require_issuer(), registry.keys
    selected, template = keys.selected(server.record.signing_key, now, issuer), granted.template
    access = (client.access or {}).get(server.key)
    if access is None or template is None or template.key is not selected.key:
        return
    repeated = RepeatedToken(
        parameters=parameters,
        resource=resource,
        server=server,
        issuer=issuer,
        keys=keys.generation,
        since=now,
        until=min(selected.changes_at, keys.jwks(now).changes_at, _last_second(access.changes_at)),
        template=template,
        lifetime=lifetime(server, issuer),
        last_expiry=last_expiry(granted, template.key, issuer),
        audited=_audited(server.audience, granted.scope, template.key.kid),
        answered=answered,
    )
    others = (known for known in client.repeated if known.parameters != parameters)
    client.repeated = (repeated, *others)[:MAX_OF_CLIENT]


def audited(client_id: str, about: bytes, jti: bytes, expires_in: int) -> bytes:
    """The members of the audit line, as JSON; `about` is `RepeatedToken.audited`."""
    return b'"client":%b,%b,"jti":"%b","expires_in":%d' % (orjson.dumps(client_id), about, jti, expires_in)


@lru_cache(maxsize=1024)
def _audited(audience: str, scope: str, kid: str) -> bytes:
    return encoded_members({"audience": audience, "scope": scope, "kid": kid})


def _last_second(changes_at: float) -> float:
    """Access is that of the next whole second (`authorise`)."""
    return changes_at if math.isinf(changes_at) else math.ceil(changes_at - 1)
