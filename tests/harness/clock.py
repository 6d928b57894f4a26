"""The clock of both harnesses. The test moves it; `OperatorHarness` also does, see there."""

from datetime import UTC, datetime, timedelta

START = datetime(2026, 11, 22, 12, tzinfo=UTC)


class Clock:
    """`now` is an instant in UTC; calling the clock returns the same instant as seconds since 1970, as `time.time`."""

    def __init__(self, now: datetime = START) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now.timestamp()

    def advance(self, **delta: float) -> None:
        """Move the clock by a `timedelta` of these arguments: `advance(days=31)`."""
        self.now += timedelta(**delta)

    def set(self, timestamp: float) -> None:
        """Set the clock to these seconds since 1970."""
        self.now = datetime.fromtimestamp(timestamp, UTC)
