"""The keys there are: which are served, and which one signs, at any instant.

Served is what the operator's ConfigMap lists and a key record vouches for; what signs is among the served.
"""

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import orjson

from scopewright.core.failures import Rejected
from scopewright.issuer.state.keys import LoadedKey
from scopewright.verifier.thumbprint import thumbprint


@dataclass(slots=True)
class Jwks:
    """The key set as it is served. From `changes_at` on (seconds since the epoch) it must be made again."""

    keys: dict[str, LoadedKey]
    by_header: dict[bytes, LoadedKey]
    """The same by the encoded JOSE header that every token of a key begins with."""
    body: bytes
    etag: bytes
    changes_at: float


@dataclass(slots=True)
class SigningChoice:
    """The key that signs for one SigningKey from `since` until `changes_at`."""

    key: LoadedKey | None
    since: float
    changes_at: float


def published_kids(data: bytes) -> frozenset[str]:
    """The kids of a published key set, each of them the thumbprint of its key; or `Rejected`."""
    try:
        content: Any = orjson.loads(data)
        keys = content["keys"]
        return frozenset(k["kid"] for k in keys if k.get("kid") and thumbprint(k) == k["kid"])
    except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError):
        raise Rejected("MalformedRecord", "not a JSON Web Key Set") from None


class Keyring:
    def __init__(self) -> None:
        self._keys: dict[str, LoadedKey] = {}
        self._published: dict[str, frozenset[str]] = {}
        self._jwks: Jwks | None = None
        self._choices: dict[str, SigningChoice] = {}

    def __len__(self) -> int:
        return len(self._keys)

    def get(self, record_name: str) -> LoadedKey | None:
        return self._keys.get(record_name)

    def names(self) -> list[str]:
        """Of the key records and of the ConfigMaps."""
        return [*self._keys]

    def config_maps(self) -> list[str]:
        return [*self._published]

    def put(self, record_name: str, key: LoadedKey) -> None:
        self._keys[record_name] = key
        self._changed()

    def remove(self, record_name: str) -> bool:
        removed = self._keys.pop(record_name, None) is not None
        self._changed()
        return removed

    def publish(self, config_map: str, kids: frozenset[str]) -> None:
        self._published[config_map] = kids
        self._changed()

    def withdraw(self, config_map: str) -> bool:
        """Forget a ConfigMap that is gone; False if it is kept, because key records still vouch for what it held.

        It is output, and deleting it by hand must not stop the tokens: a key is withdrawn by its record.
        """
        kids = self._published.get(config_map, frozenset())
        if any(k.config_map == config_map and k.kid in kids for k in self._keys.values()):
            return False
        self._published.pop(config_map, None)
        self._changed()
        return True

    def _changed(self) -> None:
        self._jwks = None
        self._choices.clear()

    def jwks(self, now: float) -> Jwks:
        if self._jwks is None or now >= self._jwks.changes_at:
            self._jwks = self._build(now)
            self._choices.clear()
        return self._jwks

    def _build(self, now: float) -> Jwks:
        instant = datetime.fromtimestamp(now, UTC)
        none: frozenset[str] = frozenset()
        served = sorted(
            (
                k
                for k in self._keys.values()
                if k.kid in self._published.get(k.config_map, none) and k.record.published_at(instant)
            ),
            key=lambda k: (k.start, k.kid),
        )
        body = orjson.dumps({"keys": [k.public_jwk for k in served]})
        etag = b'"%s"' % hashlib.sha256(body).hexdigest()[:32].encode()
        return Jwks(
            keys={k.kid: k for k in served},
            by_header={k.header: k for k in served},
            body=body,
            etag=etag,
            changes_at=min((k.verification_end for k in served), default=float("inf")),
        )

    def signing(self, signing_key: str, now: float, tail: int) -> LoadedKey | None:
        """Of the served keys that sign now, the one that began last.

        `tail` is clock skew and JWKS max-age in seconds: a key with less than that left signs nothing.
        """
        jwks = self.jwks(now)
        choice = self._choices.get(signing_key)
        if choice is None or not choice.since <= now < choice.changes_at:
            choice = self._choices[signing_key] = _choose(jwks, signing_key, now, tail)
        return choice.key

    def revoked(self) -> list[str]:
        """The kids of keys that ended in an emergency, for as long as they would have verified."""
        return sorted(k.kid for k in self._keys.values() if k.record.revoked_time is not None)


def _choose(jwks: Jwks, signing_key: str, now: float, tail: int) -> SigningChoice:
    instant = datetime.fromtimestamp(now, UTC)
    mine = [k for k in jwks.keys.values() if k.signing_key == signing_key and k.sign]
    able = [k for k in mine if k.record.signs_at(instant) and now < _last_use(k, tail)]
    turns = (t for k in mine for t in (k.start, _last_use(k, tail)) if t > now)
    best = max(able, key=lambda k: (k.start, k.kid), default=None)
    return SigningChoice(best, now, min(turns, default=float("inf")))


def _last_use(key: LoadedKey, tail: int) -> float:
    return min(key.signing_end, key.verification_end - tail - 1)
