"""Parses the compact form of a signed token strictly (RFC 7515 §7.1). Does not verify it."""

import json
from dataclasses import dataclass
from typing import Any, NoReturn, TypeGuard

from scopewright import base64url
from scopewright.verifier.refusals import Reason, TokenRejected

_MAX_EPOCH_SECONDS = 2.0**53


@dataclass(frozen=True, slots=True)
class Signed:
    """A parsed token. Its header and claims are not verified."""

    header: dict[str, Any]
    claims: dict[str, Any]
    signing_input: bytes
    signature: bytes


def parse(token: str, max_bytes: int) -> Signed:
    if len(token) > max_bytes:
        raise TokenRejected(Reason.TOO_LARGE)
    parts = token.split(".")
    if len(parts) != 3:
        raise TokenRejected(Reason.MALFORMED)
    try:  # canonical, so that a token has only one spelling
        header, claims, signature = (base64url.decode_canonical(part) for part in parts)
        return Signed(
            header=json_object(header),
            claims=json_object(claims),
            signing_input=token.rpartition(".")[0].encode("ascii"),
            signature=signature,
        )
    except ValueError:
        raise TokenRejected(Reason.MALFORMED) from None


def is_numeric_date(value: object) -> TypeGuard[int | float]:
    """Whether it is a NumericDate (RFC 7519 §2) that fits in a float: seconds since 1970."""
    return not isinstance(value, bool) and isinstance(value, int | float) and 0 <= value <= _MAX_EPOCH_SECONDS


def json_object(data: bytes) -> dict[str, Any]:
    """A JSON object, parsed strictly: no duplicate names (RFC 8725 §2.4), no NaN, no lone surrogates.

    Raises ValueError.
    """
    try:
        value = json.loads(data.decode("utf-8"), object_pairs_hook=_no_name_twice, parse_constant=_no_constant)
        json.dumps(value, ensure_ascii=False).encode("utf-8")
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if not isinstance(value, dict):
        raise ValueError("not a JSON object")  # noqa: TRY004  # one error for all that is malformed
    return value


def _no_name_twice(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a name occurs twice")
    return members


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")
