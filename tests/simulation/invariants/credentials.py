"""1, 8 and 11: what clients present is accepted, is refused by nobody from ignorance, and is bound to a UID."""

from typing import Final

from tests.simulation.bookkeeping import client_of
from tests.simulation.invariants.held import answered
from tests.simulation.ledger import (
    CLIENT_RECORD,
    NAMESPACE,
    SETTLING,
    SKEW,
    Complaints,
    Fact,
    Issued,
    Ledger,
    Refused,
    Told,
    owners,
    prefix_of,
    record_of,
    seconds,
)
from tests.simulation.server import Done

LEAST_OVERLAP: Final = 2 * 3600.0
"""The shortest overlap that users of the simulation choose."""
LONGEST_OVERLAP: Final = 96 * 3600.0
"""The longest `maxOverlap`, and four times the longest overlap, that they choose."""


def secrets_are_accepted(fact: Fact, ledger: Ledger) -> Complaints:
    """1. What a Secret holds, the issuer accepts: the new hash first, then the Secret, then the old hash's expiry.

    Seen at every write of a record or a Secret, and at every refusal of a credential that a Pod read in time.
    """
    if isinstance(fact, Refused) and fact.status == 401:
        yield from _refused_in_time(fact, ledger)
    if not isinstance(fact, Done) or fact.where.plural != "secrets":
        return
    raw = fact.new or fact.old or {}
    yield from _ends_too_late(fact, ledger)
    if fact.at[0] == NAMESPACE and raw.get("type") == CLIENT_RECORD:
        client = ledger.client(client_of(fact))
        uids = [client["metadata"]["uid"]] if client else []
    else:
        uids = owners(raw)
    for owner in uids:
        client, held = ledger.by_uid(owner), ledger.held.get(owner)
        if client is None or held is None:
            continue
        at = client["metadata"]["namespace"], client["metadata"]["name"]
        before = ledger.revoked_before(client)
        if at in ledger.tampered or held.digest in ledger.spoiled or (before and held.issued < before):
            continue
        if held.digest not in ledger.accepted(at):
            yield f"Secret {held.at} holds what the record of {at} does not accept, after {fact.verb} by {fact.actor}"


def _ends_too_late(fact: Done, ledger: Ledger) -> Complaints:
    """However it is used, a replaced credential ends."""
    if ledger.is_operator(fact.actor) and (fact.new or {}).get("type") == CLIENT_RECORD:
        for c in record_of(fact.new).get("credentials", ()):
            if "replacedTime" in c and seconds(c["expirationTime"]) > seconds(c["replacedTime"]) + LONGEST_OVERLAP:
                yield f"a credential of {client_of(fact)} that was replaced at {c['replacedTime']} works too long"


def _refused_in_time(fact: Refused, ledger: Ledger) -> Complaints:
    """A Pod presents what its Secret held a while ago, within the overlap."""
    client, uid = ledger.client(fact.client), ledger.minted_for.get(fact.digest, "")
    if client is None or uid != client["metadata"]["uid"] or client["spec"].get("disabled"):
        return
    if fact.digest in ledger.spoiled or fact.client in ledger.tampered or ledger.successors[fact.digest] >= 3:
        return
    held = ledger.held.get(uid)
    still = held is not None and held.digest == fact.digest
    replaced = ledger.replaced.get(fact.digest)
    record = ledger.client_record(fact.client)
    refused = record.get("disabled") or record.get("orphanedTime")
    if refused or fact.at - ledger.stale.get(f"client.{'.'.join(fact.client)}", 0.0) < SETTLING:
        return
    if client["spec"].get("rotation", {}).get("revokedBefore"):
        return
    ago = fact.at - (fact.at if still or replaced is None else replaced)
    if still or (replaced is not None and fact.at < replaced + LEAST_OVERLAP - SKEW):
        yield f"{fact.client} was refused by {fact.issuer} what its Secret holds, or held {ago:.0f} s ago"


def ignorance_refuses_nobody(fact: Fact, ledger: Ledger) -> Complaints:
    """8. No refusal from ignorance: before refusing, the issuer reads that one record; what it cannot read is a 503."""
    if isinstance(fact, Told):
        yield from answered(fact, ledger, 8)
    if not isinstance(fact, Refused) or fact.status != 401:
        return
    record = ledger.client_record(fact.client)
    old = fact.at - ledger.stale.get(f"client.{'.'.join(fact.client)}", 0.0)
    refused = record.get("disabled") or record.get("orphanedTime")
    if not record or refused or old < SETTLING:
        return
    if fact.digest in ledger.accepted(fact.client, fact.at + SKEW):
        yield f"{fact.issuer} refused {fact.client} a credential that the record accepts, unchanged for {old:.0f} s"


def names_are_no_identity(fact: Fact, ledger: Ledger) -> Complaints:
    """11. A name is not an identity: a namespace or client made again under an old name inherits nothing."""
    if isinstance(fact, Done) and (fact.new or {}).get("type") == CLIENT_RECORD and ledger.is_operator(fact.actor):
        record = record_of(fact.new)
        owner = ledger.by_uid(record["uid"])
        if owner and seconds(record["ownerCreationTime"]) != seconds(owner["metadata"]["creationTimestamp"]):
            yield f"the record of {client_of(fact)} says {record['ownerCreationTime']} of when its owner was made"
        for c in record.get("credentials", ()):
            made_for = ledger.minted_for.get(c["sha256"])
            if made_for != record["uid"] and c["sha256"] not in ledger.restored:
                yield f"the record of {client_of(fact)} ({record['uid']}) accepts what was made for {made_for}"
    if isinstance(fact, Told):
        yield from answered(fact, ledger, 11)
    if isinstance(fact, Issued):
        uid = ledger.minted_for.get(fact.digest, "")
        if fact.digest not in ledger.restored and not fact.claims["jti"].startswith(prefix_of(uid)):
            yield f"the token of {fact.client} is not bound to {uid}"
        client = ledger.client(fact.client)
        current = client["metadata"]["uid"] if client else ""
        created = seconds(client["metadata"]["creationTimestamp"]) if client else 0.0
        fresh = min(fact.at - fact.behind, ledger.synced) - SETTLING
        if (
            client
            and created < fresh
            and ledger.meddled < ledger.synced
            and not fact.claims["jti"].startswith(prefix_of(current))
        ):
            yield f"{fact.client} ({current}) got a token with what was made for {uid}"
