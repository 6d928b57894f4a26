"""Invariants 3 and 7: the scopes of a token, and the reads that it costs."""

from tests.simulation.invariants.token_status import check_token_status
from tests.simulation.observations import (
    PROPAGATION_SECONDS,
    Fact,
    Observations,
    TokenIssued,
    TokenRefused,
    TokenStatus,
    Violations,
)


def scopes_are_asked_declared_and_granted(fact: Fact, observed: Observations) -> Violations:
    """3. A token has no scope outside asked for ∩ declared ∩ granted, and does not outlive the grant.

    Computed from manifests alone. A withdrawal since all processes last had all objects may not have arrived yet.
    """
    if isinstance(fact, TokenStatus):
        yield from check_token_status(fact, observed, 3)
    if (
        not isinstance(fact, TokenIssued)
        or observed.last_user_write >= observed.converged_time
        or fact.claims["aud"] in observed.unprovable_audiences
    ):
        return
    client = observed.client(fact.client)
    uids = {observed.uid_of_digest.get(fact.digest, ""), client["metadata"]["uid"] if client else ""}
    since = min(observed.converged_time, fact.time - fact.staleness) - PROPAGATION_SECONDS
    for scope in fact.claims["scope"].split():
        found = [observed.access.get((uid, fact.claims["aud"], scope), (0.0, -1.0)) for uid in uids]
        ends, seen = max(end for end, _ in found), max(at for _, at in found)
        if (seen < since or fact.claims["exp"] > ends) and _stays(fact, observed):
            return
        if seen < since:
            yield f"{fact.client} got {scope} for {fact.claims['aud']}, not granted since {since:.0f}"
        elif fact.claims["exp"] > ends:
            yield f"a token of {fact.client} with {scope} outlives its grant by {fact.claims['exp'] - ends:.0f} s"


def _stays(fact: TokenIssued, observed: Observations) -> bool:
    """Whether a record behind the token may stay because its owner may have been deleted with its CRD."""
    servers = [at for at, record in observed.server_records().items() if record["audience"] == fact.claims["aud"]]
    return observed.may_stay("oauthclients", fact.client) or any(
        observed.may_stay("resourceservers", at) for at in servers
    )


def tokens_cost_no_reads(fact: Fact, observed: Observations) -> Violations:
    """7. A token costs no I/O, and the issuer continues while the operator or the API server is down."""
    if isinstance(fact, TokenIssued) and fact.known_to_issuer and fact.reads:
        yield f"{fact.issuer} read {fact.reads} times for a token whose credential it knew"
    if isinstance(fact, TokenRefused) and fact.known_to_issuer and (fact.status >= 500 or fact.reads):
        yield f"{fact.issuer} answered {fact.status} {fact.error} ({fact.reads} reads) to a credential it knew"
