"""The two kinds of failure: the user must act (`Rejected`), or a retry helps (`Unavailable`).

Conditions, OAuth errors and exit codes are derived from them, in one place each.
"""


class Rejected(Exception):
    """Only the user can fix it. `reason` is a CamelCase word for machines; the message says what to do."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message


class Unavailable(Exception):
    """A later retry helps; nothing is known to be wrong. `retry_after` is in seconds.

    `reason` is a CamelCase word for conditions. `refused` means that the request certainly changed nothing. Otherwise
    it may have been carried out, and its response lost.
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
    """A replica that is not the leader writes nothing. The next leader reconciles every object."""

    def __init__(self) -> None:
        super().__init__("this replica is not the leader: nothing is written")


class Conflict(Unavailable):
    """The object has changed since it was read: read and plan again."""

    def __init__(self, message: str) -> None:
        super().__init__(message, reason="Conflict", refused=True)


def changed_nothing(error: Rejected | Unavailable) -> bool:
    """Whether a write that failed with `error` was certainly not carried out."""
    return isinstance(error, Rejected) or error.refused
