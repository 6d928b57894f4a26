"""Parses the compact form of a signed token strictly (RFC 7515 §7.1). Does not verify it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeGuard

from scopewright import base64url
from scopewright.strict_json import json_object
from scopewright.verifier.refusals import Reason, TokenRejected

_MAX_EPOCH_SECONDS = 2.0**53


@dataclass(frozen=True, slots=True)
class Signed:
    """A parsed token. Its header and claims are not verified."""

    header: dict[str, Any]
    claims: dict[str, Any]
    signing_input: bytes
    signature: bytes


def require_token_text(token: object) -> None:
    """Raises TypeError. What was sent is a text always, so this is an error of the calling code."""
    if not isinstance(token, str):
        raise TypeError(f"the token must be a str, such as the text after Bearer, not {type(token).__name__}")


def parse(token: str, max_bytes: int, read: Callable[[bytes], dict[str, Any]] = json_object) -> Signed:
    """`read` must be as strict as `json_object`."""
    require_token_text(token)
    if len(token) > max_bytes:
        raise TokenRejected(Reason.TOO_LARGE)
    parts = token.split(".")
    if len(parts) != 3:
        raise TokenRejected(Reason.MALFORMED)
    try:  # canonical, so that a token has only one spelling
        header, claims, signature = map(base64url.decode_canonical, parts)
        return Signed(
            header=read(header),
            claims=read(claims),
            signing_input=token[: -len(parts[2]) - 1].encode("ascii"),
            signature=signature,
        )
    except ValueError:
        raise TokenRejected(Reason.MALFORMED) from None


def is_numeric_date(value: object) -> TypeGuard[int | float]:
    """Whether it is a NumericDate (RFC 7519 §2) that fits in a float: seconds since 1970."""
    return not isinstance(value, bool) and isinstance(value, int | float) and 0 <= value <= _MAX_EPOCH_SECONDS
