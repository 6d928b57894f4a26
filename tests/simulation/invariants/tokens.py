"""Invariants 3 and 7: the scopes of a token, and the reads that it costs."""

from collections.abc import Mapping

from tests.simulation.invariants.token_status import check_token_status
from tests.simulation.observations import (
    PROPAGATION_SECONDS,
    Fact,
    Observations,
    TokenIssued,
    TokenRefused,
    TokenStatus,
    UserAccessSeen,
    Violations,
)
from tests.simulation.server import NamespacedName


def scopes_are_asked_declared_and_granted(fact: Fact, observed: Observations) -> Violations:
    """3. A token has no scope or role outside asked for ∩ declared ∩ granted, and does not outlive the grant.

    What a user may have through a client is checked without a token. Computed from manifests alone. A withdrawal since
    all processes last had all objects may not have arrived yet.
    """
    if isinstance(fact, TokenStatus):
        yield from check_token_status(fact, observed, 3)
    if isinstance(fact, TokenIssued):
        names = (*fact.claims["scope"].split(), *(f"role {role}" for role in fact.claims.get("roles", ())))
        yield from _outside(fact, fact.claims["aud"], dict.fromkeys(names, fact.claims["exp"]), observed)
    if isinstance(fact, UserAccessSeen):
        ends = {f"{fact.user} {name}": end for name, end in fact.ends.items()}
        yield from _outside(fact, fact.audience, ends, observed)


def _outside(
    fact: TokenIssued | UserAccessSeen, audience: str, granted_until: Mapping[str, float], observed: Observations
) -> Violations:
    if observed.last_user_write >= observed.converged_time or audience in observed.unprovable_audiences:
        return
    client = observed.client(fact.client)
    uids = {observed.uid_of_digest.get(fact.digest, ""), client["metadata"]["uid"] if client else ""}
    since = min(observed.converged_time, fact.time - fact.staleness) - PROPAGATION_SECONDS
    for name, until in granted_until.items():
        found = [observed.access.get((uid, audience, name), (0.0, -1.0)) for uid in uids]
        ends, seen = max(end for end, _ in found), max(at for _, at in found)
        if (seen < since or until > ends) and _stays(fact.client, audience, observed):
            return
        if seen < since:
            yield f"{fact.client} got {name} for {audience}, not granted since {since:.0f}"
        elif until > ends:
            yield f"{name} for {audience} of {fact.client} outlives its grant by {until - ends:.0f} s"


def _stays(client: NamespacedName, audience: str, observed: Observations) -> bool:
    """Whether a record behind the access may stay because its owner may have been deleted with its CRD."""
    servers = [at for at, record in observed.server_records().items() if record["audience"] == audience]
    return observed.may_stay("oauthclients", client) or any(observed.may_stay("resourceservers", at) for at in servers)


def tokens_cost_no_reads(fact: Fact, observed: Observations) -> Violations:
    """7. A token costs no I/O, and the issuer continues while the operator or the API server is down."""
    if isinstance(fact, TokenIssued) and fact.known_to_issuer and fact.reads:
        yield f"{fact.issuer} read {fact.reads} times for a token whose credential it knew"
    if isinstance(fact, TokenRefused) and fact.known_to_issuer and (fact.status >= 500 or fact.reads):
        yield f"{fact.issuer} answered {fact.status} {fact.error} ({fact.reads} reads) to a credential it knew"
