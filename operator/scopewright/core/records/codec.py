"""Records as JSON. `decode` raises `Rejected` for a malformed record."""

from typing import Any, TypeVar, get_args

from pydantic import TypeAdapter, ValidationError

from scopewright.core.failures import Rejected
from scopewright.core.objects import MANAGED_BY, MANAGER, Desired, Existing, Ref
from scopewright.core.records.client import ClientRecord
from scopewright.core.records.identity_provider import IdentityProviderRecord
from scopewright.core.records.issuer import IssuerRecord
from scopewright.core.records.names import ENTRY, RECORD_LABEL
from scopewright.core.records.resource_server import AudienceClaim, HostnameClaim, ResourceServerRecord
from scopewright.core.records.signing_key import KeyRecord
from scopewright.core.records.written_by_issuers import RevocationRecord, UsageRecord

Record = (
    ClientRecord
    | ResourceServerRecord
    | AudienceClaim
    | HostnameClaim
    | KeyRecord
    | IdentityProviderRecord
    | UsageRecord
    | RevocationRecord
    | IssuerRecord
)
R = TypeVar("R", bound=Record)

_ADAPTERS: dict[type, TypeAdapter[Any]] = {kind: TypeAdapter(kind) for kind in get_args(Record)}


def encode(record: Record) -> bytes:
    """Return the record as JSON, with the same bytes for equal records."""
    return _ADAPTERS[type(record)].dump_json(record, by_alias=True, exclude_none=True)


def config_map_write(ref: Ref, label: str, record: Record, replaces: Existing | None = None) -> Desired:
    """Return the write of a record in a ConfigMap; `label` is the value of RECORD_LABEL."""
    labels = {MANAGED_BY: MANAGER, RECORD_LABEL: label}
    return Desired(ref, {ENTRY: encode(record)}, labels=labels, replaces=replaces)


def decode(kind: type[R], data: bytes) -> R:
    """Return the record in `data`. Raise `Rejected` if it is malformed; the message never quotes the data."""
    try:
        record: R = _ADAPTERS[kind].validate_json(data)
    except ValidationError as error:
        where = ", ".join(str(e["loc"][0]) if e["loc"] else e["type"] for e in error.errors(include_input=False)[:3])
        raise Rejected("MalformedRecord", f"not a {kind.__name__}: {where}") from None
    return record
