"""Several issuers for one API: the verifier of a token is chosen by the token's `iss`."""

import asyncio
from collections.abc import Iterable, Sequence
from concurrent.futures.thread import ThreadPoolExecutor

from scopewright.verifier.dpop import set_challenge
from scopewright.verifier.introspection import is_opaque
from scopewright.verifier.jws import parse, require_token_text
from scopewright.verifier.refusals import PROOF_ALGORITHMS, KeysUnavailable, Reason, TokenRejected
from scopewright.verifier.token import Token
from scopewright.verifier.token_verifier import shown_type
from scopewright.verifier.verifier import Verifier


class AnyIssuer:
    """Verifies a token with the one of `verifiers` whose issuer is the token's `iss`, byte for byte.

    The claim only chooses: that verifier checks the token as if it were alone. Raises ValueError for two verifiers of
    one issuer, and for different `nonces`: a response has only one. An opaque token is verified by the one verifier
    with `introspection`, if there is exactly one.
    """

    def __init__(self, *verifiers: Verifier) -> None:
        if not verifiers:
            raise ValueError("AnyIssuer needs at least one Verifier")
        for verifier in verifiers:
            if not isinstance(verifier, Verifier):
                raise TypeError(
                    f"AnyIssuer takes verifiers, as AnyIssuer(first, second), and not {shown_type(verifier)}"
                )
        self._by_issuer = {verifier.policy.issuer: verifier for verifier in verifiers}
        if len(self._by_issuer) < len(verifiers):
            raise ValueError("two verifiers are of the same issuer: pass several audiences to one instead")
        self._with_nonces = [verifier for verifier in verifiers if verifier.nonces is not None]
        if len({id(verifier.nonces) for verifier in self._with_nonces}) > 1:
            raise ValueError("the verifiers have different nonces: pass the same Nonces to each of them")
        self._verifiers = verifiers
        introspecting = [verifier for verifier in verifiers if verifier.introspects]
        self._of_opaque = introspecting[0] if len(introspecting) == 1 else None
        self._max_token_bytes = max(verifier.policy.max_token_bytes for verifier in verifiers)

    @property
    def issuers(self) -> tuple[str, ...]:
        return tuple(self._by_issuer)

    @property
    def audiences(self) -> tuple[str, ...]:
        """The audiences of all verifiers, each once."""
        return tuple(dict.fromkeys(audience for verifier in self._verifiers for audience in verifier.audiences))

    @property
    def scopes(self) -> frozenset[str]:
        """The scopes that the tokens of some issuer need."""
        return frozenset().union(*(verifier.scopes for verifier in self._verifiers))

    @property
    def dpop_required(self) -> bool:
        """Whether all of the verifiers require DPoP."""
        return all(verifier.dpop_required for verifier in self._verifiers)

    @property
    def may_require_dpop(self) -> bool:
        """Whether the tokens of some issuer must be bound to a key."""
        return any(verifier.dpop_required for verifier in self._verifiers)

    @property
    def dpop_algorithms(self) -> tuple[str, ...]:
        """The algorithms of all verifiers, in the order of a single one."""
        accepted = {name for verifier in self._verifiers for name in verifier.dpop_algorithms}
        return tuple(name for name in PROOF_ALGORITHMS if name in accepted)

    async def ready(self, timeout: float = 5) -> None:
        """`Verifier.ready` of all verifiers at the same time. Raises one of their errors: first `IssuerMismatch`."""
        ready = (verifier.ready(timeout) for verifier in self._verifiers)
        _raise_first(await asyncio.gather(*ready, return_exceptions=True))

    def ready_sync(self, timeout: float = 5) -> None:
        with ThreadPoolExecutor(len(self._verifiers), "scopewright-ready") as threads:
            ready = [threads.submit(verifier.ready_sync, timeout) for verifier in self._verifiers]
            _raise_first([future.exception() for future in ready])

    async def verify(
        self,
        token: str,
        *,
        scopes: Iterable[str] = (),
        proof: str | Sequence[str] | None = None,
        method: str = "",
        url: str = "",
    ) -> Token:
        """As `Verifier.verify`. A token of any other issuer is refused."""
        verifier = self._chosen(token, proof)
        return await verifier.verify(token, scopes=scopes, proof=proof, method=method, url=url)

    def verify_sync(
        self,
        token: str,
        *,
        scopes: Iterable[str] = (),
        proof: str | Sequence[str] | None = None,
        method: str = "",
        url: str = "",
    ) -> Token:
        return self._chosen(token, proof).verify_sync(token, scopes=scopes, proof=proof, method=method, url=url)

    def nonce(self) -> str | None:
        return self._with_nonces[0].nonce() if self._with_nonces else None

    def cached(self, token: str, *, scopes: Iterable[str] = ()) -> Token | None:
        verifier = self._that_verified(token)
        return verifier.cached(token, scopes=scopes) if verifier is not None else None

    def _that_verified(self, token: str) -> Verifier | None:
        for verifier in self._verifiers:
            if verifier.has_verified(token):
                return verifier
        return None

    def _chosen(self, token: str, proof: object) -> Verifier:
        verifier = self._that_verified(token)
        if verifier is not None:  # the common case needs no parsing
            return verifier
        try:
            return self._of_issuer(token)
        except TokenRejected as refusal:
            set_challenge(refusal, proof, self.dpop_algorithms)
            raise

    def _of_issuer(self, token: str) -> Verifier:
        require_token_text(token)
        if self._of_opaque is not None and is_opaque(token):
            return self._of_opaque
        issuer = parse(token, self._max_token_bytes).claims.get("iss")
        chosen = self._by_issuer.get(issuer) if isinstance(issuer, str) else None
        if chosen is None:
            raise TokenRejected(Reason.ISSUER, expected=" or ".join(self._by_issuer))
        return chosen


def _raise_first(outcomes: Sequence[BaseException | None]) -> None:
    """A wrong configuration first: it has to be corrected, while an issuer may become available."""
    errors = [outcome for outcome in outcomes if outcome is not None]
    for error in sorted(errors, key=lambda error: isinstance(error, KeysUnavailable)):
        raise error
