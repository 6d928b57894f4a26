"""Records from the objects that hold them. Every function raises `Rejected` with MalformedRecord."""

from scopewright.core.config import issuer_url
from scopewright.core.failures import Rejected
from scopewright.core.objects import Existing
from scopewright.core.records.codec import decode
from scopewright.core.records.issuer import IssuerRecord
from scopewright.core.records.names import ENTRY, ISSUER_NAME
from scopewright.stores import Entries


def record_entry(entries: Entries) -> bytes:
    if ENTRY not in entries:
        raise Rejected("MalformedRecord", f"it has no entry {ENTRY}")
    return entries[ENTRY]


def require_name(existing: Existing, name: str) -> None:
    if existing.ref.name != name:
        raise Rejected("MalformedRecord", "its name does not match its content")


def load_issuer(existing: Existing, entries: Entries, *, allow_http: bool) -> IssuerRecord:
    """Return the issuer record, with a valid issuer URL and valid durations."""
    require_name(existing, ISSUER_NAME)
    record = decode(IssuerRecord, record_entry(entries))
    try:
        issuer_url(record.issuer, allow_http=allow_http)
    except ValueError:
        raise Rejected("MalformedRecord", "issuer is not a valid issuer URL") from None
    if record.max_token_lifetime < 1 or record.clock_skew < 0 or record.jwks_max_age < 0:
        raise Rejected("MalformedRecord", "a duration is negative or zero")
    return record
