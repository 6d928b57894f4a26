"""Argon2id hashes in the PHC string format, and which of their parameters are accepted (RFC 9106, OWASP)."""

import base64
import binascii
import re
from dataclasses import dataclass
from typing import Final

MIN_PARAMETERS: Final = ((47104, 1), (19456, 2), (12288, 3), (9216, 4), (7168, 5))
"""Memory in KiB and iterations, of which a hash has at least one pair: the minimum of OWASP's Password Storage Cheat
Sheet."""
MAX_MEMORY_KIB: Final = 65536
MAX_ITERATIONS: Final = 10
MAX_LANES: Final = 4
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

    memory_kib: int
    iterations: int
    lanes: int
    salt: int = 16
    hash: int = 32


DEFAULT_PARAMETERS: Final = Argon2Parameters(19456, 2, 1)


def parse_password_hash(text: str) -> Argon2Parameters:
    """Return the parameters of a hash. Raises ValueError, whose message says what to do and quotes nothing of it."""
    found = _PHC.fullmatch(text)
    if found is None:
        raise ValueError(f"not an Argon2id hash such as {EXAMPLE}; {_FIX}")
    memory, iterations, lanes = int(found[1]), int(found[2]), int(found[3])
    if not any(memory >= least and iterations >= times for least, times in MIN_PARAMETERS):
        raise ValueError(f"the Argon2id parameters are too weak: at least m=19456,t=2 or m=7168,t=5; {_FIX}")
    if memory > MAX_MEMORY_KIB or iterations > MAX_ITERATIONS or lanes > MAX_LANES:
        most = f"m={MAX_MEMORY_KIB},t={MAX_ITERATIONS},p={MAX_LANES}"
        raise ValueError(f"the Argon2id parameters cost too much: at most {most}; {_FIX}")
    salt, tag = _length(found[4]), _length(found[5])
    if not (MIN_SALT <= salt <= MAX_SALT and MIN_HASH <= tag <= MAX_HASH):
        raise ValueError(f"salt or hash is cut off or of another length than usual; {_FIX}")
    return Argon2Parameters(memory, iterations, lanes, salt, tag)


def _length(encoded: str) -> int:
    """Return the bytes in base64 without padding; 0 if it is not in its only form."""
    try:
        decoded = base64.b64decode(encoded + "=" * (-len(encoded) % 4), validate=True)
    except binascii.Error:
        return 0
    return len(decoded) if base64.b64encode(decoded).decode().rstrip("=") == encoded else 0
