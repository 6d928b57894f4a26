"""The token in a request (RFC 6750 §2, RFC 9449 §7.1): the Authorization header, which is the only way to send it."""

import re
from collections.abc import Container, Iterable, Sequence
from urllib.parse import parse_qsl

from scopewright.verifier.refusals import Reason, TokenRejected

_TOKEN_SCHEMES = frozenset({"bearer", "dpop"})
_B64TOKEN = re.compile(r"[A-Za-z0-9\-._~+/]+=*")


def bearer_token(authorization: str | Sequence[str] | None, query_string: str = "") -> str:
    """The token, from all values of the Authorization header. Raises `TokenRejected`."""
    return sent_token(authorization, query_string, ("bearer",))[1]


def sent_token(
    authorization: str | Sequence[str] | None, query_string: str = "", schemes: Container[str] = ("bearer", "dpop")
) -> tuple[str, str]:
    """The scheme in lower case, which is one of `schemes`, and the token. Raises `TokenRejected`.

    A token in the query ends up in logs (RFC 6750 §2.3) and is not accepted: alone it is ignored; together with the
    header the request is refused.
    """
    values = _credentials((authorization,) if isinstance(authorization, str) else authorization or ())
    in_query = "access_token" in query_string and any(
        name == "access_token" for name, _ in parse_qsl(query_string, keep_blank_values=True)
    )
    tokens = []
    for value in values:
        scheme, _, rest = value.partition(" ")
        if (name := scheme.lower()) in schemes:
            tokens.append((name, rest.strip(" ")))
    if len(values) > 1 or (tokens and in_query):
        raise TokenRejected(Reason.TWO_WAYS)
    if not tokens and values and _is_token(values[0]):
        raise TokenRejected(Reason.SCHEME)
    if not tokens or not tokens[0][1]:
        raise TokenRejected(Reason.MISSING)
    if not _B64TOKEN.fullmatch(tokens[0][1]):
        raise TokenRejected(Reason.MALFORMED)
    return tokens[0]


def has_token(authorization: Sequence[str]) -> bool:
    """Whether a token is sent in any form, even a malformed one or with a scheme that is not accepted."""
    return any(_is_token(value) for value in _credentials(authorization))


def _credentials(values: Iterable[str]) -> list[str]:
    """The values of the header, one for each token.

    Servers join the values of a repeated header by commas (RFC 9110 §5.3), which no token contains.
    """
    separate: list[str] = []
    for value in values:
        parts = [part.strip(" \t") for part in value.split(",")] if "," in value else ()
        separate += parts if any(_is_token(part) for part in parts) else (value,)
    return separate


def _is_token(credentials: str) -> bool:
    return credentials.partition(" ")[0].lower() in _TOKEN_SCHEMES
