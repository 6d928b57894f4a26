"""How the ledger follows what is done. Called after the invariants have looked at a write."""

from scopewright.core.records.names import REVOCATIONS_NAME, SEAL_KEY_TYPE
from tests.simulation.ledger import (
    CLIENT_RECORD,
    CREDENTIALS,
    KEY_RECORD,
    NAMESPACE,
    SKEW,
    Held,
    Issued,
    Ledger,
    digest_in,
    owners,
    read,
    record_of,
    seconds,
    secret_name,
)
from tests.simulation.server import USER, At, Done, Raw


def note(ledger: Ledger, done: Done) -> None:
    plural = done.where.plural
    if done.at[0] == NAMESPACE and plural in ("secrets", "configmaps") and done.actor == USER:
        ledger.meddled = ledger.now
    if plural == "oauthclients" and done.new:
        _revocation(ledger, done.new)
    if plural == "signingkeys" and done.new and (before := done.new["spec"].get("revokedBefore")):
        ledger.ends_keys_before[done.at[1]] = before
    if done.at[0] == NAMESPACE and plural in ("secrets", "configmaps"):
        _decided_by(ledger, done)
    if plural == "secrets":
        raw = done.new or done.old or {}
        if done.at[0] == NAMESPACE and raw.get("type") == CLIENT_RECORD:
            _client_record(ledger, done)
        elif done.at[0] == NAMESPACE and raw.get("type") == KEY_RECORD:
            _key_record(ledger, done)
        else:
            _credential(ledger, done)
    elif plural == "configmaps":
        _published(ledger, done)


def _decided_by(ledger: Ledger, done: Done) -> None:
    """When what issuers decide by was changed, and what they write themselves."""
    name = done.at[1]
    if name == REVOCATIONS_NAME:
        if done.actor == USER:
            ledger.revocations_meddled = ledger.now
        if done.actor == USER or done.old is None:
            ledger.revocations_made = ledger.now
    if not name.startswith(("client.", "resourceserver.", "signingkey.", "scopewright-jwks")):
        return
    ledger.records_changed = ledger.now
    if name.startswith(("client.", "resourceserver.")) and _access(done.old) != _access(done.new):
        ledger.access_changed[name] = ledger.now


def _access(raw: Raw | None) -> tuple[object, ...]:
    """What a record says about who may have what."""
    text = ((raw or {}).get("data") or {}).get("record.json", "")
    record = (record_of(raw) if raw and "type" in raw else read(text)) if text else {}
    names = ("uid", "audience", "disabled", "orphanedTime", "access", "scopes", "grants", "servedBy")
    return tuple(record.get(name) for name in names)


def _revocation(ledger: Ledger, client: Raw) -> None:
    """What is revoked once stays so, whatever becomes of `revokedBefore`; what is named elsewhere is not held."""
    held, before = ledger.held.get(client["metadata"]["uid"]), ledger.revoked_before(client)
    named = client["metadata"]["namespace"], secret_name(client)
    found = ledger.server.get("secrets", *named)
    moves = held is None or held.at != named
    if found and moves and client["metadata"]["uid"] in owners(found):
        # It moves to where a Secret is already: if that is an earlier one of its own, that is what counts again.
        ledger.restored.add(digest_in(found))
        ledger.withdrawn.pop(digest_in(found), None)
    if found and held and held.at != named:
        ledger.replaced.setdefault(held.digest, ledger.now)
        del ledger.held[client["metadata"]["uid"]]
    if before:
        # Those in their overlap too.
        uid = client["metadata"]["uid"]
        issued = ((d, at) for d, at in ledger.issued.items() if ledger.minted_for.get(d) == uid)
        ledger.spoiled.update(digest for digest, at in issued if at < before + SKEW)


def client_of(done: Done) -> At:
    _, namespace, name = (*done.at[1].split(".", 2), "", "")[:3]
    return namespace, name


def _credential(ledger: Ledger, done: Done) -> None:
    key = (done.where.plural, done.at)
    if ledger.is_operator(done.actor) and done.new:
        if done.old is None:
            ledger.foreign.discard(key)
        _handed_out(ledger, done, done.new)
        return
    for uid, held in list(ledger.held.items()):
        if held.at == done.at and digest_in(done.new) != held.digest:
            ledger.replaced.setdefault(held.digest, ledger.now)
            del ledger.held[uid]
    if done.new is None:
        ledger.foreign.discard(key)
    elif done.new.get("type") != CREDENTIALS or "scopewright.dev/seal" not in (
        done.new["metadata"].get("annotations") or {}
    ):
        if done.old is None and done.new.get("type") != SEAL_KEY_TYPE:  # one that is restored is the operator's
            ledger.foreign.add(key)
    else:
        ledger.restored.add(digest_in(done.new))
        _brought_back(ledger, done)
        ledger.withdrawn.pop(digest_in(done.new), None)


def _handed_out(ledger: Ledger, done: Done, raw: Raw) -> None:
    new = digest_in(raw)
    for uid in owners(raw):
        old = ledger.held.get(uid)
        if old and old.at != done.at and done.old and digest_in(done.old) == new:
            continue  # An earlier Secret is sealed anew: nobody is pointed to it by that.
        issued = raw["metadata"].get("annotations", {}).get("scopewright.dev/issue-time", "")
        if old and old.digest != new:
            ledger.replaced[old.digest] = ledger.now
        ledger.held[uid] = Held(done.at, new, seconds(issued))
        ledger.issued[new] = seconds(issued)


def _brought_back(ledger: Ledger, done: Done) -> None:
    """A Secret from a backup, where a client has its own: it may become the credential, and what followed it ends."""
    for (namespace, _), client in ledger.server.all("oauthclients").items():
        if (namespace, secret_name(client)) == done.at:
            held = ledger.held.pop(client["metadata"]["uid"], None)
            if held:
                ledger.replaced.setdefault(held.digest, ledger.now)


def _client_record(ledger: Ledger, done: Done) -> None:
    at = client_of(done)
    old, new = record_of(done.old), record_of(done.new)
    before = {c["sha256"] for c in old.get("credentials", ())}
    after = {c["sha256"] for c in new.get("credentials", ())}
    ledger.stale[done.at[1]] = ledger.now
    if ledger.is_operator(done.actor):
        for digest in after - before:
            ledger.minted_for.setdefault(digest, new.get("uid", ""))
            for other in before:
                ledger.successors[other] += 1
        for digest in before - after:
            ledger.withdrawn[digest] = ledger.now
        client = ledger.client(at)
        held = ledger.held.get(client["metadata"]["uid"]) if client else None
        if held is None or held.digest in ledger.accepted(at):
            ledger.tampered.discard(at)
        return
    ledger.tampered.add(at)
    ledger.forgotten |= {d for d, uid in ledger.minted_for.items() if uid == old.get("uid")}
    ledger.spoiled |= before | {d for d, uid in ledger.minted_for.items() if uid in (old.get("uid"), new.get("uid"))}
    ledger.restored |= after
    for digest in after:
        ledger.withdrawn.pop(digest, None)


def _key_record(ledger: Ledger, done: Done) -> None:
    old, new = record_of(done.old), record_of(done.new)
    kid = str((new or old).get("kid", ""))
    if new.get("atOnce"):
        ledger.emergency.add(kid)
    if new.get("revokedTime"):
        ledger.revoked.setdefault(kid, ledger.now)
    if not ledger.is_operator(done.actor):
        ledger.lost.add(kid)


def _published(ledger: Ledger, done: Done) -> None:
    if done.at[0] != NAMESPACE or not done.at[1].startswith("scopewright-jwks"):
        return
    before, after = ledger.kids(done.old), ledger.kids(done.new)
    for kid in after:
        ledger.published.setdefault(kid, ledger.now)
    if ledger.is_operator(done.actor):
        for kid in before - after:
            ledger.published.pop(kid, None)
    else:
        ledger.lost |= before - after


def note_token(ledger: Ledger, token: Issued) -> None:
    ledger.max_exp[token.kid] = max(ledger.max_exp[token.kid], token.claims["exp"])
    ledger.signed_first.setdefault(token.kid, token.at)
