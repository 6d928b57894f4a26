"""Invariants 1 to 11: a function each, which yields the violations that a fact shows, without using the product."""

from collections.abc import Callable
from typing import Any, Final

from tests.simulation.invariants import credentials, keys, tokens, writes
from tests.simulation.observations import (
    Fact,
    LogLine,
    Observations,
    TokenIssued,
    TokenRefused,
    TokenStatus,
    TokenVerified,
    UserAccessSeen,
    Violations,
)
from tests.simulation.server import Write

INVARIANTS: Final[dict[int, Callable[[Fact, Observations], Violations]]] = {
    1: credentials.secrets_are_accepted,
    2: keys.verifiers_know_the_key,
    3: tokens.scopes_are_asked_declared_and_granted,
    4: writes.nothing_is_written_twice,
    5: writes.stale_readers_replace_nothing,
    6: writes.only_managed_objects_are_written,
    7: tokens.tokens_cost_no_reads,
    8: credentials.missing_information_refuses_no_client,
    9: writes.nothing_secret_is_published,
    10: writes.deletions_are_not_blocked,
    11: credentials.names_are_not_identities,
}
_FACTS_OF: Final[dict[int, tuple[type[Any], ...]]] = {
    1: (Write, TokenRefused),
    2: (Write, TokenIssued, TokenVerified, TokenStatus),
    3: (TokenIssued, TokenStatus, UserAccessSeen),
    4: (Write,),
    5: (Write, TokenStatus),
    6: (Write,),
    7: (TokenIssued, TokenRefused),
    8: (TokenRefused, TokenStatus),
    9: (Write, LogLine),
    10: (Write,),
    11: (Write, TokenIssued, TokenStatus),
}
INVARIANTS_OF: Final = {
    kind: tuple((number, INVARIANTS[number]) for number, kinds in _FACTS_OF.items() if kind in kinds)
    for kind in (Write, TokenIssued, UserAccessSeen, TokenRefused, TokenVerified, TokenStatus, LogLine)
}
"""By type of a fact: the invariants that it can break."""
