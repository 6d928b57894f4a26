"""Stateless DPoP nonces (RFC 9449 §8): a timestamp, and an HMAC of it under a key that replicas share."""

import base64
import binascii
import hashlib
import hmac
from typing import Final

KEY_BYTES: Final = 32
STEP: Final = 60
"""Seconds for which all replicas issue the same nonce."""
LIFETIME: Final = 300
"""Seconds for which a nonce is valid, from the start of the step that it was made in."""

_TIME_BYTES: Final = 5
_MAC_BYTES: Final = 16


class Nonces:
    """`key` is secret; `purpose` separates users of one key. Times are in seconds since 1970.

    Raises ValueError for a key that is too short.
    """

    def __init__(self, key: bytes, purpose: str) -> None:
        if len(key) < KEY_BYTES:
            raise ValueError(f"the key for nonces must have at least {KEY_BYTES} random bytes")
        self._key = key
        self._purpose = purpose.encode()
        self._current = (-1, "")

    def current(self, now: float) -> str:
        """The nonce to issue: 28 characters, unpredictable without the key."""
        step = int(now // STEP)
        if self._current[0] != step:
            self._current = (step, self._nonce(step))
        return self._current[1]

    def accepts(self, nonce: str, now: float, leeway: float) -> bool:
        """Whether it was made with this key within LIFETIME. `leeway` is the tolerated clock difference in seconds."""
        try:
            stated = base64.urlsafe_b64decode(nonce.encode("ascii"))
        except (UnicodeEncodeError, binascii.Error):
            return False
        step = int.from_bytes(stated[:_TIME_BYTES])
        genuine = hmac.compare_digest(self._nonce(step).encode(), nonce.encode())
        return genuine and step * STEP - leeway <= now < step * STEP + LIFETIME + leeway

    def _nonce(self, step: int) -> str:
        stamp = step.to_bytes(_TIME_BYTES)
        mac = hmac.digest(self._key, b"dpop nonce\0%s\0%s" % (self._purpose, stamp), hashlib.sha256)
        return base64.urlsafe_b64encode(stamp + mac[:_MAC_BYTES]).decode()
