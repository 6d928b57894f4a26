"""Redact the message of a refused Secret: only plain words, names and a few numbers remain.

A webhook may quote the Secret that it refuses in any form: as JSON, escaped or indented, as base64 of any width, in
hexadecimal, as a list of bytes. No list of encodings is complete, so the text is not searched for values: only words
that an encoded key or secret cannot look like are kept.
"""

import re
from collections.abc import Mapping
from typing import Any, Final

from scopewright.core.failures import Rejected, Unavailable
from scopewright.stores.kubernetes.refusals import refuser

REMOVED: Final = "…"
MAX_NUMBERS: Final = 6
"""A message with more numbers may contain a list of bytes: then all are removed."""
MAX_CONSECUTIVE: Final = 2
"""Numbers in a row that are kept."""
MAX_IN_A_TOKEN: Final = 3
"""Numbers in one token, as in a URL."""
MAX_HASHES: Final = 2
"""Parts of a name that are not words, such as the suffixes that Kubernetes appends."""

_QUOTES: Final = "\"'`“”‘’([{<>}]).,:;!?…"
_SEPARATORS: Final = re.compile(r"[/:=@?&]")
_IN_NAMES: Final = re.compile(r"[-._]")
_WORD: Final = re.compile(
    r"[A-Z]?[a-z]{1,15}(?:['’][a-z]{1,2})?"  # word, Word, doesn't
    r"|[A-Z]{1,6}|(?:[A-Z][a-z]{2,14}){2,4}"  # POST, ResourceQuota
    r"|v[0-9](?:(?:alpha|beta)[0-9])?"
)
_NUMBER: Final = re.compile(r"[0-9]{1,6}(?:ms|s|m|h|Ki|Mi|Gi)?")
_ADDRESS: Final = re.compile(r"[0-9]{1,3}(?:\.[0-9]{1,3}){3}")
_DNS_NAME: Final = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?")
"""Valid name of a webhook, policy or quota, which an administrator chooses."""
_HASH: Final = re.compile(r"[a-z0-9]{1,10}")


def remove_values(failure: Exception, body: Mapping[str, Any]) -> None:
    """Remove from the failure's message everything that may be a value of the Secret to write."""
    if body.get("kind") != "Secret":
        return
    meta = body.get("metadata") or {}
    names = {str(meta.get("name")), str(meta.get("namespace"))}
    if _DNS_NAME.fullmatch(name := refuser(str(failure))):
        names.add(name)
    message = redact(str(failure), names)
    failure.args = (message,)
    if isinstance(failure, Rejected | Unavailable):
        failure.message = message


def redact(text: str, names: set[str]) -> str:
    """Return only words, numbers, the given names, and names made of words; the rest becomes `…`."""
    tokens = text.split()
    numbers = [bool(_NUMBER.fullmatch(token.strip(_QUOTES))) for token in tokens]
    few = sum(numbers) <= MAX_NUMBERS
    kept: list[str] = []
    for at, token in enumerate(tokens):
        in_a_row = _consecutive(numbers, at)
        if few and in_a_row <= MAX_CONSECUTIVE if numbers[at] else _is_safe(token.strip(_QUOTES), names):
            kept.append(token)
        elif kept[-1:] != [REMOVED]:
            kept.append(REMOVED)
    return " ".join(kept)


def _consecutive(numbers: list[bool], at: int) -> int:
    """Return the length of the row of numbers that contains this one."""
    first = last = at
    while first > 0 and numbers[first - 1]:
        first -= 1
    while last + 1 < len(numbers) and numbers[last + 1]:
        last += 1
    return last - first + 1


def _is_safe(token: str, names: set[str]) -> bool:
    if token.endswith("="):
        return False
    pieces = _SEPARATORS.split(token)
    numbers = sum(_NUMBER.fullmatch(piece) is not None for piece in pieces)
    return numbers <= MAX_IN_A_TOKEN and all(_is_name(piece, names) for piece in pieces)


def _is_name(piece: str, names: set[str]) -> bool:
    """Return whether it is a name of this object, an address, or made of words and at most two short hashes."""
    if not piece or piece in names or _ADDRESS.fullmatch(piece) or _NUMBER.fullmatch(piece):
        return True
    parts = _IN_NAMES.split(piece)
    others = [part for part in parts if not _WORD.fullmatch(part)]
    if not others:
        return len(parts) == 1 or all(len(part) > 1 for part in parts)
    return len(others) < len(parts) and len(others) <= MAX_HASHES and all(map(_HASH.fullmatch, others))
