"""Invariants 2, 3, 5, 8 and 11: answers of introspection and the revocation feed about outstanding tokens."""

from tests.simulation.observations import (
    MAX_SKEW_SECONDS,
    PROPAGATION_SECONDS,
    Observations,
    TokenIssued,
    TokenStatus,
    Violations,
    jti_prefix,
    seconds,
)
from tests.simulation.server import NamespacedName, Raw

WITHDRAWN, IDENTITY, KEY, REVOKED, IN_FORCE = 3, 11, 2, 5, 8
"""The invariant that a wrong answer breaks, by the reason."""
RECONNECT_SECONDS = 400.0
"""After this time issuers have retried everything: a little more than `patches.FOLLOW_PAUSE_SECONDS`."""


def check_token_status(fact: TokenStatus, observed: Observations, invariant: int) -> Violations:
    """Withdrawn and revoked tokens, and those of an earlier client, are inactive; all others are active."""
    if fact.verdict is None:
        fact.verdict = _reason_invalid(fact, observed)
    number, why = fact.verdict
    if fact.valid and number == invariant:
        yield f"{fact.issuer}, {fact.by}: a token of {fact.token.client} is valid, though {why}"
    refused = not fact.valid and fact.by == "introspection"
    if refused and number == 0 and invariant == IN_FORCE and _certainly_in_force(fact, observed):
        yield f"{fact.issuer}: a token of {fact.token.client} is inactive without a reason"


def _reason_invalid(fact: TokenStatus, observed: Observations) -> tuple[int, str]:
    """The invariant that a valid answer would break, and why; (0, "") if none."""
    token, claims = fact.token, fact.token.claims
    ended = observed.revoked_tokens.get(claims["jti"])
    if ended:
        itself = fact.issuer == ended.issuer and fact.started < ended.time
        followed = fact.time > ended.time + PROPAGATION_SECONDS and fact.time >= fact.up_to_date_since
        unknowable = observed.revocations_edited_time >= ended.time and fact.started > ended.time
        if (itself or followed) and not unknowable:
            return REVOKED, f"it was revoked {fact.time - ended.time:.0f} s ago"
    if fact.time < fact.up_to_date_since or fact.time - observed.records_changed_time < PROPAGATION_SECONDS:
        return 0, ""
    feed_lags = (
        fact.all_up_to_date_since > token.time or fact.time - observed.revocations_reset_time < RECONNECT_SECONDS
    )
    if fact.by == "the feed" and feed_lags:
        return 0, ""
    return _withdrawn(token, observed)


def _withdrawn(token: TokenIssued, observed: Observations) -> tuple[int, str]:
    """By the current records: the scopes must still be asked for, declared and granted."""
    client, audience = observed.client_record(token.client), token.claims["aud"]
    if not client:
        return WITHDRAWN, "its client has no record"
    if not token.claims["jti"].startswith(jti_prefix(client["uid"])):
        return IDENTITY, f"its client was replaced by {client['uid']}"
    if client.get("disabled"):
        return WITHDRAWN, "its client is disabled"
    if client.get("orphanedTime"):
        return WITHDRAWN, "its client was deleted, and its record is kept and refused"
    served = ((at, record) for at, record in observed.server_records().items() if not record.get("orphanedTime"))
    servers = [(at, record) for at, record in served if record["audience"] == audience]
    if not servers:
        return WITHDRAWN, f"no resource server has the audience {audience}"
    granted = set[str]().union(
        *(_granted_scopes(token, client, at, record, observed.now - MAX_SKEW_SECONDS) for at, record in servers)
    )
    if lost := set(token.claims["scope"].split()) - granted:
        return WITHDRAWN, f"{lost} of {audience} is no longer granted"
    roles = set[str]().union(*(_granted_roles(token, at, record) for at, record in servers))
    if lost := set(token.claims.get("roles", ())) - roles:
        return WITHDRAWN, f"the roles {lost} of {audience} are no longer granted"
    if token.kid in observed.revoked_keys and token.kid not in observed.damaged_keys:
        return KEY, f"{token.kid} is revoked"
    return 0, ""


def _granted_scopes(token: TokenIssued, client: Raw, at: NamespacedName, server: Raw, now: float) -> set[str]:
    """Asked for ∩ declared ∩ granted at this resource server."""
    namespace, client_id = token.client[0], ".".join(token.client)
    asked = {s for a in client.get("access", ()) if a["resourceServer"] == "/".join(at) for s in a["scopes"]}
    granted = asked if at[0] == namespace else set[str]()
    for grant in server.get("grants", ()):
        reached = grant["everybody"] or namespace in grant["namespaces"] or client_id in grant["clients"]
        if reached and ("notAfter" not in grant or now < seconds(grant["notAfter"])):
            granted |= set(grant["scopes"])
    return asked & set(server.get("scopes", ())) & granted


def _granted_roles(token: TokenIssued, at: NamespacedName, server: Raw) -> set[str]:
    """The roles that the token's scopes complete, and that are granted without regard to time."""
    namespace, client_id, scopes = token.client[0], ".".join(token.client), set(token.claims["scope"].split())
    complete = {role["name"] for role in server.get("roles", ()) if scopes.issuperset(role["scopes"])}
    if at[0] == namespace:
        return complete
    reaching = (
        g for g in server.get("grants", ())
        if g["everybody"] or namespace in g["namespaces"] or client_id in g["clients"]
    )  # fmt: skip
    return complete & {role for grant in reaching for role in grant.get("roles", ())}


def _certainly_in_force(fact: TokenStatus, observed: Observations) -> bool:
    """Every issuer had all records before the token was issued, and no record behind it has changed since."""
    token, claims = fact.token, fact.token.claims
    jti, kid = claims["jti"], token.kid
    if (
        jti in observed.revocation_attempts
        or kid not in observed.published_times
        or kid in observed.damaged_keys | observed.revoked_keys.keys()
    ):
        return False
    known = (
        fact.all_up_to_date_since + MAX_SKEW_SECONDS < token.time
        and observed.access_changed_for(token.client) + MAX_SKEW_SECONDS < token.time
    )
    settled = fact.time >= fact.up_to_date_since and fact.time - observed.records_changed_time >= PROPAGATION_SECONDS
    return known and settled and claims["exp"] > fact.time + MAX_SKEW_SECONDS
