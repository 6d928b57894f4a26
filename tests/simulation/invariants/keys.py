"""Invariant 2: verifiers know the key of every token."""

from typing import Any, Final

from tests.simulation.invariants.token_status import check_token_status
from tests.simulation.observations import (
    KEY_RECORD,
    MAX_SKEW_SECONDS,
    PROPAGATION_SECONDS,
    Fact,
    Observations,
    TokenIssued,
    TokenStatus,
    TokenVerified,
    Violations,
    record_of,
    seconds,
)
from tests.simulation.server import Write

MAX_TOKEN_SECONDS: Final = 3600.0


def verifiers_know_the_key(fact: Fact, observed: Observations) -> Violations:
    """2. No token is signed with a key that a verifier may not know, and no key is removed before its tokens end."""
    if isinstance(fact, TokenIssued):
        since = observed.published_times.get(fact.kid)
        excused = fact.kid in observed.emergency_keys or fact.kid in observed.damaged_keys
        if since is None and not excused and fact.kid not in observed.revoked_keys:
            yield f"a token is signed by {fact.kid}, which no JWKS holds"
        elif since is not None and not excused and fact.time - since < observed.publish_ahead - MAX_SKEW_SECONDS:
            yield f"a token is signed by {fact.kid}, published {(fact.time - since) / 3600:.1f} h ago"
        if (
            fact.time - fact.staleness - PROPAGATION_SECONDS > observed.revoked_keys.get(fact.kid, fact.time)
            and fact.kid not in observed.damaged_keys
        ):
            yield f"a token is signed by {fact.kid}, which is revoked"
    elif isinstance(fact, TokenStatus):
        yield from check_token_status(fact, observed, 2)
    elif isinstance(fact, TokenVerified):
        kid = fact.token.kid
        excused = kid in observed.emergency_keys | observed.damaged_keys | observed.revoked_keys.keys()
        # No issuer answered its last fetch, so its cache is older than the longest allowed.
        outdated = observed.now - fact.fetched > observed.max_cache
        if not fact.knows_key and not excused and not outdated and fact.source_staleness < 600:
            yield f"a verifier with the JWKS of {fact.fetched:.0f} refuses {kid}: {fact.why}"
    elif isinstance(fact, Write) and observed.is_operator(fact.actor):
        yield from _emergency_without_need(fact, observed)
        yield from _removed_too_early(fact, observed)


def _removed_too_early(fact: Write, observed: Observations) -> Violations:
    removed: set[str] = set()
    if fact.where.plural == "configmaps":
        removed = observed.kids(fact.old) - observed.kids(fact.new)
    elif fact.where.plural == "secrets" and fact.verb == "DELETE":
        removed = (
            {record_of(fact.old)["kid"]}
            if (fact.old or {}).get("type") == KEY_RECORD and record_of(fact.old)
            else set()
        )
    for kid in removed - observed.revoked_keys.keys() - observed.damaged_keys:
        until = max(
            observed.last_expiry[kid],
            _signed_until(kid, record_of(fact.old), observed) + MAX_TOKEN_SECONDS - MAX_SKEW_SECONDS,
        )
        if until > observed.now:
            yield f"{kid} is removed, though a token that it signed may be valid for {until - observed.now:.0f} s more"


def _signed_until(kid: str, deleted: dict[str, Any], observed: Observations) -> float:
    """The last time at which an issuer may have signed with the key: its end, or the start of its successor."""
    records = {record["kid"]: record for record, _ in observed.key_records()}
    own = records.pop(kid, deleted)
    if "signingStartTime" not in own or "signingEndTime" not in own:
        return 0.0
    start = seconds(own["signingStartTime"])
    others = [r for r in records.values() if r["signingKey"] == own["signingKey"] and "signingStartTime" in r]
    starts = [seconds(r["signingStartTime"]) for r in others]
    return min([seconds(own["signingEndTime"]), *(s for s in starts if start < s <= observed.now)])


def _emergency_without_need(fact: Write, observed: Observations) -> Violations:
    """An emergency key is allowed only if no other key can sign."""
    record = record_of(fact.new)
    if fact.old is not None or not record.get("atOnce") or (fact.new or {}).get("type") != KEY_RECORD:
        return
    before = observed.key_revocations.get(record["signingKey"])
    for other, raw in observed.key_records():
        if before and seconds(other["creationTime"]) < seconds(before):
            continue  # it is about to be removed
        signs = "signingStartTime" in other and "revokedTime" not in other and "private.pem" in raw["data"]
        inside = (
            signs
            and seconds(other["signingStartTime"]) + MAX_SKEW_SECONDS
            < observed.now
            < seconds(other["signingEndTime"]) - MAX_SKEW_SECONDS
        )
        if inside and other["kid"] not in observed.damaged_keys and other["signingKey"] == record["signingKey"]:
            yield f"{record['kid']} is an emergency key, though {other['kid']} can sign"
