"""Errors of token requests. Each text says what to do, and contains no secret."""

import re

_PLAIN = re.compile(r"[^\x20-\x7e]")
_MAX_CHARACTERS = 300


class TokenError(Exception):
    """The token request failed. `error` is the code of RFC 6749 §5.2 (or `temporarily_unavailable`,
    `invalid_response`), `description` says what to do, and `status` is that of the token endpoint, None without a
    response. `retry_after` is in seconds, or None if a retry does not help.
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
        """A copy to raise for another caller, because a traceback belongs to one raise."""
        return TokenError(self.error, self.description, self.status, retry_after=self.retry_after)


def invalid_request(text: str, most: int = _MAX_CHARACTERS) -> TokenError:
    return TokenError("invalid_request", printable(text, most=most))


def invalid_response(endpoint: str, what: str, status: int | None = 200) -> TokenError:
    """The answer of `endpoint`, such as `token_endpoint`, is not one of the protocol."""
    return TokenError(
        "invalid_response", f"the answer of the {endpoint.replace('_', ' ')} {what}; is {endpoint} right?", status
    )


def unexpected(outcome: object) -> TokenError:
    """The text of an unknown exception is omitted, because it may contain secrets."""
    return TokenError("temporarily_unavailable", f"the request ended with {type(outcome).__name__}; try again")


class SecretError(TokenError):
    """The mounted Secret cannot be used; `error` is `invalid_secret`."""

    def __init__(self, description: str) -> None:
        super().__init__("invalid_secret", description)

    def again(self) -> "SecretError":
        return SecretError(self.description)


def printable(text: str, *hidden: str, most: int = _MAX_CHARACTERS) -> str:
    """Foreign text for a log: one line of limited length, printable ASCII, without the values of `hidden`."""
    for value in hidden:
        text = text.replace(value, "[hidden]") if value else text
    return _PLAIN.sub("?", text[:most])
