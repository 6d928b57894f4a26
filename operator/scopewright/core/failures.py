"""The one way to say a failure: the user must act (`Rejected`), or it will pass (`Unavailable`).

They become conditions, OAuth errors and exit codes in one place each.
"""


class Rejected(Exception):
    """Only the user can help. `reason` is a CamelCase word for machines, the message says what to do."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message


class Unavailable(Exception):
    """Trying again later helps; nothing is known to be wrong. `retry_after` is in seconds.

    `reason` is a CamelCase word for conditions.
    """

    def __init__(self, message: str, *, retry_after: float = 1.0, reason: str = "Unavailable") -> None:
        super().__init__(message)
        self.message = message
        self.retry_after = retry_after
        self.reason = reason


class NotLeading(Unavailable):
    """Nothing is written by a replica that does not lead. Whoever leads next looks at everything anew."""

    def __init__(self) -> None:
        super().__init__("this replica does not lead: nothing is written")


class Conflict(Unavailable):
    """What was to be written is not what was read: read again, plan again."""
