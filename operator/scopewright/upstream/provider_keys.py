"""The keys of a provider, which may have no key ids."""

from collections.abc import Iterable, Mapping
from typing import Any, Self

from scopewright.verifier.keyset import Key, KeySet


class ProviderKeys(KeySet):
    """A provider with one key may omit its kid, in the JWKS and in ID tokens (OpenID Connect Core §10.1)."""

    def __init__(self, keys: Iterable[Key]) -> None:
        self._all = tuple(keys)
        super().__init__(self._all)

    def sole(self, algorithm: str) -> Key | None:
        """The only key that may verify the algorithm, for a token without a kid; None if there are several."""
        fitting = [key for key in self._all if algorithm in key.algorithms]
        return fitting[0] if len(fitting) == 1 else None

    @classmethod
    def parse(cls, document: Mapping[str, Any], previous: Self | None = None) -> Self:
        """As `KeySet.parse`, with keys without a kid. Raises ValueError if the document is not a JWKS."""
        entries = document.get("keys")
        if isinstance(entries, list):
            document = {"keys": [_with_kid(jwk, number) for number, jwk in enumerate(entries)]}
        return super().parse(document, previous)


def _with_kid(jwk: Any, number: int) -> Any:
    """The entry, with a kid that is its place in the list."""
    return {**jwk, "kid": f"\0{number}"} if isinstance(jwk, dict) and "kid" not in jwk else jwk
