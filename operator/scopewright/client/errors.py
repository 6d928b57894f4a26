"""Errors of requests to the issuer. Each text says what to do, and contains no secret."""

import re
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Self, TypeVar

from scopewright.http_flow import FetchError

_PLAIN = re.compile(r"[^\x20-\x7e]")
_MAX_CHARACTERS = 300
_LIBRARY_ATTRIBUTES = ("request", "_request", "response")

_PERMANENT = (ArithmeticError, AssertionError, AttributeError, LookupError, NameError, TypeError, ValueError)
"""Of programming errors, such as a value of a wrong type."""

T = TypeVar("T", bound="TokenError")
_combinations: "dict[tuple[type[TokenError], type[Exception]], type[TokenError]]" = {}


class TokenError(Exception):
    """A request to the issuer failed, or a token must not be sent. `error` is the code of RFC 6749 §5.2, or
    `temporarily_unavailable`, `invalid_response` or `invalid_secret`. `description` says what to do. `status` is of the
    issuer's response, None without one. `retry_after` is in seconds, or None if a retry does not help.
    """

    def __init__(
        self, error: str, description: str, status: int | None = None, *, retry_after: float | None = None
    ) -> None:
        self.error = error
        self.description = description
        self.status = status
        self.retry_after = retry_after
        super().__init__(f"{error}: {description}")

    def again(self) -> Self:
        """A copy to raise for another caller, because a traceback belongs to one raise."""
        return _restored(type(self), self.args, self.__dict__)

    def __reduce__(self) -> tuple[Any, ...]:
        """For pickle, with which Celery and multiprocessing pass exceptions on."""
        return _restored, (type(self), self.args, self.__dict__)


def _restored(kind: type[T], args: tuple[Any, ...], state: dict[str, Any]) -> T:
    made = kind.__new__(kind)
    made.args = args
    made.__dict__.update(state)
    return made


@contextmanager
def raised_as(library: type[Exception], **attributes: object) -> Iterator[None]:
    """A `TokenError` inside is raised as one that is also a `library`: the base class of an HTTP library's exceptions.
    `attributes` are those that the library sets on its exceptions, such as `request`.
    """
    try:
        yield
    except TokenError as error:
        made = _as_library_error(error, library)
        for name, value in attributes.items():
            setattr(made, name, value)
        raise made from None


def _as_library_error(error: TokenError, library: type[Exception]) -> TokenError:
    kind = _combined(type(error), library)
    made = kind.__new__(kind)
    library.__init__(made, str(error))
    made.__dict__.update(error.__dict__)
    return made


def _combined(kind: type[TokenError], library: type[Exception]) -> type[TokenError]:
    def reduced(self: TokenError) -> tuple[Any, ...]:
        """Without the attributes of the library: a request may not be picklable."""
        state = {name: value for name, value in self.__dict__.items() if name not in _LIBRARY_ATTRIBUTES}
        return _as_library_error, (_restored(kind, self.args, state), library)

    if (kind, library) not in _combinations:
        members = {"__module__": kind.__module__, "__doc__": kind.__doc__, "__reduce__": reduced}
        _combinations[kind, library] = type(kind.__name__, (kind, library), members)
    return _combinations[kind, library]


def invalid_request(text: str, most: int = _MAX_CHARACTERS) -> TokenError:
    return TokenError("invalid_request", printable(text, most=most))


def invalid_response(endpoint: str, what: str, status: int | None = 200) -> TokenError:
    """The answer of `endpoint`, such as `token_endpoint`, is not one of the protocol."""
    return TokenError(
        "invalid_response", f"the answer of the {endpoint.replace('_', ' ')} {what}; is {endpoint} right?", status
    )


def unavailable(text: str) -> TokenError:
    """No answer, and a retry may help."""
    return TokenError("temporarily_unavailable", text, retry_after=1.0)


def unexpected(outcome: BaseException) -> TokenError:
    """The text of an unknown exception is omitted, because it may contain secrets.

    That of an ImportError names the package to install: httpx needs one for a SOCKS proxy of the environment. That of a
    FetchError names the variable to change.
    """
    if isinstance(outcome, ImportError | FetchError):
        return unavailable(printable(f"the request cannot be sent: {outcome}"))
    if isinstance(outcome, _PERMANENT):
        where = "".join(f" in {name}" for name in _raised_in(outcome))
        return invalid_request(
            f"the request cannot be made: {type(outcome).__name__}{where}; a retry does not help: correct the argument "
            "or the credential source that has a wrong value, or report this"
        )
    return unavailable(f"the request ended with {type(outcome).__name__}; try again")


def _raised_in(error: BaseException) -> list[str]:
    """The function that raised it and its line, in a list; empty if unknown."""
    frames = list(traceback.walk_tb(error.__traceback__))
    return [f"{f.f_globals.get('__name__')}.{f.f_code.co_name}, line {line}" for f, line in frames[-1:]]


class SecretError(TokenError):
    """The credential cannot be read or is incomplete; `error` is `invalid_secret`."""

    def __init__(self, description: str) -> None:
        super().__init__("invalid_secret", description)


def printable(text: str, *hidden: str, most: int = _MAX_CHARACTERS) -> str:
    """Foreign text for a log: one line of limited length, printable ASCII, without the values of `hidden`."""
    for value in hidden:
        text = text.replace(value, "[hidden]") if value else text
    return _PLAIN.sub("?", text[:most])
