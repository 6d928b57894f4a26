"""Records of the issuer alone from the objects that hold them. Raises `Rejected` with MalformedRecord."""

from scopewright.core.failures import Rejected
from scopewright.core.objects import Existing
from scopewright.core.records.names import KEY_ENTRY, NONCE_KEY_NAME
from scopewright.serving.records import require_name
from scopewright.stores import Entries
from scopewright.verifier.nonces import Nonces


def load_nonces(existing: Existing, entries: Entries) -> Nonces:
    """Return the DPoP nonces of the key in the Secret."""
    require_name(existing, NONCE_KEY_NAME)
    try:
        return Nonces(entries.get(KEY_ENTRY, b""), "token endpoint")
    except ValueError as error:
        raise Rejected("MalformedRecord", str(error)) from None
