"""The public keys of an issuer, parsed from a JWKS (RFC 7517 §5)."""

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from scopewright.verifier.signatures import PreparedKey

logger = logging.getLogger("scopewright.verifier")

# The allowed algorithms of each kind of key. The key decides, never the token (RFC 8725 §3.1).
_BY_CURVE = {
    ("EC", "P-256"): ("ES256",),
    ("EC", "P-384"): ("ES384",),
    ("EC", "P-521"): ("ES512",),
    ("OKP", "Ed25519"): ("EdDSA", "Ed25519"),
    ("RSA", None): ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"),
}
_WITHOUT_ALG = {"RSA": ("RS256",)}
PRIVATE_MEMBERS = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth", "k"})
_MAX_KEYS = 100
_MIN_RSA_BITS = 2048
_MAX_RSA_BITS = 8192
_MAX_RSA_EXPONENT_BITS = 64
"""OpenSSL takes any exponent up to 3072 bits: such a key costs as much for each verification as a signature does."""


@dataclass(frozen=True, slots=True, eq=False)
class Key:
    """One public key, with the algorithms that it may verify: one, where the JWK names its `alg`."""

    kid: str
    algorithms: tuple[str, ...]
    jwk: Mapping[str, Any] = field(repr=False)
    _public: "PreparedKey" = field(repr=False)

    @property
    def public_key(self) -> Any:
        """The key as an object of the library `cryptography`."""
        return self._public.key

    def verifies(self, signing_input: bytes, signature: bytes) -> bool:
        return self._public.verifies(signing_input, signature)


class KeySet:
    """Keys by key id and algorithm. One id may stand for keys of several kinds (RFC 7517 §4.5); of two keys for the
    same id and algorithm, the first is used. Unchanged keys of a later JWKS are the same objects, so `is` shows whether
    a key is still published.
    """

    def __init__(self, keys: Iterable[Key]) -> None:
        self._keys: dict[str, dict[str, Key]] = {}
        for key in keys:
            by_algorithm = self._keys.setdefault(key.kid, {})
            for algorithm in key.algorithms:
                by_algorithm.setdefault(algorithm, key)

    def __len__(self) -> int:
        return sum(len(self.of(kid)) for kid in self._keys)

    def __contains__(self, key: Key) -> bool:
        """Whether this object is the key for its id and first algorithm. Called for every verified token."""
        by_algorithm = self._keys.get(key.kid)
        return by_algorithm is not None and by_algorithm.get(key.algorithms[0]) is key

    def get(self, kid: str, algorithm: str | None = None) -> Key | None:
        """The key with this id and algorithm; if there is none, or for None, the first key with this id."""
        by_algorithm = self._keys.get(kid)
        if not by_algorithm:
            return None
        return (by_algorithm.get(algorithm) if algorithm else None) or next(iter(by_algorithm.values()))

    @property
    def algorithms(self) -> frozenset[str]:
        """The algorithms that the keys may verify."""
        return frozenset(algorithm for by_algorithm in self._keys.values() for algorithm in by_algorithm)

    def of(self, kid: str) -> tuple[Key, ...]:
        """All keys with this id."""
        return tuple(dict.fromkeys(self._keys.get(kid, {}).values()))

    @classmethod
    def parse(cls, document: Mapping[str, Any], previous: Self | None = None) -> Self:
        """Ignores keys that cannot be used: no kid, private or symmetric, not for signatures, weak or slow.

        Raises ValueError if the document is not a JWKS.
        """
        entries = document.get("keys")
        if not isinstance(entries, list) or len(entries) > _MAX_KEYS:
            raise ValueError("not a JWKS: `keys` must be a list of at most 100 keys")
        keys = (parse_key(jwk, previous) for jwk in entries)
        return cls(key for key in keys if key is not None)


def _usable(jwk: Any) -> bool:
    return (
        isinstance(jwk, dict)
        and isinstance(jwk.get("kid"), str)
        and jwk["kid"] != ""
        and not PRIVATE_MEMBERS & jwk.keys()
        and jwk.get("use", "sig") == "sig"
        and "verify" in jwk.get("key_ops", ["verify"])
    )


def parse_key(jwk: Any, previous: KeySet | None = None) -> Key | None:
    """One entry of a JWKS. `previous` may have it already. None if the key cannot be used."""
    try:
        if not _usable(jwk):
            return None
        for known in previous.of(jwk["kid"]) if previous is not None else ():
            if known.jwk == jwk:
                return known
        return _parsed(jwk)
    except Exception:  # of any kind: one odd entry must not invalidate the other keys
        logger.info("ignoring an entry of a JWKS: it cannot be parsed as a public key")
        return None


def _parsed(jwk: dict[str, Any]) -> Key | None:
    kty = jwk["kty"]
    possible = _BY_CURVE.get((kty, None if kty == "RSA" else jwk.get("crv")), ())
    algorithms = (jwk["alg"],) if "alg" in jwk else _WITHOUT_ALG.get(kty, possible)
    if not possible or not set(algorithms) <= set(possible):
        return None
    # Not before the first keys: the import of PyJWT would be a third of the verifier's.
    from scopewright.verifier.signatures import prepare

    # PyJWT knows Ed25519 by its older name only (RFC 9864 §2.2).
    name = "EdDSA" if kty == "OKP" else algorithms[0]
    public = prepare(jwk, name)
    if kty == "RSA" and not _has_usual_size(public.key):
        return None
    return Key(jwk["kid"], algorithms, dict(jwk), public)


def _has_usual_size(key: Any) -> bool:
    """Whether an RSA key is neither weak, nor costs more than some milliseconds to verify with."""
    exponent: int = key.public_numbers().e
    return _MIN_RSA_BITS <= key.key_size <= _MAX_RSA_BITS and exponent.bit_length() <= _MAX_RSA_EXPONENT_BITS
