"""DPoP at the endpoints of the issuer (RFC 9449 §4.3, §5, §7, §8, §10).

At the token endpoint a token is bound to the key that signed the proof. At the userinfo endpoint the proof shows that
the caller has the key of its token.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from scopewright.core.profile import allows
from scopewright.core.records.issuer import IssuerRecord
from scopewright.issuer.protocol.errors import OAuthError, invalid_request, unavailable
from scopewright.issuer.protocol.responses import Headers
from scopewright.issuer.state.registry import Registry
from scopewright.serving.replay import ReplayStore
from scopewright.verifier.proof import BadProof, DpopProof, check_proof
from scopewright.verifier.refusals import PROOF_ALGORITHMS

NONCE_HEADER: Final = b"dpop-nonce"


class DpopProofs:
    def __init__(self, registry: Registry, replay: ReplayStore) -> None:
        self._registry = registry
        self._replay = replay

    def nonce_header(self, now: float) -> Headers:
        """The header of every answer to a request with a proof: a valid nonce for the next proof."""
        nonces = self._registry.nonces
        return ((NONCE_HEADER, nonces.current(now).encode()),) if nonces is not None else ()

    @contextmanager
    def nonce_for(self, proofs: tuple[bytes, ...], now: float) -> Iterator[Headers]:
        """The header for the answer to a request with `proofs`, which an OAuthError of the block gets too. Without
        proofs there is none.
        """
        nonce = self.nonce_header(now) if proofs else ()
        try:
            yield nonce
        except OAuthError as error:
            error.headers += nonce
            raise

    async def verify(self, proofs: tuple[bytes, ...], client_id: str, now: float) -> str:
        """The thumbprint (RFC 7638) of the key that signed the proof for the token endpoint; raises OAuthError.

        `proofs` are the values of the header DPoP, `client_id` that of the authenticated client; `now` is in seconds
        since the epoch.
        """
        return await self.verify_at("/token", "POST", proofs, client_id, now)

    async def verify_at(
        self, path: str, method: str, proofs: tuple[bytes, ...], client_id: str, now: float, *, token: str | None = None
    ) -> str:
        """As `verify`, for the endpoint at `path` below the issuer's URL. `token` is the access token that the proof is
        sent with; such a proof needs no nonce (§9), but a nonce that it has must be valid.
        """
        issuer = self._registry.require_issuer()
        try:
            proof = check_proof(
                [value.decode("latin-1") for value in proofs],
                method=method,
                url=issuer.issuer + path,
                now=now,
                leeway=issuer.clock_skew,
                token=token,
                algorithms=proof_algorithms(issuer),
            )
        except BadProof as bad:
            raise _refused(str(bad), bad.reason) from None
        self._check_nonce(proof, issuer, now, required=token is None and issuer.dpop_nonce == "Required")
        if not await self._replay.first_use(client_id, f"dpop {proof.jkt} {proof.jti}", proof.expires_at):
            raise _refused("it was used before; make a new one for each request", "proof_replayed")
        return proof.jkt

    def _check_nonce(self, proof: DpopProof, issuer: IssuerRecord, now: float, *, required: bool) -> None:
        nonces = self._registry.nonces
        if nonces is None:
            if required:
                raise unavailable("there is no key for DPoP nonces yet", reason="no_nonce_key", retry_after=5.0)
        elif (required or proof.nonce is not None) and not nonces.accepts(proof.nonce or "", now, issuer.clock_skew):
            reason = "proof_without_nonce" if proof.nonce is None else "proof_nonce"
            raise OAuthError(
                "use_dpop_nonce",
                "make a new DPoP proof with the nonce in the header DPoP-Nonce",
                reason=reason,
            )


def proof_algorithms(issuer: IssuerRecord) -> tuple[str, ...]:
    """The algorithms of the proofs that this issuer accepts."""
    configured = issuer.dpop_algorithms or PROOF_ALGORITHMS
    return tuple(a for a in PROOF_ALGORITHMS if a in configured and allows(issuer.profile, a))


def proof_required() -> OAuthError:
    """The resource server accepts only bound tokens, and the request has no proof."""
    return invalid_request(
        "tokens for this resource are bound to a key; send a DPoP proof (RFC 9449)", reason="proof_missing"
    )


def _refused(error: str, reason: str) -> OAuthError:
    return OAuthError("invalid_dpop_proof", f"the DPoP proof is invalid: {error}", reason=reason)
