"""Base64url without padding (RFC 7515 §2)."""

import base64
import binascii
from typing import Final

_TO_BASE64: Final = bytes.maketrans(b"-_+/=", b"+/!!!")  # `!` is in neither alphabet


def encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def decode(text: str) -> bytes:
    """Raises ValueError for padding and for characters outside of the alphabet. The last character may have bits that
    encode nothing; compare `encode` of the result where that matters.
    """
    padding = b"=" * (-len(text) % 4)
    return binascii.a2b_base64(text.encode("ascii").translate(_TO_BASE64) + padding, strict_mode=True)
