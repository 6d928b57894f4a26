"""Invariants 4, 5, 6, 9 and 10: the writes of operators."""

from tests.simulation.invariants.token_status import check_token_status
from tests.simulation.observations import (
    CLIENT_RECORD,
    CREDENTIALS,
    NAMESPACE,
    Fact,
    LogLine,
    Observations,
    TokenStatus,
    Violations,
    owners,
    read,
    record_of,
    seconds,
)
from tests.simulation.observe import client_of
from tests.simulation.server import CRDS, DECLARED, KIND_OF, Raw, Write


def nothing_is_written_twice(fact: Fact, observed: Observations) -> Violations:
    """4. Decisions are level-triggered: a second run writes nothing.

    Checked at each write, which must change something, and at the end of each seed (`final_checks.FinalChecks.run`).
    """
    if (
        isinstance(fact, Write)
        and fact.verb == "PUT"
        and observed.is_operator(fact.actor)
        and fact.where.plural != "leases"
    ):
        old, new = ({**(raw or {}), "metadata": _meaning(raw or {})} for raw in (fact.old, fact.new))
        if old == new:
            yield f"{fact.actor} wrote {fact.where.plural} {fact.at} without a change"


def _meaning(raw: dict[str, object]) -> dict[str, object]:
    meta = raw.get("metadata")
    managed = ("labels", "annotations", "ownerReferences")
    return {k: v for k, v in meta.items() if k in managed} if isinstance(meta, dict) else {}


def _hostnames_without_claim(fact: Write, observed: Observations) -> Violations:
    """The claim is created before a record has the hostname: of two concurrent ones the second creation fails."""
    if fact.where.plural != "configmaps" or not fact.at[1].startswith("resourceserver.") or not fact.new:
        return
    record = read(fact.new["data"]["record.json"])
    http = record.get("http") or {}
    claims = (
        read(raw["data"]["record.json"])
        for (_, name), raw in observed.server.all("configmaps").items()
        if name.startswith("hostname.") and http
    )
    claimed = {(c["hostname"], c["basePath"]): (c["namespace"], c["name"]) for c in claims}
    for hostname in http.get("hostnames", ()):
        if claimed.get((hostname, http["basePath"])) != (record["namespace"], record["name"]):
            yield f"{fact.actor} served {hostname} by {fact.at} without a claim"


def stale_readers_replace_nothing(fact: Fact, observed: Observations) -> Violations:
    """5. A stale reader replaces nothing: every write creates, or names the resourceVersion that was read."""
    if isinstance(fact, TokenStatus):
        yield from check_token_status(fact, observed, 5)
    if not isinstance(fact, Write) or not observed.is_operator(fact.actor) or fact.where.plural in ("events", "leases"):
        return
    body = fact.body or {}
    meta = body.get("preconditions", {}) if fact.verb == "DELETE" else body.get("metadata", {})
    if fact.verb != "POST" and not meta.get("resourceVersion"):
        yield f"{fact.actor} did {fact.verb} of {fact.where.plural} {fact.at} without a resourceVersion"
    new, old = record_of(fact.new), record_of(fact.old)
    yield from _hostnames_without_claim(fact, observed)
    if fact.new and fact.new.get("type") == CLIENT_RECORD:
        before = {c["sha256"] for c in old.get("credentials", ())}
        for c in new.get("credentials", ()):
            withdrawn = c["sha256"] in observed.withdrawn_digests and c["sha256"] not in observed.restored_digests
            if withdrawn and c["sha256"] not in before and not _adoptable(c, fact, observed):
                yield f"{fact.actor} restored a withdrawn credential of {client_of(fact)}"
    if new.get("kid") in observed.revoked_keys and not new.get("revokedTime"):
        yield f"{fact.actor} restored the revoked key {new['kid']}"


def _adoptable(credential: Raw, fact: Write, observed: Observations) -> bool:
    """Whether no record and no manifest contains the withdrawal any more."""
    client = observed.client(client_of(fact))
    before = observed.revoked_before(client) if client else None
    revoked = before is not None and seconds(credential["issueTime"]) < before
    return credential["sha256"] in observed.forgotten_digests and not revoked


def only_managed_objects_are_written(fact: Fact, observed: Observations) -> Violations:
    """6. Scopewright writes only objects that it manages, and deletes nothing on missing information."""
    if not isinstance(fact, Write) or not observed.is_operator(fact.actor):
        return
    if fact.old is not None and (fact.where.plural, fact.at) in observed.foreign_objects:
        yield f"{fact.actor} did {fact.verb} of {fact.where.plural} {fact.at}, which Scopewright does not manage"
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
    owner = observed.server.get(plural, *client_of(fact))
    if owner and owner["metadata"]["uid"] == uid:
        yield f"{fact.actor} deleted the record of {plural} {client_of(fact)}, which exists"
    # The deletion of a namespace proves that all objects in it are deleted.
    if uid in observed.deleted_with_crd and owner is None and observed.server.get("namespaces", "", client_of(fact)[0]):
        yield f"{fact.actor} deleted the record of {plural} {client_of(fact)}, which was deleted with its CRD"


def nothing_secret_is_published(fact: Fact, observed: Observations) -> Violations:
    """9. Nothing secret is published: not in a log, event, status, ConfigMap or record.

    Secrets of the simulation contain a marker, for which all of these are searched.
    """
    if isinstance(fact, LogLine):
        text, where = fact.text, "a log line"
    elif isinstance(fact, Write) and observed.is_operator(fact.actor):
        if fact.where.plural == "secrets":
            text = str(record_of(fact.new))
        else:
            text = str({k: v for k, v in (fact.new or {}).items() if k != "spec"})
        where = f"{fact.where.plural} {fact.at}"
    else:
        return
    for marker in (observed.marker, "PRIVATE KEY", "eyJhbGci", '"d":', "'d':"):
        if marker in text:
            yield f"{where} contains a secret: {marker}"


def deletions_are_not_blocked(fact: Fact, observed: Observations) -> Violations:
    """10. Scopewright blocks no deletion: no finalizer, no blockOwnerDeletion, only the status of users' objects."""
    if not isinstance(fact, Write) or not observed.is_operator(fact.actor):
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
        found = observed.by_uid(owner["uid"])
        if found and found["metadata"]["namespace"] != fact.at[0]:
            yield f"{fact.where.plural} {fact.at} is owned across namespaces"
