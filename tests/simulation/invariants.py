"""The eleven invariants, one function each: what it finds wrong with a fact, judged without the code's own help."""

import base64
import hashlib
from collections.abc import Callable, Iterator
from typing import Any, Final

from tests.simulation.bookkeeping import client_of
from tests.simulation.ledger import (
    CLIENT_RECORD,
    CREDENTIALS,
    KEY_RECORD,
    NAMESPACE,
    SKEW,
    Fact,
    Issued,
    Ledger,
    Logged,
    Refused,
    Verified,
    owners,
    record_of,
    seconds,
)
from tests.simulation.server import CRDS, DECLARED, KIND_OF, Done

Complaints = Iterator[str]
LEAST_OVERLAP: Final = 2 * 3600.0
"""The shortest overlap that users of the simulation choose."""
LONGEST_OVERLAP: Final = 96 * 3600.0
"""The longest `maxOverlap`, and four times the longest overlap, that they choose."""
LONGEST_TOKEN: Final = 3600.0
SETTLING: Final = 3.0
"""Seconds that a fresh read may be old: the negative cache, and requests on their way."""


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
    if record.get("disabled") or fact.at - ledger.stale.get(f"client.{'.'.join(fact.client)}", 0.0) < SETTLING:
        return
    if client["spec"].get("rotation", {}).get("revokedBefore"):
        return
    ago = fact.at - (fact.at if still or replaced is None else replaced)
    if still or (replaced is not None and fact.at < replaced + LEAST_OVERLAP - SKEW):
        yield f"{fact.client} was refused by {fact.issuer} what its Secret holds, or held {ago:.0f} s ago"


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
    elif isinstance(fact, Verified):
        kid = fact.token.kid
        excused = kid in ledger.emergency | ledger.lost | ledger.revoked.keys()
        if not fact.knows and not excused and fact.source_behind < 600:
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
    key = ledger.server.get("signingkeys", NAMESPACE, record["signingKey"])
    before = key["spec"].get("revokedBefore") if key else None
    for other, raw in ledger.key_records():
        if before and seconds(other["creationTime"]) < seconds(before):
            continue  # it is about to go
        signs = "signingStartTime" in other and "revokedTime" not in other and "private.pem" in raw["data"]
        inside = (
            signs and seconds(other["signingStartTime"]) + SKEW < ledger.now < seconds(other["signingEndTime"]) - SKEW
        )
        if inside and other["kid"] not in ledger.lost and other["signingKey"] == record["signingKey"]:
            yield f"{record['kid']} is to sign at once, though {other['kid']} can"


def scopes_are_asked_declared_and_granted(fact: Fact, ledger: Ledger) -> Complaints:
    """3. A token never carries a scope outside asked ∩ declared ∩ granted, nor lives past the grant's end.

    Judged from manifests alone; what was withdrawn since everything was last in step may still be on its way.
    """
    if not isinstance(fact, Issued) or ledger.meddled >= ledger.synced or fact.claims["aud"] in ledger.stuck:
        return
    client = ledger.client(fact.client)
    uids = {ledger.minted_for.get(fact.digest, ""), client["metadata"]["uid"] if client else ""}
    since = min(ledger.synced, fact.at - fact.behind) - SETTLING
    for scope in fact.claims["scope"].split():
        found = [ledger.allowed.get((uid, fact.claims["aud"], scope), (0.0, -1.0)) for uid in uids]
        ends, seen = max(end for end, _ in found), max(at for _, at in found)
        if (seen < since or fact.claims["exp"] > ends) and _stays(fact, ledger):
            return
        if seen < since:
            yield f"{fact.client} got {scope} for {fact.claims['aud']}, not granted since {since:.0f}"
        elif fact.claims["exp"] > ends:
            yield f"a token of {fact.client} with {scope} lives {fact.claims['exp'] - ends:.0f} s past its grant"


def _stays(fact: Issued, ledger: Ledger) -> bool:
    """Whether what it rests on speaks of somebody who may have gone with the CRD: what they said stays said."""
    servers = [at for at, record in ledger.server_records().items() if record["audience"] == fact.claims["aud"]]
    return ledger.stays("oauthclients", fact.client) or any(ledger.stays("resourceservers", at) for at in servers)


def nothing_is_written_twice(fact: Fact, ledger: Ledger) -> Complaints:
    """4. Level-triggered: the next run converges, and run twice, the second run writes nothing.

    Seen at the end of each seed (`story.Story.rest`); and at each write: one that changes nothing is one too many.
    """
    if (
        isinstance(fact, Done)
        and fact.verb == "PUT"
        and ledger.is_operator(fact.actor)
        and fact.where.plural != "leases"
    ):
        old, new = ({**(raw or {}), "metadata": _meaning(raw or {})} for raw in (fact.old, fact.new))
        if old == new:
            yield f"{fact.actor} wrote {fact.where.plural} {fact.at} as it was"


def _meaning(raw: dict[str, object]) -> dict[str, object]:
    meta = raw.get("metadata")
    ours = ("labels", "annotations", "ownerReferences")
    return {k: v for k, v in meta.items() if k in ours} if isinstance(meta, dict) else {}


def stale_readers_replace_nothing(fact: Fact, ledger: Ledger) -> Complaints:
    """5. A stale reader replaces nothing: whatever is written is created, or replaced under a resourceVersion."""
    if not isinstance(fact, Done) or not ledger.is_operator(fact.actor) or fact.where.plural in ("events", "leases"):
        return
    body = fact.body or {}
    meta = body.get("preconditions", {}) if fact.verb == "DELETE" else body.get("metadata", {})
    if fact.verb != "POST" and not meta.get("resourceVersion"):
        yield f"{fact.actor} did {fact.verb} of {fact.where.plural} {fact.at} without a resourceVersion"
    new, old = record_of(fact.new), record_of(fact.old)
    if fact.new and fact.new.get("type") == CLIENT_RECORD:
        before = {c["sha256"] for c in old.get("credentials", ())}
        for c in new.get("credentials", ()):
            if c["sha256"] not in before and c["sha256"] in ledger.withdrawn and c["sha256"] not in ledger.restored:
                yield f"{fact.actor} brought a withdrawn credential of {client_of(fact)} back"
    if new.get("kid") in ledger.revoked and not new.get("revokedTime"):
        yield f"{fact.actor} brought the revoked key {new['kid']} back"


def only_ours_is_touched(fact: Fact, ledger: Ledger) -> Complaints:
    """6. We touch only what is ours, and delete nothing from ignorance."""
    if not isinstance(fact, Done) or not ledger.is_operator(fact.actor):
        return
    if fact.old is not None and (fact.where.plural, fact.at) in ledger.foreign:
        yield f"{fact.actor} did {fact.verb} of {fact.where.plural} {fact.at}, which is not ours"
    if fact.where.plural == "secrets" and fact.old and fact.verb == "PUT" and fact.old.get("type") == CREDENTIALS:
        uids = owners(fact.old)
        if uids and not set(uids) & set(owners(fact.new or {})):
            yield f"{fact.actor} took the Secret {fact.at} from its owner"
    if fact.verb != "DELETE":
        return
    prefix = fact.at[1].split(".")[0]
    plural = {"client": "oauthclients", "resourceserver": "resourceservers"}.get(prefix)
    if fact.at[0] != NAMESPACE or plural is None:
        return
    uid = record_of(fact.old).get("uid")
    owner = ledger.server.get(plural, *client_of(fact))
    if owner and owner["metadata"]["uid"] == uid:
        yield f"{fact.actor} deleted the record of {plural} {client_of(fact)}, which is there"
    if uid in ledger.crd_lost and owner is None:
        yield f"{fact.actor} deleted the record of {plural} {client_of(fact)}, which went with its CRD"


def tokens_cost_no_reads(fact: Fact, ledger: Ledger) -> Complaints:
    """7. A token costs no I/O, and the issuer goes on while the operator or the API server is down."""
    if isinstance(fact, Issued) and fact.known and fact.reads:
        yield f"{fact.issuer} read {fact.reads} times for a token whose credential it knew"
    if isinstance(fact, Refused) and fact.known and (fact.status >= 500 or fact.reads):
        yield f"{fact.issuer} answered {fact.status} {fact.error} ({fact.reads} reads) to a credential it knew"


def ignorance_refuses_nobody(fact: Fact, ledger: Ledger) -> Complaints:
    """8. No refusal from ignorance: before refusing, the issuer reads that one record; what it cannot read is a 503."""
    if not isinstance(fact, Refused) or fact.status != 401:
        return
    record = ledger.client_record(fact.client)
    old = fact.at - ledger.stale.get(f"client.{'.'.join(fact.client)}", 0.0)
    if not record or record.get("disabled") or old < SETTLING:
        return
    if fact.digest in ledger.accepted(fact.client, fact.at + SKEW):
        yield f"{fact.issuer} refused {fact.client} a credential that the record accepts, unchanged for {old:.0f} s"


def nothing_secret_is_told(fact: Fact, ledger: Ledger) -> Complaints:
    """9. Private keys, secrets, assertions and tokens appear in no log, event, status, metric label, exception text or
    ConfigMap.

    Secrets of the simulation carry a marker; every log record, event, status, ConfigMap and record is searched for it.
    """
    if isinstance(fact, Logged):
        text, where = fact.text, "a log line"
    elif isinstance(fact, Done) and ledger.is_operator(fact.actor):
        if fact.where.plural == "secrets":
            text = str(record_of(fact.new))
        else:
            text = str({k: v for k, v in (fact.new or {}).items() if k != "spec"})
        where = f"{fact.where.plural} {fact.at}"
    else:
        return
    for marker in (ledger.marker, "PRIVATE KEY", "eyJhbGci"):
        if marker in text:
            yield f"{where} tells a secret: {marker}"


def deletions_are_not_blocked(fact: Fact, ledger: Ledger) -> Complaints:
    """10. Nothing of ours blocks a deletion: no finalizers, no owner that waits, nothing written on users' objects."""
    if not isinstance(fact, Done) or not ledger.is_operator(fact.actor):
        return
    meta = (fact.new or {}).get("metadata", {})
    if meta.get("finalizers"):
        yield f"{fact.actor} put a finalizer on {fact.where.plural} {fact.at}"
    if any(o.get("blockOwnerDeletion") for o in meta.get("ownerReferences") or ()):
        yield f"{fact.where.plural} {fact.at} blocks the deletion of its owner"
    users = (*DECLARED, "namespaces", CRDS)
    if fact.where.plural in users and fact.where.sub != "status" and fact.old is not None:
        yield f"{fact.actor} wrote to the {KIND_OF.get(fact.where.plural, fact.where.plural)} {fact.at} of a user"
    for owner in meta.get("ownerReferences") or ():
        found = ledger.by_uid(owner["uid"])
        if found and found["metadata"]["namespace"] != fact.at[0]:
            yield f"{fact.where.plural} {fact.at} is owned across namespaces"


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
    if isinstance(fact, Issued):
        uid = ledger.minted_for.get(fact.digest, "")
        prefix = base64.urlsafe_b64encode(hashlib.sha256(uid.encode()).digest())[:12].decode()
        if fact.digest not in ledger.restored and not fact.claims["jti"].startswith(prefix):
            yield f"the token of {fact.client} is not bound to {uid}"
        client = ledger.client(fact.client)
        current = client["metadata"]["uid"] if client else ""
        created = seconds(client["metadata"]["creationTimestamp"]) if client else 0.0
        fresh = min(fact.at - fact.behind, ledger.synced) - SETTLING
        if client and current != uid and created < fresh and fact.digest not in ledger.restored:
            yield f"{fact.client} ({current}) got a token with what was made for {uid}"


INVARIANTS: Final[dict[int, Callable[[Fact, Ledger], Complaints]]] = {
    1: secrets_are_accepted,
    2: verifiers_know_the_key,
    3: scopes_are_asked_declared_and_granted,
    4: nothing_is_written_twice,
    5: stale_readers_replace_nothing,
    6: only_ours_is_touched,
    7: tokens_cost_no_reads,
    8: ignorance_refuses_nobody,
    9: nothing_secret_is_told,
    10: deletions_are_not_blocked,
    11: names_are_no_identity,
}
_SPEAK_OF: Final[dict[int, tuple[type[Any], ...]]] = {
    1: (Done, Refused), 2: (Done, Issued, Verified), 3: (Issued,), 4: (Done,), 5: (Done,), 6: (Done,),
    7: (Issued, Refused), 8: (Refused,), 9: (Done, Logged), 10: (Done,), 11: (Done, Issued),
}  # fmt: skip
ABOUT: Final = {
    kind: tuple((number, INVARIANTS[number]) for number, kinds in _SPEAK_OF.items() if kind in kinds)
    for kind in (Done, Issued, Refused, Verified, Logged)
}
"""Which invariants speak of which facts."""
