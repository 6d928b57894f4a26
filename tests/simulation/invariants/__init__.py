"""The eleven invariants, one function each: what it finds wrong with a fact, judged without the code's own help."""

from collections.abc import Callable
from typing import Any, Final

from tests.simulation.invariants import credentials, keys, tokens, writes
from tests.simulation.ledger import Complaints, Fact, Issued, Ledger, Logged, Refused, Told, Verified
from tests.simulation.server import Done

INVARIANTS: Final[dict[int, Callable[[Fact, Ledger], Complaints]]] = {
    1: credentials.secrets_are_accepted,
    2: keys.verifiers_know_the_key,
    3: tokens.scopes_are_asked_declared_and_granted,
    4: writes.nothing_is_written_twice,
    5: writes.stale_readers_replace_nothing,
    6: writes.only_ours_is_touched,
    7: tokens.tokens_cost_no_reads,
    8: credentials.ignorance_refuses_nobody,
    9: writes.nothing_secret_is_told,
    10: writes.deletions_are_not_blocked,
    11: credentials.names_are_no_identity,
}
_SPEAK_OF: Final[dict[int, tuple[type[Any], ...]]] = {
    1: (Done, Refused), 2: (Done, Issued, Verified, Told), 3: (Issued, Told), 4: (Done,), 5: (Done, Told), 6: (Done,),
    7: (Issued, Refused), 8: (Refused, Told), 9: (Done, Logged), 10: (Done,), 11: (Done, Issued, Told),
}  # fmt: skip
ABOUT: Final = {
    kind: tuple((number, INVARIANTS[number]) for number, kinds in _SPEAK_OF.items() if kind in kinds)
    for kind in (Done, Issued, Refused, Verified, Told, Logged)
}
"""Which invariants speak of which facts."""
