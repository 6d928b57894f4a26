"""2: keys and the verifiers who have to know them."""

from typing import Any, Final

from tests.simulation.invariants.held import answered
from tests.simulation.ledger import (
    KEY_RECORD,
    SETTLING,
    SKEW,
    Complaints,
    Fact,
    Issued,
    Ledger,
    Told,
    Verified,
    record_of,
    seconds,
)
from tests.simulation.server import Done

LONGEST_TOKEN: Final = 3600.0


def verifiers_know_the_key(fact: Fact, ledger: Ledger) -> Complaints:
    """2. No token is signed by a key that verifiers may not know; no key goes while a token it signed may be valid."""
    if isinstance(fact, Issued):
        since = ledger.published.get(fact.kid)
        excused = fact.kid in ledger.emergency or fact.kid in ledger.lost
        if since is None and not excused and fact.kid not in ledger.revoked:
            yield f"a token is signed by {fact.kid}, which no JWKS holds"
        elif since is not None and not excused and fact.at - since < ledger.publish_ahead - SKEW:
            yield f"a token is signed by {fact.kid}, published {(fact.at - since) / 3600:.1f} h ago"
        if fact.at - fact.behind - SETTLING > ledger.revoked.get(fact.kid, fact.at) and fact.kid not in ledger.lost:
            yield f"a token is signed by {fact.kid}, which is revoked"
    elif isinstance(fact, Told):
        yield from answered(fact, ledger, 2)
    elif isinstance(fact, Verified):
        kid = fact.token.kid
        excused = kid in ledger.emergency | ledger.lost | ledger.revoked.keys()
        # No issuer has answered it when it asked again: it is not one that caches for a day at most.
        outdated = ledger.now - fact.fetched > ledger.max_cache
        if not fact.knows and not excused and not outdated and fact.source_behind < 600:
            yield f"a verifier with the JWKS of {fact.fetched:.0f} refuses {kid}: {fact.why}"
    elif isinstance(fact, Done) and ledger.is_operator(fact.actor):
        yield from _at_once(fact, ledger)
        yield from _goes_too_early(fact, ledger)


def _goes_too_early(fact: Done, ledger: Ledger) -> Complaints:
    gone: set[str] = set()
    if fact.where.plural == "configmaps":
        gone = ledger.kids(fact.old) - ledger.kids(fact.new)
    elif fact.where.plural == "secrets" and fact.verb == "DELETE":
        gone = (
            {record_of(fact.old)["kid"]}
            if (fact.old or {}).get("type") == KEY_RECORD and record_of(fact.old)
            else set()
        )
    for kid in gone - ledger.revoked.keys() - ledger.lost:
        until = max(ledger.max_exp[kid], _signed_until(kid, record_of(fact.old), ledger) + LONGEST_TOKEN - SKEW)
        if until > ledger.now:
            yield f"{kid} goes, and a token it signed may be valid for {until - ledger.now:.0f} s more"


def _signed_until(kid: str, deleted: dict[str, Any], ledger: Ledger) -> float:
    """The last instant at which an issuer may have signed with it: its end, or when its successor began."""
    records = {record["kid"]: record for record, _ in ledger.key_records()}
    mine = records.pop(kid, deleted)
    if "signingStartTime" not in mine or "signingEndTime" not in mine:
        return 0.0
    start = seconds(mine["signingStartTime"])
    others = [r for r in records.values() if r["signingKey"] == mine["signingKey"] and "signingStartTime" in r]
    starts = [seconds(r["signingStartTime"]) for r in others]
    return min([seconds(mine["signingEndTime"]), *(s for s in starts if start < s <= ledger.now)])


def _at_once(fact: Done, ledger: Ledger) -> Complaints:
    """A key that signs at once is for when no other can."""
    record = record_of(fact.new)
    if fact.old is not None or not record.get("atOnce") or (fact.new or {}).get("type") != KEY_RECORD:
        return
    before = ledger.ends_keys_before.get(record["signingKey"])
    for other, raw in ledger.key_records():
        if before and seconds(other["creationTime"]) < seconds(before):
            continue  # it is about to go
        signs = "signingStartTime" in other and "revokedTime" not in other and "private.pem" in raw["data"]
        inside = (
            signs and seconds(other["signingStartTime"]) + SKEW < ledger.now < seconds(other["signingEndTime"]) - SKEW
        )
        if inside and other["kid"] not in ledger.lost and other["signingKey"] == record["signingKey"]:
            yield f"{record['kid']} is to sign at once, though {other['kid']} can"
