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

    `reason` is a CamelCase word for conditions. `refused` means that the request certainly changed nothing; otherwise
    it may have been carried out although its answer was lost.
    """

    def __init__(
        self, message: str, *, retry_after: float = 1.0, reason: str = "Unavailable", refused: bool = False
    ) -> None:
        super().__init__(message)
        self.message = message
        self.retry_after = retry_after
        self.reason = reason
        self.refused = refused


class NotLeading(Unavailable):
    """Nothing is written by a replica that does not lead. Whoever leads next looks at everything anew."""

    def __init__(self) -> None:
        super().__init__("this replica does not lead: nothing is written")


class Conflict(Unavailable):
    """What was to be written is not what was read: read again, plan again."""

    def __init__(self, message: str) -> None:
        super().__init__(message, reason="Conflict", refused=True)


def changed_nothing(error: Rejected | Unavailable) -> bool:
    """Whether a write that failed with `error` was certainly not carried out."""
    return isinstance(error, Rejected) or error.refused
