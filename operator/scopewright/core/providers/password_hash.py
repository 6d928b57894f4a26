"""Argon2id hashes in the PHC string format, and which of their parameters are accepted (RFC 9106, OWASP)."""

import base64
import binascii
import re
import unicodedata
from dataclasses import dataclass
from typing import Final

MIN_PARAMETERS: Final = ((47104, 1), (19456, 2), (12288, 3), (9216, 4), (7168, 5))
"""Memory in KiB and iterations, of which a hash has at least one pair: the minimum of OWASP's Password Storage Cheat
Sheet."""
MAX_MEMORY_KIB: Final = 65536
MAX_ITERATIONS: Final = 10
LANES: Final = 1
"""The only number of lanes: several computations with more of them at once can wait for each other's threads forever in
OpenSSL, and one lane is what OWASP recommends."""
MAX_PASSWORD: Final = 1024
"""Bytes of UTF-8."""
MIN_SALT, MAX_SALT = 8, 64
MIN_HASH, MAX_HASH = 16, 64
"""Bytes. RFC 9106 §3.1: at least 8 bytes of salt; 16 of the tag are enough for passwords."""

EXAMPLE: Final = "$argon2id$v=19$m=19456,t=2,p=1$…$…"
_FIX: Final = "make it with `scopewright users hash-password`"
_NUMBER: Final = "([1-9][0-9]{0,6})"
_BASE64: Final = "([A-Za-z0-9+/]{1,88})"
_PHC: Final = re.compile(rf"\$argon2id\$v=19\$m={_NUMBER},t={_NUMBER},p={_NUMBER}\${_BASE64}\${_BASE64}")


@dataclass(frozen=True, slots=True)
class Argon2Parameters:
    """What one computation costs, and how long its salt and its result are, in bytes."""

    memory_kib: int = 19456
    iterations: int = 2
    salt: int = 16
    hash: int = 32

    def encoded(self, salt: bytes, tag: bytes) -> str:
        """Return the PHC string of a hash with these parameters."""
        parts = (base64.b64encode(part).decode().rstrip("=") for part in (salt, tag))
        return f"$argon2id$v=19$m={self.memory_kib},t={self.iterations},p={LANES}$" + "$".join(parts)


DEFAULT_PARAMETERS: Final = Argon2Parameters()
"""The first choice of OWASP that needs less than 20 MiB."""


class PasswordUnusable(ValueError):
    """A password that cannot be hashed or checked. The message says what to do, and has no part of it."""


def password_bytes(password: str) -> bytes:
    """Return what is hashed: the OpaqueString of RFC 8265 §4.2.2, so that it does not depend on the keyboard.

    Other spaces become the ASCII one, the rest is in Unicode form C. Raises `PasswordUnusable`.
    """
    if not password:
        raise PasswordUnusable("the password is empty; type one")
    if len(password) <= MAX_PASSWORD:
        spaces = "".join(" " if unicodedata.category(c) == "Zs" else c for c in password)
        try:
            encoded = unicodedata.normalize("NFC", spaces).encode()
        except UnicodeEncodeError:
            raise PasswordUnusable("the password is not Unicode text; type other characters") from None
        if len(encoded) <= MAX_PASSWORD:
            return encoded
    raise PasswordUnusable(f"the password is longer than {MAX_PASSWORD} bytes; choose a shorter one")


def parse_password_hash(text: str) -> Argon2Parameters:
    """Return the parameters of a hash. Raises ValueError, whose message says what to do and quotes nothing of it."""
    found = _PHC.fullmatch(text)
    if found is None:
        raise ValueError(f"not an Argon2id hash such as {EXAMPLE}; {_FIX}")
    memory, iterations, lanes = int(found[1]), int(found[2]), int(found[3])
    if not any(memory >= least and iterations >= times for least, times in MIN_PARAMETERS):
        raise ValueError(f"the Argon2id parameters are too weak: at least m=19456,t=2 or m=7168,t=5; {_FIX}")
    if memory > MAX_MEMORY_KIB or iterations > MAX_ITERATIONS or lanes != LANES:
        most = f"m={MAX_MEMORY_KIB},t={MAX_ITERATIONS}"
        raise ValueError(f"the Argon2id parameters are not allowed: at most {most}, and p={LANES}; {_FIX}")
    salt, tag = _length(found[4]), _length(found[5])
    if not (MIN_SALT <= salt <= MAX_SALT and MIN_HASH <= tag <= MAX_HASH):
        raise ValueError(f"salt or hash is cut off or of another length than usual; {_FIX}")
    return Argon2Parameters(memory, iterations, salt, tag)


def _length(encoded: str) -> int:
    """Return the bytes in base64 without padding; 0 if it is not in its only form."""
    try:
        decoded = base64.b64decode(encoded + "=" * (-len(encoded) % 4), validate=True)
    except binascii.Error:
        return 0
    return len(decoded) if base64.b64encode(decoded).decode().rstrip("=") == encoded else 0
