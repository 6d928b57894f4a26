"""2, 3, 5, 8 and 11 once more: what issuers and their feed say of tokens that are out."""

from tests.simulation.ledger import SETTLING, SKEW, Complaints, Issued, Ledger, Told, prefix_of, seconds
from tests.simulation.server import At, Raw

WITHDRAWN, IDENTITY, KEY, ENDED, IN_FORCE = 3, 11, 2, 5, 8
"""Which invariant is broken by whom."""
RECONNECTED = 400.0
"""Seconds after which issuers have tried again whatever failed: `settings.SLOWEST`, and some."""


def answered(fact: Told, ledger: Ledger, invariant: int) -> Complaints:
    """Withdrawn and revoked tokens are inactive, and so are those of an earlier client; what is in force is active."""
    if fact.verdict is None:
        fact.verdict = _why_not(fact, ledger)
    number, why = fact.verdict
    if fact.good and number == invariant:
        yield f"{fact.issuer}, {fact.by}: a token of {fact.token.client} is good, though {why}"
    refused = not fact.good and fact.by == "introspection"
    if refused and number == 0 and invariant == IN_FORCE and _certainly_in_force(fact, ledger):
        yield f"{fact.issuer}: a token of {fact.token.client} is inactive, and nothing is wrong with it"


def _why_not(fact: Told, ledger: Ledger) -> tuple[int, str]:
    """The invariant that a good token would break, and why; (0, "") where it would break none."""
    token, claims = fact.token, fact.token.claims
    ended = ledger.ended.get(claims["jti"])
    if ended:
        itself = fact.issuer == ended.issuer and fact.began < ended.at
        followed = fact.at > ended.at + SETTLING and fact.at >= fact.in_step_since
        unknowable = ledger.revocations_meddled >= ended.at and fact.began > ended.at
        if (itself or followed) and not unknowable:
            return ENDED, f"it was revoked {fact.at - ended.at:.0f} s ago"
    if fact.at < fact.in_step_since or fact.at - ledger.records_changed < SETTLING:
        return 0, ""
    feed_lags = fact.all_in_step_since > token.at or fact.at - ledger.revocations_made < RECONNECTED
    if fact.by == "the feed" and feed_lags:
        return 0, ""
    return _withdrawn(token, ledger)


def _withdrawn(token: Issued, ledger: Ledger) -> tuple[int, str]:
    """By the records as they are: whoever asked, declared and granted what the token says must do so still."""
    client, audience = ledger.client_record(token.client), token.claims["aud"]
    if not client:
        return WITHDRAWN, "its client has no record"
    if not token.claims["jti"].startswith(prefix_of(client["uid"])):
        return IDENTITY, f"its client is another one by now: {client['uid']}"
    if client.get("disabled"):
        return WITHDRAWN, "its client is disabled"
    if client.get("orphanedTime"):
        return WITHDRAWN, "its client was deleted, and its record is kept and refused"
    served = ((at, record) for at, record in ledger.server_records().items() if not record.get("orphanedTime"))
    servers = [(at, record) for at, record in served if record["audience"] == audience]
    if not servers:
        return WITHDRAWN, f"nobody serves {audience}"
    given = set[str]().union(*(_given(token, client, at, record, ledger.now - SKEW) for at, record in servers))
    if lost := set(token.claims["scope"].split()) - given:
        return WITHDRAWN, f"{lost} of {audience} is not granted any more"
    if token.kid in ledger.revoked and token.kid not in ledger.lost:
        return KEY, f"{token.kid} is revoked"
    return 0, ""


def _given(token: Issued, client: Raw, at: At, server: Raw, now: float) -> set[str]:
    """Asked ∩ declared ∩ granted at this server."""
    namespace, client_id = token.client[0], ".".join(token.client)
    asked = {s for a in client.get("access", ()) if a["resourceServer"] == "/".join(at) for s in a["scopes"]}
    granted = asked if at[0] == namespace else set[str]()
    for grant in server.get("grants", ()):
        reached = grant["everybody"] or namespace in grant["namespaces"] or client_id in grant["clients"]
        if reached and ("notAfter" not in grant or now < seconds(grant["notAfter"])):
            granted |= set(grant["scopes"])
    return asked & set(server.get("scopes", ())) & granted


def _certainly_in_force(fact: Told, ledger: Ledger) -> bool:
    """Every issuer knew everything before it was issued, and nothing that it rests on has changed since."""
    token, claims = fact.token, fact.token.claims
    jti, kid = claims["jti"], token.kid
    if jti in ledger.perhaps_ended or kid not in ledger.published or kid in ledger.lost | ledger.revoked.keys():
        return False
    known = fact.all_in_step_since + SKEW < token.at and ledger.access_changed_for(token.client) + SKEW < token.at
    settled = fact.at >= fact.in_step_since and fact.at - ledger.records_changed >= SETTLING
    return known and settled and claims["exp"] > fact.at + SKEW
