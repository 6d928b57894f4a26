"""The DPoP rules of a verifier: whether a token needs a proof, and whether a proof fits its request (RFC 9449)."""

import copy
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Self

from scopewright.verifier.nonces import Nonces
from scopewright.verifier.proof import BadProof, check_proof
from scopewright.verifier.refusals import PROOF_ALGORITHMS, Reason, TokenRejected
from scopewright.verifier.replay import Replay, ReplayMemory
from scopewright.verifier.token import Token


class DpopRules:
    """`leeway` is the tolerated clock difference in seconds. Raises ValueError for an algorithm that is not supported.

    Verifiers of several audiences share one: a proof is for one URL, and may be used once, whatever the audience.
    """

    def __init__(
        self,
        *,
        required: bool,
        algorithms: Iterable[str],
        replay: Replay | None,
        nonces: Nonces | None,
        clock: Callable[[], float],
        leeway: float,
    ) -> None:
        self.required = required
        self.algorithms = _proof_algorithms(algorithms)
        self.nonces = nonces
        self._replay = replay or ReplayMemory(clock=clock)
        self._clock = clock
        self._leeway = leeway

    def with_required(self, required: bool) -> Self:
        """The same rules, with the same used proofs, for an API that requires DPoP or does not."""
        other = copy.copy(self)
        other.required = required
        return other

    def nonce(self) -> str | None:
        return self.nonces.current(self._clock()) if self.nonces is not None else None

    def check(self, token: Token, sent: str | Sequence[str] | None, method: str, url: str) -> bool | Awaitable[bool]:
        """Whether the proof is used for the first time. Raises `TokenRejected` (RFC 9449 §7.1)."""
        if token.jkt is None:
            if sent is None and not self.required:
                return True
            raise TokenRejected(Reason.PROOF_NEEDED if self.required else Reason.NOT_BOUND)
        if sent is None:
            raise TokenRejected(Reason.SENDER_CONSTRAINED)
        if not method or not url:
            raise ValueError("a proof is valid for one method and one URL: pass those of the request")
        now = self._clock()
        try:
            proof = check_proof(
                (sent,) if isinstance(sent, str) else sent,
                method=method, url=url, now=now, leeway=self._leeway, token=token.value, algorithms=self.algorithms,
            )  # fmt: skip
        except BadProof as bad:
            raise TokenRejected(Reason.PROOF, expected=str(bad)) from None
        if proof.jkt != token.jkt:
            raise TokenRejected(Reason.PROOF_KEY)
        if self.nonces is not None and not self.nonces.accepts(proof.nonce or "", now, self._leeway):
            raise TokenRejected(Reason.PROOF_NONCE)
        return self._replay.first_use(token.client_id, f"{proof.jkt} {proof.jti}", proof.expires_at)


def require_first_use(first: bool) -> None:
    if not first:
        raise TokenRejected(Reason.PROOF, expected="it was used before: make a new one for each request")


def set_challenge(refusal: TokenRejected, proof: object, proof_algorithms: Sequence[str]) -> None:
    """Sets the scheme that was used, and the accepted algorithms, for the challenge of a refusal."""
    refusal.proof_algorithms = proof_algorithms
    if proof is not None:
        refusal.scheme = "DPoP"


def _proof_algorithms(wanted: Iterable[str]) -> tuple[str, ...]:
    """In the order of PROOF_ALGORITHMS. Raises ValueError for any other algorithm."""
    names = frozenset((wanted,) if isinstance(wanted, str) else wanted)
    if not names or not names <= frozenset(PROOF_ALGORITHMS):
        raise ValueError(f"dpop_algorithms must be among {', '.join(PROOF_ALGORITHMS)}")
    return tuple(name for name in PROOF_ALGORITHMS if name in names)
