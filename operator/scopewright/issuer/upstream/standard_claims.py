"""Standard claims (OpenID Connect Core §5.1) that a provider may set: types and lengths are checked. Pure functions.

A claim that does not fit is dropped, as if the provider had not sent it.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from scopewright.origins import HttpUrl
from scopewright.verifier.jws import is_numeric_date

MAX_TEXT: Final = 256
MAX_EMAIL: Final = 320
MAX_LINK: Final = 2048
MAX_ADDRESS_PART: Final = 512
"""Characters."""
VERIFIED: Final = {"email_verified": "email", "phone_number_verified": "phone_number"}
"""Claims that say something about another one."""

_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")
"""Control characters, ends of lines, and characters that turn the direction of the text around them."""
_CONTROL_BUT_LINES: Final = re.compile(r"[\x00-\x09\x0b\x0c\x0e-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")
_EMAIL: Final = re.compile(r"[^\s@<>,;\"]+@[^\s@<>,;\"]+")
_ADDRESS_PARTS: Final = ("formatted", "street_address", "locality", "region", "postal_code", "country")


def standard_claims(claims: Mapping[str, Any]) -> dict[str, Any]:
    """Return the claims that fit, without `sub` and `preferred_username`, which are mapped."""
    found = {name: value for name, fit in _FIT.items() if (value := fit(claims.get(name))) is not None}
    for verified, about in VERIFIED.items():
        if about in found and isinstance(claims.get(verified), bool):
            found[verified] = claims[verified]
    return found


def text(value: object) -> str | None:
    """Return a text of one line, of 1 to 256 characters; None for anything else."""
    is_fit = isinstance(value, str) and 0 < len(value) <= MAX_TEXT and _CONTROL.search(value) is None
    return str(value) if is_fit else None


def _email(value: object) -> str | None:
    if not isinstance(value, str) or len(value) > MAX_EMAIL or _CONTROL.search(value):
        return None
    return value if _EMAIL.fullmatch(value) else None


def _link(value: object) -> str | None:
    """An https URL: others could run scripts on the pages of applications, or show that the user is there."""
    if not isinstance(value, str) or len(value) > MAX_LINK:
        return None
    try:
        return value if HttpUrl.parse(value).scheme == "https" else None
    except ValueError:
        return None


def _time(value: object) -> int | None:
    return int(value) if is_numeric_date(value) else None


def _address(value: object) -> dict[str, str] | None:
    """The members of §5.1.1. Street and the whole address may have several lines."""
    if not isinstance(value, dict):
        return None
    parts = {name: value[name] for name in _ADDRESS_PARTS if _is_address_part(value.get(name))}
    return parts or None


def _is_address_part(value: object) -> bool:
    return isinstance(value, str) and 0 < len(value) <= MAX_ADDRESS_PART and not _CONTROL_BUT_LINES.search(value)


_TEXTS: Final = (
    "name",
    "given_name",
    "family_name",
    "middle_name",
    "nickname",
    "gender",
    "birthdate",
    "zoneinfo",
    "locale",
    "phone_number",
)
_FIT: Final[Mapping[str, Callable[[object], Any]]] = {
    **dict.fromkeys(_TEXTS, text),
    **dict.fromkeys(("profile", "picture", "website"), _link),
    "email": _email,
    "updated_at": _time,
    "address": _address,
}
