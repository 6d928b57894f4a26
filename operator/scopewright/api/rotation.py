"""When a client's credential gives way to the next: how old it gets, how long the last one works, at which hours."""

from datetime import timedelta
from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from scopewright.api.meta import Duration, Model, Timestamp
from scopewright.api.rules import Rule, instant, unless_days, without_days

Day = Literal["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"]
TimeOfDay = Annotated[str, StringConstraints(pattern="^([01][0-9]|2[0-3]):[0-5][0-9]$", max_length=5)]
TimeZone = Annotated[str, StringConstraints(pattern="^[A-Za-z][A-Za-z0-9+_-]*(/[A-Za-z0-9+_-]+){0,2}$", max_length=64)]


class Window(Model):
    """A time of the week at which rotations may happen."""

    RULES = (
        Rule(
            "window-is-open-for-a-while",
            unless_days("duration")
            + "(duration(self.duration) >= duration('10m') && duration(self.duration) <= duration('24h'))",
            "a window's duration must be between 10m and 24h: a shorter one may be missed, "
            "and a longer one is written as more days",
            "duration",
        ),
        without_days("window", "duration"),
    )

    days: Annotated[list[Day], Field(max_length=7, json_schema_extra={"x-kubernetes-list-type": "set"})] = Field(
        default_factory=list
    )
    """Days of the week on which it opens: Mon, Tue, Wed, Thu, Fri, Sat, Sun. Left out: every day."""
    start: TimeOfDay
    """Local time at which it opens, as 02:00."""
    duration: Duration
    """How long it is open, between 10m and 24h."""
    time_zone: TimeZone = "UTC"
    """Time zone of `start`, as Europe/Berlin. Left out: UTC."""


class Rotation(Model):
    """When the credential gives way to the next."""

    RULES = (
        Rule(
            "rotation-not-hectic",
            unless_days("every") + "duration(self.every) >= duration('1m')",
            "rotation.every must be at least 1m: a changed Secret takes about that long to reach the Pods",
            "every",
        ),
        Rule(
            "overlap-within-every",
            unless_days("every", "overlap") + "duration(self.overlap) <= duration(self.every)",
            "rotation.overlap must be at most rotation.every: only one previous credential works beside the current "
            "one; lower overlap or raise every",
            "overlap",
        ),
        Rule(
            "max-overlap-is-no-less",
            "!has(self.maxOverlap) || "
            + unless_days("maxOverlap", "overlap")
            + "duration(self.maxOverlap) >= duration(self.overlap)",
            "rotation.maxOverlap must be at least rotation.overlap: it is how long a previous credential works that is "
            "still in use; raise it, or leave it out",
            "maxOverlap",
        ),
        *(without_days("credential", field) for field in ("every", "overlap", "maxOverlap")),
        instant("revokedBefore"),
    )

    every: Duration = timedelta(hours=720)
    """How old a credential gets before the next is made. Left out: 720h."""
    overlap: Duration = timedelta(hours=24)
    """How long the previous credential still works, counted from when the Secret changed. Left out: 24h."""
    max_overlap: Duration | None = None
    """How long a previous credential works at most that is still in use when its overlap ends. One that was replaced
    because `scopewright.dev/rotate` or `revokedBefore` asked for it gets no longer. Left out: four times overlap."""
    windows: Annotated[list[Window], Field(max_length=8)] = Field(default_factory=list)
    """When rotations that are due may happen; what `scopewright.dev/rotate` or `revokedBefore` ask for, and what heals
    a Secret, happens at once. Left out: at any time."""
    revoked_before: Timestamp | None = None
    """A leak: every credential issued earlier stops working now, without overlap. Left out: none is revoked."""
    suspend: bool = False
    """True: no rotation; `revokedBefore` works all the same. Left out: false."""

    @property
    def longest_overlap(self) -> timedelta:
        """What `max_overlap` says, or its default."""
        return self.overlap * 4 if self.max_overlap is None else self.max_overlap
