"""The signing keys: which are in the JWKS, and which one signs, at a given time.

A key is in the JWKS if the operator's ConfigMap lists it and its key record exists. Only keys in the JWKS sign.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import orjson

from scopewright.core.failures import Rejected
from scopewright.core.profile import Profile, allows
from scopewright.core.records.issuer import IssuerRecord
from scopewright.issuer.protocol.responses import etag_of
from scopewright.issuer.state.keys import LoadedKey
from scopewright.verifier.thumbprint import thumbprint


@dataclass(slots=True)
class Jwks:
    """The JWKS. It is valid until `changes_at` (seconds since the epoch)."""

    keys: dict[str, LoadedKey]
    by_header: dict[bytes, LoadedKey]
    """By the encoded JOSE header of their tokens."""
    body: bytes
    etag: bytes
    changes_at: float


@dataclass(slots=True)
class SelectedKey:
    """The key of one SigningKey that signs from `since` until `changes_at`."""

    key: LoadedKey | None
    since: float
    changes_at: float


def published_kids(data: bytes) -> frozenset[str]:
    """The kids of a published JWKS that are thumbprints of their keys; raises `Rejected`."""
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
        self._selected: dict[tuple[str, Profile], SelectedKey] = {}
        self.generation = object()
        """Another object after each change of a key or of what is published."""

    def __len__(self) -> int:
        return len(self._keys)

    def get(self, record_name: str) -> LoadedKey | None:
        return self._keys.get(record_name)

    def names(self) -> list[str]:
        """Of the key records."""
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

    def set_published(self, config_map: str, kids: frozenset[str]) -> None:
        self._published[config_map] = kids
        self._changed()

    def forget_published(self, config_map: str) -> bool:
        """Drop a deleted ConfigMap; False if it is kept, because key records for its keys still exist.

        Deleting the ConfigMap by hand must not stop the issuer: a key is withdrawn by deleting its record.
        """
        kids = self._published.get(config_map, frozenset())
        if any(k.config_map == config_map and k.kid in kids for k in self._keys.values()):
            return False
        self._published.pop(config_map, None)
        self._changed()
        return True

    def _changed(self) -> None:
        self._jwks = None
        self._selected.clear()
        self.generation = object()

    def jwks(self, now: float) -> Jwks:
        if self._jwks is None or now >= self._jwks.changes_at:
            self._jwks = self._build(now)
            self._selected.clear()
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
        body = orjson.dumps({"keys": [k.verification_key.jwk for k in served]})
        return Jwks(
            keys={k.kid: k for k in served},
            by_header={k.header: k for k in served},
            body=body,
            etag=etag_of(body),
            changes_at=min((k.verification_end for k in served), default=float("inf")),
        )

    def signing_key(self, name: str, now: float, issuer: IssuerRecord) -> LoadedKey | None:
        """The key of the SigningKey `name` that signs now: the one that started last.

        A key whose verification ends within clock skew and JWKS max-age does not sign. Keys of an algorithm that the
        profile forbids come last. Only if there is no other is one returned, and the caller must refuse it.
        """
        return self.selected(name, now, issuer).key

    def selected(self, name: str, now: float, issuer: IssuerRecord) -> SelectedKey:
        """As `signing_key`, with the time at which it changes."""
        jwks = self.jwks(now)
        selected = self._selected.get((name, issuer.profile))
        if selected is None or not selected.since <= now < selected.changes_at:
            selected = self._selected[name, issuer.profile] = _select(jwks, name, now, issuer)
        return selected

    def revoked(self) -> list[str]:
        """The kids of revoked keys, until their verification would have ended."""
        return sorted(k.kid for k in self._keys.values() if k.record.revoked_time is not None)


def verifier_lag(issuer: IssuerRecord) -> int:
    """Seconds between the expiry of a key's last token and the end of the key's verification."""
    return issuer.clock_skew + issuer.jwks_max_age


def _select(jwks: Jwks, name: str, now: float, issuer: IssuerRecord) -> SelectedKey:
    instant, lag = datetime.fromtimestamp(now, UTC), verifier_lag(issuer)
    keys = [k for k in jwks.keys.values() if k.signing_key == name and k.sign]
    signing = [k for k in keys if k.record.signs_at(instant) and now < _last_use(k, lag)]
    changes = (t for k in keys for t in (k.start, _last_use(k, lag)) if t > now)
    newest = max(signing, key=lambda k: (allows(issuer.profile, k.alg), k.start, k.kid), default=None)
    return SelectedKey(newest, now, min(changes, default=float("inf")))


def _last_use(key: LoadedKey, lag: int) -> float:
    return min(key.signing_end, key.verification_end - lag - 1)
