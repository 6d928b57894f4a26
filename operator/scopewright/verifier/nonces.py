"""Nonces that nobody has to remember (RFC 9449 §8): a timestamp, and an HMAC of it under a key that replicas share."""

import base64
import binascii
import hashlib
import hmac
from typing import Final

KEY_BYTES: Final = 32
STEP: Final = 60
"""Seconds for which all replicas give the same nonce."""
LIFETIME: Final = 300
"""Seconds for which one is good, from the step that it was made in."""

_TIME_BYTES: Final = 5
_MAC_BYTES: Final = 16


class Nonces:
    """`key` is secret, and `purpose` keeps whoever shares it for something else apart. Times in seconds since 1970."""

    def __init__(self, key: bytes, purpose: str) -> None:
        if len(key) < KEY_BYTES:
            raise ValueError(f"the key of nonces needs {KEY_BYTES} random bytes")
        self._key = key
        self._purpose = purpose.encode()
        self._current = (-1, "")

    def current(self, now: float) -> str:
        """28 characters, unpredictable without the key."""
        step = int(now // STEP)
        if self._current[0] != step:
            self._current = (step, self._nonce(step))
        return self._current[1]

    def accepts(self, nonce: str, now: float, leeway: float) -> bool:
        """Made under this key within the last LIFETIME; `leeway` is how far the clocks of replicas may differ."""
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
