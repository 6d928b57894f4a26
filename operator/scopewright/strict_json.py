"""Parses untrusted JSON strictly. Shared by `verifier`, `client` and `core`."""

import json
from typing import Any, Final, NoReturn


def json_object(data: bytes) -> dict[str, Any]:
    """A JSON object, parsed strictly: no duplicate names (RFC 8725 §2.4), no NaN, no lone surrogates.

    Raises ValueError.
    """
    try:
        value = _DECODER.decode(data.decode("utf-8"))
        if b"\\u" in data:  # no other way to write a surrogate in UTF-8
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


_DECODER: Final = json.JSONDecoder(object_pairs_hook=_no_name_twice, parse_constant=_no_constant)
