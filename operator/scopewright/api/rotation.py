"""`spec.rotation` of an OAuthClient: interval, overlap, and windows of credential rotation."""

from datetime import timedelta
from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from scopewright.api.meta import Model
from scopewright.api.rules import CelRule, no_days_rule, timestamp_rule, unless_days
from scopewright.api.times import Duration, Timestamp

Day = Literal["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"]
TimeOfDay = Annotated[str, StringConstraints(pattern="^([01][0-9]|2[0-3]):[0-5][0-9]$", max_length=5)]
TimeZone = Annotated[str, StringConstraints(pattern="^[A-Za-z][A-Za-z0-9+_-]*(/[A-Za-z0-9+_-]+){0,2}$", max_length=64)]


class Window(Model):
    """Weekly period in which rotations may happen."""

    RULES = (
        CelRule(
            "window-duration-in-range",
            unless_days("duration")
            + "(duration(self.duration) >= duration('10m') && duration(self.duration) <= duration('24h'))",
            "duration of a window must be between 10m and 24h: the operator may miss a shorter window; write a longer "
            "window as several days",
            "duration",
        ),
        no_days_rule("window", "duration"),
    )

    days: Annotated[list[Day], Field(max_length=7, json_schema_extra={"x-kubernetes-list-type": "set"})] = Field(
        default_factory=list
    )
    """Days of the week on which the window opens: Mon, Tue, Wed, Thu, Fri, Sat, Sun. Defaults to every day."""
    start: TimeOfDay
    """Local time at which the window opens, such as 02:00."""
    duration: Duration
    """Duration of the window, between 10m and 24h."""
    time_zone: TimeZone = "UTC"
    """Time zone of `start`, such as Europe/Berlin. Defaults to UTC."""


class Rotation(Model):
    """Schedule of credential rotation."""

    RULES = (
        CelRule(
            "rotation-every-at-least-a-minute",
            unless_days("every") + "duration(self.every) >= duration('1m')",
            "rotation.every must be at least 1m: a changed Secret reaches the Pods after about a minute; raise every",
            "every",
        ),
        CelRule(
            "overlap-within-every",
            unless_days("every", "overlap") + "duration(self.overlap) <= duration(self.every)",
            "rotation.overlap must be at most rotation.every: a client has at most four credentials, and a rotation "
            "waits while four are valid; lower overlap or raise every",
            "overlap",
        ),
        CelRule(
            "max-overlap-at-least-overlap",
            "!has(self.maxOverlap) || "
            + unless_days("maxOverlap", "overlap")
            + "duration(self.maxOverlap) >= duration(self.overlap)",
            "rotation.maxOverlap must be at least rotation.overlap: it limits the extended overlap of a credential in "
            "use; raise maxOverlap or remove it",
            "maxOverlap",
        ),
        *(no_days_rule("credential", field) for field in ("every", "overlap", "maxOverlap")),
        timestamp_rule("revokedBefore"),
    )

    every: Duration = timedelta(hours=720)
    """Age at which a credential is replaced. Defaults to 720h."""
    overlap: Duration = timedelta(hours=24)
    """Duration for which the previous credential is still accepted after the Secret changed. Defaults to 24h."""
    max_overlap: Duration | None = None
    """Maximum duration for which a previous credential is accepted if it is still in use when its overlap ends. The
    overlap is not extended after a rotation by the annotation scopewright.dev/rotate or by `revokedBefore`. Defaults
    to four times `overlap`."""
    windows: Annotated[list[Window], Field(max_length=8)] = Field(default_factory=list)
    """Windows in which due rotations may happen. Rotations by the annotation scopewright.dev/rotate or by
    `revokedBefore`, and repairs of a Secret, are immediate. Defaults to any time."""
    revoked_before: Timestamp | None = None
    """Time before which issued credentials are revoked, for use after a leak. They are refused at once, without
    overlap. Defaults to none."""
    suspend: bool = False
    """Whether rotation by age is suspended. The annotation scopewright.dev/rotate and `revokedBefore` still apply.
    Defaults to false."""

    @property
    def longest_overlap(self) -> timedelta:
        """`max_overlap`, or its default: four times `overlap`."""
        return self.overlap * 4 if self.max_overlap is None else self.max_overlap
