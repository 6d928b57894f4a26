"""What can go wrong on the way to a token, said so that the reader knows what to do. Never with a secret in it."""

import re

_PLAIN = re.compile(r"[^\x20-\x7e]")
_LONGEST = 300


class TokenError(Exception):
    """No token. `error` is the code of RFC 6749 §5.2 (or `temporarily_unavailable`, `invalid_response`), `description`
    what to do, `status` that of the token endpoint, None where it gave no answer. `retry_after` is in seconds, where
    trying again is worth it.
    """

    def __init__(
        self, error: str, description: str, status: int | None = None, *, retry_after: float | None = None
    ) -> None:
        self.error = error
        self.description = description
        self.status = status
        self.retry_after = retry_after
        super().__init__(f"{error}: {description}")

    def again(self) -> "TokenError":
        """The same, to be raised for another caller: a traceback belongs to one raise."""
        return TokenError(self.error, self.description, self.status, retry_after=self.retry_after)


class SecretError(TokenError):
    """The mounted Secret cannot be used; `error` is `invalid_secret`."""

    def __init__(self, description: str) -> None:
        super().__init__("invalid_secret", description)

    def again(self) -> "SecretError":
        return SecretError(self.description)


def printable(text: str, *hidden: str) -> str:
    """What somebody else wrote, fit for a log: one line, not endless, and without what must not be seen."""
    for value in hidden:
        text = text.replace(value, "[hidden]") if value else text
    return _PLAIN.sub("?", text[:_LONGEST])
