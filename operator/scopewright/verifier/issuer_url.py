"""Which URLs may name an issuer (RFC 8414 §2). The operator and the issuer apply the same rule to their own URL."""

import ipaddress
import re
from typing import Final
from urllib.parse import unquote

_URL: Final = re.compile(
    r"https?://"
    r"(?P<host>\[(?P<v6>[0-9A-Fa-f:.]+)\]|[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?)"
    r"(?::(?P<port>[0-9]{1,5}))?"
    r"(?P<path>(?:/(?:[A-Za-z0-9._~!$&()*+,;=:@-]|%[0-9A-Fa-f]{2})*)*)",
    re.ASCII,
)
_MAX_PORT: Final = 65535


def check_issuer_url(url: str) -> str:
    """The URL, unchanged: it is compared byte for byte. Raises ValueError if clients could not reach it.

    Absolute, https or http (which the caller restricts), ASCII as in RFC 3986, without user, query, fragment and
    the path segments `.` and `..`, which HTTP clients remove.
    """
    match = _URL.fullmatch(url)
    if match is None:
        raise ValueError(
            f"the issuer must be an absolute URL such as https://issuer.example.org/a, not {url!r}: ASCII only (write "
            "an international host as xn--…), without query, fragment, user, blanks, quotes and backslashes"
        )
    if match["port"] and not 0 < int(match["port"]) <= _MAX_PORT:
        raise ValueError(f"the issuer URL has a port that does not exist: {url!r}")
    if match["v6"]:
        ipaddress.IPv6Address(match["v6"])
    for segment in match["path"].split("/"):
        decoded = unquote(segment)
        if decoded in (".", "..") or "/" in decoded or "\\" in decoded:
            raise ValueError(f"the path of the issuer URL must not have the segments '.' and '..', nor %2F: {url!r}")
    return url
