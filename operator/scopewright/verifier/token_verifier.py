"""What the integrations need of a verifier: `Verifier` and `AnyIssuer` have it."""

from collections.abc import Iterable, Sequence
from typing import Final, Protocol

from scopewright.verifier.token import Token

_NEEDED: Final = ("verify", "verify_sync", "nonce", "dpop_required", "may_require_dpop", "dpop_algorithms")


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


def require_verifier(argument: object) -> None:
    """Raises TypeError for an argument of an integration that is no verifier, such as an application or a URL."""
    if isinstance(argument, type) or not all(hasattr(argument, name) for name in _NEEDED):
        raise TypeError(
            f"the argument verifier takes a Verifier, such as Verifier.from_env(), and not {shown_type(argument)}"
        )


def shown_type(argument: object) -> str:
    """For an error: `the class Verifier` for a class that was not called."""
    return (
        f"the class {argument.__name__}" if isinstance(argument, type) else f"a value of type {type(argument).__name__}"
    )
