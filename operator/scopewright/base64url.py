"""Base64url without padding (RFC 7515 §2)."""

import binascii
from typing import Final

_TO_BASE64: Final = bytes.maketrans(b"-_+/=", b"+/!!!")  # `!` is in neither alphabet
_TO_BASE64URL: Final = bytes.maketrans(b"+/", b"-_")
_ALPHABET: Final = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
_LAST: Final = (_ALPHABET, "", _ALPHABET[::16], _ALPHABET[::4])
"""The last characters of canonical texts, by length modulo 4: bits that encode nothing are zero. To look at one
character takes a third of the time of encoding the bytes again.
"""


def encode(data: bytes) -> str:
    return encode_bytes(data).decode()


def encode_bytes(data: bytes) -> bytes:
    return binascii.b2a_base64(data, newline=False).translate(_TO_BASE64URL, b"=")


def decode(text: str) -> bytes:
    """Raises ValueError for padding and for characters outside of the alphabet. The last character may have bits that
    encode nothing; `decode_canonical` refuses those.
    """
    padding = b"=" * (-len(text) % 4)
    return binascii.a2b_base64(text.encode("ascii").translate(_TO_BASE64) + padding, strict_mode=True)


def decode_canonical(text: str) -> bytes:
    """Raises ValueError unless it is the only spelling of these bytes."""
    data = decode(text)
    if text and text[-1] not in _LAST[len(text) % 4]:
        raise ValueError("not canonical base64url")
    return data
