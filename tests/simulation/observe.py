"""Updates the observations after each write and token, once the invariants have checked it."""

from scopewright.core.records.names import REVOCATIONS_NAME, SEAL_KEY_TYPE
from tests.simulation.observations import (
    CLIENT_RECORD,
    CREDENTIALS,
    KEY_RECORD,
    MAX_SKEW_SECONDS,
    NAMESPACE,
    Observations,
    TokenIssued,
    WrittenSecret,
    credential_digest,
    owners,
    read,
    record_of,
    seconds,
    secret_name,
)
from tests.simulation.server import USER, NamespacedName, Raw, Write


def observe_write(observed: Observations, write: Write) -> None:
    plural = write.where.plural
    if write.at[0] == NAMESPACE and plural in ("secrets", "configmaps") and write.actor == USER:
        observed.last_user_write = observed.now
    if plural == "oauthclients" and write.new:
        _revocation(observed, write.new)
    if plural == "signingkeys" and write.new and (before := write.new["spec"].get("revokedBefore")):
        observed.key_revocations[write.at[1]] = before
    if write.at[0] == NAMESPACE and plural in ("secrets", "configmaps"):
        _record_changed(observed, write)
    if plural == "secrets":
        raw = write.new or write.old or {}
        if write.at[0] == NAMESPACE and raw.get("type") == CLIENT_RECORD:
            _client_record(observed, write)
        elif write.at[0] == NAMESPACE and raw.get("type") == KEY_RECORD:
            _key_record(observed, write)
        else:
            _credential(observed, write)
    elif plural == "configmaps":
        _published(observed, write)


def _record_changed(observed: Observations, write: Write) -> None:
    """When the records that issuers read, and those that they write, were last changed."""
    name = write.at[1]
    if name == REVOCATIONS_NAME:
        if write.actor == USER:
            observed.revocations_edited_time = observed.now
        if write.actor == USER or write.old is None:
            observed.revocations_reset_time = observed.now
    if not name.startswith(("client.", "resourceserver.", "signingkey.", "scopewright-jwks")):
        return
    observed.records_changed_time = observed.now
    if name.startswith(("client.", "resourceserver.")) and _access(write.old) != _access(write.new):
        observed.access_changed_times[name] = observed.now


def _access(raw: Raw | None) -> tuple[object, ...]:
    """The fields of a record that decide about access."""
    text = ((raw or {}).get("data") or {}).get("record.json", "")
    record = (record_of(raw) if raw and "type" in raw else read(text)) if text else {}
    names = ("uid", "audience", "disabled", "orphanedTime", "access", "scopes", "grants", "roles", "servedBy")
    return tuple(record.get(name) for name in names)


def _revocation(observed: Observations, client: Raw) -> None:
    """A revoked credential stays revoked even if `revokedBefore` is removed; after a rename another Secret counts."""
    held, before = observed.secrets.get(client["metadata"]["uid"]), observed.revoked_before(client)
    named = client["metadata"]["namespace"], secret_name(client)
    found = observed.server.get("secrets", *named)
    moves = held is None or held.at != named
    if found and moves and client["metadata"]["uid"] in owners(found):
        # A Secret with the new name exists: if it is an earlier one of this client, its credential is current again.
        observed.restored_digests.add(credential_digest(found))
        observed.withdrawn_digests.pop(credential_digest(found), None)
    if found and held and held.at != named:
        observed.replaced_times.setdefault(held.digest, observed.now)
        del observed.secrets[client["metadata"]["uid"]]
    if before:
        # Also previous credentials in their overlap.
        uid = client["metadata"]["uid"]
        issued = ((d, at) for d, at in observed.issue_times.items() if observed.uid_of_digest.get(d) == uid)
        observed.damaged_digests.update(digest for digest, at in issued if at < before + MAX_SKEW_SECONDS)


def client_of(write: Write) -> NamespacedName:
    _, namespace, name = (*write.at[1].split(".", 2), "", "")[:3]
    return namespace, name


def _credential(observed: Observations, write: Write) -> None:
    key = (write.where.plural, write.at)
    if observed.is_operator(write.actor) and write.new:
        if write.old is None:
            observed.foreign_objects.discard(key)
        _operator_wrote_secret(observed, write, write.new)
        return
    for uid, held in list(observed.secrets.items()):
        if held.at == write.at and credential_digest(write.new) != held.digest:
            observed.replaced_times.setdefault(held.digest, observed.now)
            del observed.secrets[uid]
    if write.new is None:
        observed.foreign_objects.discard(key)
    elif write.new.get("type") != CREDENTIALS or "scopewright.dev/seal" not in (
        write.new["metadata"].get("annotations") or {}
    ):
        if (
            write.old is None and write.new.get("type") != SEAL_KEY_TYPE
        ):  # a restored seal key is managed by the operator
            observed.foreign_objects.add(key)
    else:
        observed.restored_digests.add(credential_digest(write.new))
        _secret_restored(observed, write)
        observed.withdrawn_digests.pop(credential_digest(write.new), None)


def _operator_wrote_secret(observed: Observations, write: Write, raw: Raw) -> None:
    new = credential_digest(raw)
    for uid in owners(raw):
        old = observed.secrets.get(uid)
        if old and old.at != write.at and write.old and credential_digest(write.old) == new:
            continue  # An earlier Secret is sealed again, which does not make it current.
        issued = raw["metadata"].get("annotations", {}).get("scopewright.dev/issue-time", "")
        if old and old.digest != new:
            observed.replaced_times[old.digest] = observed.now
        observed.secrets[uid] = WrittenSecret(write.at, new, seconds(issued))
        observed.issue_times[new] = seconds(issued)


def _secret_restored(observed: Observations, write: Write) -> None:
    """A restored Secret under the name of a client's own: its credential may become current, and later ones end."""
    for (namespace, _), client in observed.server.all("oauthclients").items():
        if (namespace, secret_name(client)) == write.at:
            held = observed.secrets.pop(client["metadata"]["uid"], None)
            if held:
                observed.replaced_times.setdefault(held.digest, observed.now)


def _client_record(observed: Observations, write: Write) -> None:
    at = client_of(write)
    old, new = record_of(write.old), record_of(write.new)
    before = {c["sha256"] for c in old.get("credentials", ())}
    after = {c["sha256"] for c in new.get("credentials", ())}
    observed.record_times[write.at[1]] = observed.now
    if observed.is_operator(write.actor):
        for digest in after - before:
            observed.uid_of_digest.setdefault(digest, new.get("uid", ""))
            for other in before:
                observed.successors[other] += 1
        for digest in before - after:
            observed.withdrawn_digests[digest] = observed.now
        if new.get("public"):
            observed.damaged_digests |= before  # they end without an overlap
        client = observed.client(at)
        held = observed.secrets.get(client["metadata"]["uid"]) if client else None
        if held is None or held.digest in observed.accepted(at):
            observed.edited_records.discard(at)
        return
    observed.edited_records.add(at)
    observed.forgotten_digests |= {d for d, uid in observed.uid_of_digest.items() if uid == old.get("uid")}
    observed.damaged_digests |= before | {
        d for d, uid in observed.uid_of_digest.items() if uid in (old.get("uid"), new.get("uid"))
    }
    observed.restored_digests |= after
    for digest in after:
        observed.withdrawn_digests.pop(digest, None)


def _key_record(observed: Observations, write: Write) -> None:
    old, new = record_of(write.old), record_of(write.new)
    kid = str((new or old).get("kid", ""))
    if new.get("atOnce"):
        observed.emergency_keys.add(kid)
    if new.get("revokedTime"):
        observed.revoked_keys.setdefault(kid, observed.now)
    if not observed.is_operator(write.actor):
        observed.damaged_keys.add(kid)


def _published(observed: Observations, write: Write) -> None:
    if write.at[0] != NAMESPACE or not write.at[1].startswith("scopewright-jwks"):
        return
    before, after = observed.kids(write.old), observed.kids(write.new)
    for kid in after:
        observed.published_times.setdefault(kid, observed.now)
    if observed.is_operator(write.actor):
        for kid in before - after:
            observed.published_times.pop(kid, None)
    else:
        observed.damaged_keys |= before - after


def observe_token(observed: Observations, token: TokenIssued) -> None:
    observed.last_expiry[token.kid] = max(observed.last_expiry[token.kid], token.claims["exp"])
