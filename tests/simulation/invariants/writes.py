"""4, 5, 6, 9 and 10: what operators write, and what they leave alone."""

from tests.simulation.bookkeeping import client_of
from tests.simulation.invariants.held import answered
from tests.simulation.ledger import (
    CLIENT_RECORD,
    CREDENTIALS,
    NAMESPACE,
    Complaints,
    Fact,
    Ledger,
    Logged,
    Told,
    owners,
    record_of,
    seconds,
)
from tests.simulation.server import CRDS, DECLARED, KIND_OF, Done, Raw


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
    if isinstance(fact, Told):
        yield from answered(fact, ledger, 5)
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
            withdrawn = c["sha256"] in ledger.withdrawn and c["sha256"] not in ledger.restored
            if withdrawn and c["sha256"] not in before and not _adoptable(c, fact, ledger):
                yield f"{fact.actor} brought a withdrawn credential of {client_of(fact)} back"
    if new.get("kid") in ledger.revoked and not new.get("revokedTime"):
        yield f"{fact.actor} brought the revoked key {new['kid']} back"


def _adoptable(credential: Raw, fact: Done, ledger: Ledger) -> bool:
    """Whether nothing says any more that it was withdrawn, no record and no manifest."""
    client = ledger.client(client_of(fact))
    before = ledger.revoked_before(client) if client else None
    revoked = before is not None and seconds(credential["issueTime"]) < before
    return credential["sha256"] in ledger.forgotten and not revoked


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
    # A namespace that its owner has deleted is proof for everything that was in it.
    if uid in ledger.crd_lost and owner is None and ledger.server.get("namespaces", "", client_of(fact)[0]):
        yield f"{fact.actor} deleted the record of {plural} {client_of(fact)}, which went with its CRD"


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
    for marker in (ledger.marker, "PRIVATE KEY", "eyJhbGci", '"d":', "'d':"):
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
