"""Invariants 1, 8 and 11: credentials are accepted, not refused on missing information, and bound to a UID."""

from typing import Final
from urllib.parse import urlsplit

from tests.simulation.invariants.token_status import check_token_status
from tests.simulation.observations import (
    CLIENT_RECORD,
    MAX_SKEW_SECONDS,
    NAMESPACE,
    PROPAGATION_SECONDS,
    Fact,
    Observations,
    TokenIssued,
    TokenRefused,
    TokenStatus,
    Violations,
    is_public,
    jti_prefix,
    owners,
    record_of,
    seconds,
)
from tests.simulation.observe import client_of
from tests.simulation.server import Write

ALLOWED_HOSTS: Final = {"travel": ("travel.hr.example",), "leave": ("travel.hr.example", "leave.hr.example")}
"""Of the redirect URIs of users, by namespace, as the configuration of the simulation has them."""
MIN_OVERLAP_SECONDS: Final = 2 * 3600.0
"""The shortest overlap that users of the simulation choose."""
MAX_OVERLAP_SECONDS: Final = 96 * 3600.0
"""The longest `maxOverlap`, and four times the longest overlap, that users choose."""


def secrets_are_accepted(fact: Fact, observed: Observations) -> Violations:
    """1. What a Secret holds, the issuer accepts.

    Checked at each write of a record or Secret, and at each refusal of a credential that a Pod read in time.
    """
    if isinstance(fact, TokenRefused) and fact.status == 401:
        yield from _refused_in_time(fact, observed)
    if not isinstance(fact, Write) or fact.where.plural != "secrets":
        return
    raw = fact.new or fact.old or {}
    yield from _ends_too_late(fact, observed)
    yield from _login_not_allowed(fact, observed)
    if fact.at[0] == NAMESPACE and raw.get("type") == CLIENT_RECORD:
        client = observed.client(client_of(fact))
        uids = [client["metadata"]["uid"]] if client else []
    else:
        uids = owners(raw)
    for owner in uids:
        client, held = observed.by_uid(owner), observed.secrets.get(owner)
        if client is None or held is None or is_public(client):
            continue
        at = client["metadata"]["namespace"], client["metadata"]["name"]
        before = observed.revoked_before(client)
        if (
            at in observed.edited_records
            or held.digest in observed.damaged_digests
            or (before and held.issue_time < before)
        ):
            continue
        if held.digest not in observed.accepted(at):
            yield f"Secret {held.at} holds what the record of {at} does not accept, after {fact.verb} by {fact.actor}"


def _ends_too_late(fact: Write, observed: Observations) -> Violations:
    """A replaced credential ends, even if it is still in use."""
    if observed.is_operator(fact.actor) and (fact.new or {}).get("type") == CLIENT_RECORD:
        for c in record_of(fact.new).get("credentials", ()):
            if "replacedTime" in c and seconds(c["expirationTime"]) > seconds(c["replacedTime"]) + MAX_OVERLAP_SECONDS:
                yield f"a credential of {client_of(fact)} that was replaced at {c['replacedTime']} ends too late"


def _login_not_allowed(fact: Write, observed: Observations) -> Violations:
    """A record has only redirect URIs that the platform allows, and a public client's record no credential."""
    if not observed.is_operator(fact.actor) or (fact.new or {}).get("type") != CLIENT_RECORD:
        return
    record, at = record_of(fact.new), client_of(fact)
    if record.get("public") and record.get("credentials"):
        yield f"the record of {at} is public and has credentials"
    login = record.get("login") or {}
    for uri in login.get("redirectUris", ()):
        host = urlsplit(uri).hostname
        on_loopback = host == "127.0.0.1" and record.get("public")
        if not on_loopback and host not in ALLOWED_HOSTS.get(at[0], ()):
            yield f"the record of {at} sends users to {uri}"
    if login.get("consent") == "Skip" and (at[0] != "leave" or record.get("public")):
        yield f"the record of {at} skips the consent"


def _refused_in_time(fact: TokenRefused, observed: Observations) -> Violations:
    """Refusals of a credential that the Secret holds, or held within the overlap."""
    client, uid = observed.client(fact.client), observed.uid_of_digest.get(fact.digest, "")
    if client is None or uid != client["metadata"]["uid"] or client["spec"].get("disabled") or is_public(client):
        return
    if (
        fact.digest in observed.damaged_digests
        or fact.client in observed.edited_records
        or observed.successors[fact.digest] >= 3
    ):
        return
    held = observed.secrets.get(uid)
    still = held is not None and held.digest == fact.digest
    replaced = observed.replaced_times.get(fact.digest)
    record = observed.client_record(fact.client)
    refused = record.get("disabled") or record.get("orphanedTime")
    if refused or fact.time - observed.record_times.get(f"client.{'.'.join(fact.client)}", 0.0) < PROPAGATION_SECONDS:
        return
    if client["spec"].get("rotation", {}).get("revokedBefore"):
        return
    ago = fact.time - (fact.time if still or replaced is None else replaced)
    if still or (replaced is not None and fact.time < replaced + MIN_OVERLAP_SECONDS - MAX_SKEW_SECONDS):
        yield f"{fact.issuer} refused {fact.client}, whose Secret holds the credential or held it {ago:.0f} s ago"


def missing_information_refuses_no_client(fact: Fact, observed: Observations) -> Violations:
    """8. No refusal on missing information: the issuer reads the record first; if it cannot, it answers 503."""
    if isinstance(fact, TokenStatus):
        yield from check_token_status(fact, observed, 8)
    if not isinstance(fact, TokenRefused) or fact.status != 401:
        return
    record = observed.client_record(fact.client)
    old = fact.time - observed.record_times.get(f"client.{'.'.join(fact.client)}", 0.0)
    refused = record.get("disabled") or record.get("orphanedTime")
    if not record or refused or old < PROPAGATION_SECONDS:
        return
    if fact.digest in observed.accepted(fact.client, fact.time + MAX_SKEW_SECONDS):
        yield f"{fact.issuer} refused {fact.client} a credential that the record accepts, unchanged for {old:.0f} s"


def names_are_not_identities(fact: Fact, observed: Observations) -> Violations:
    """11. A name is not an identity: a client or namespace that is created again inherits nothing."""
    if isinstance(fact, Write) and (fact.new or {}).get("type") == CLIENT_RECORD and observed.is_operator(fact.actor):
        record = record_of(fact.new)
        owner = observed.by_uid(record["uid"])
        if owner and seconds(record["ownerCreationTime"]) != seconds(owner["metadata"]["creationTimestamp"]):
            yield f"the record of {client_of(fact)} has the wrong ownerCreationTime {record['ownerCreationTime']}"
        for c in record.get("credentials", ()):
            made_for = observed.uid_of_digest.get(c["sha256"])
            if made_for != record["uid"] and c["sha256"] not in observed.restored_digests:
                yield f"the record of {client_of(fact)} ({record['uid']}) accepts a credential of {made_for}"
    if isinstance(fact, TokenStatus):
        yield from check_token_status(fact, observed, 11)
    if isinstance(fact, TokenIssued):
        uid = observed.uid_of_digest.get(fact.digest, "")
        if fact.digest not in observed.restored_digests and not fact.claims["jti"].startswith(jti_prefix(uid)):
            yield f"the token of {fact.client} is not bound to {uid}"
        client = observed.client(fact.client)
        current = client["metadata"]["uid"] if client else ""
        created = seconds(client["metadata"]["creationTimestamp"]) if client else 0.0
        fresh = min(fact.time - fact.staleness, observed.converged_time) - PROPAGATION_SECONDS
        if (
            client
            and created < fresh
            and observed.last_user_write < observed.converged_time
            and not fact.claims["jti"].startswith(jti_prefix(current))
        ):
            yield f"{fact.client} ({current}) got a token with a credential of {uid}"
