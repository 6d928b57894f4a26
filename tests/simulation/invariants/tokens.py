"""3 and 7: what is in a token, and what it costs."""

from tests.simulation.invariants.held import answered
from tests.simulation.ledger import (
    SETTLING,
    Complaints,
    Fact,
    Issued,
    Ledger,
    Refused,
    Told,
)


def scopes_are_asked_declared_and_granted(fact: Fact, ledger: Ledger) -> Complaints:
    """3. A token never carries a scope outside asked ∩ declared ∩ granted, nor lives past the grant's end.

    Judged from manifests alone; what was withdrawn since everything was last in step may still be on its way.
    """
    if isinstance(fact, Told):
        yield from answered(fact, ledger, 3)
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


def tokens_cost_no_reads(fact: Fact, ledger: Ledger) -> Complaints:
    """7. A token costs no I/O, and the issuer goes on while the operator or the API server is down."""
    if isinstance(fact, Issued) and fact.known and fact.reads:
        yield f"{fact.issuer} read {fact.reads} times for a token whose credential it knew"
    if isinstance(fact, Refused) and fact.known and (fact.status >= 500 or fact.reads):
        yield f"{fact.issuer} answered {fact.status} {fact.error} ({fact.reads} reads) to a credential it knew"
