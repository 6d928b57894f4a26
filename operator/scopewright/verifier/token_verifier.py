"""What the integrations need of a verifier: `Verifier` and `AnyIssuer` have it."""

from collections.abc import Iterable, Sequence
from typing import Protocol

from scopewright.verifier.token import Token


class TokenVerifier(Protocol):
    """Verifies the tokens of requests. `Verifier` describes the methods."""

    @property
    def dpop_required(self) -> bool:
        """Whether every token must be bound to a key."""

    @property
    def may_require_dpop(self) -> bool:
        """Whether some tokens must be bound to a key, such as those of one of several issuers."""

    @property
    def dpop_algorithms(self) -> tuple[str, ...]:
        """The accepted algorithms of proofs, for challenges."""

    async def verify(
        self,
        token: str,
        *,
        scopes: Iterable[str] = (),
        proof: str | Sequence[str] | None = None,
        method: str = "",
        url: str = "",
    ) -> Token: ...

    def verify_sync(
        self,
        token: str,
        *,
        scopes: Iterable[str] = (),
        proof: str | Sequence[str] | None = None,
        method: str = "",
        url: str = "",
    ) -> Token: ...

    def cached(self, token: str, *, scopes: Iterable[str] = ()) -> Token | None: ...

    def nonce(self) -> str | None: ...

    async def ready(self, timeout: float = 5) -> None: ...

    def ready_sync(self, timeout: float = 5) -> None: ...
