"""Types of the fields of records, and how pydantic reads and writes their JSON."""

from datetime import UTC, datetime
from typing import Annotated

from pydantic import AfterValidator, AliasGenerator, AwareDatetime, ConfigDict, Field, PlainSerializer
from pydantic.alias_generators import to_camel

from scopewright.core.objects import bounded_rotate

RECORD_CONFIG = ConfigDict(
    alias_generator=AliasGenerator(alias=to_camel), validate_by_name=True, validate_by_alias=True, extra="ignore"
)


def rfc3339(instant: datetime) -> str:
    """Format a time like `2026-11-22T10:00:00Z`, with microseconds if it has any."""
    utc = instant.astimezone(UTC)
    return utc.isoformat(timespec="microseconds" if utc.microsecond else "seconds").replace("+00:00", "Z")


Instant = Annotated[AwareDatetime, PlainSerializer(rfc3339, return_type=str, when_used="json")]

NOT_IF_EMPTY = Field(exclude_if=lambda value: not value)
"""For fields that earlier versions did not have: records without them stay as they are when Scopewright is upgraded."""

Rotate = Annotated[str, AfterValidator(bounded_rotate)]
"""Shortened when it is read too: earlier versions stored values of any length."""
