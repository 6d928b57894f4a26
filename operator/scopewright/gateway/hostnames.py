"""Hostnames of requests, in the one form in which they are compared."""

import re
from functools import lru_cache
from typing import Final

from scopewright.gateway.refusals import GatewayReason, GatewayRefused

MAX_CHARACTERS: Final = 253
"""Of a DNS name in text form (RFC 1035 §2.3.4)."""

_NAME_AND_PORT: Final = re.compile(rb"([a-z0-9.-]{1,253})(?::[0-9]{0,5})?")
_LABEL: Final = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_NUMBER: Final = re.compile(r"[0-9]+|0x[0-9a-f]*")
"""A last label by which URL parsers read an IPv4 address (WHATWG URL §3.5)."""


@lru_cache(maxsize=1024)
def hostname_of(sent: bytes) -> str:
    """The hostname of a Host header or of a proxy's configuration: in lower case, without its port.

    Raises `GatewayRefused` for anything but a DNS name in ASCII (RFC 1123 §2.1): a trailing dot, a user, an underscore
    and IP addresses in any notation are refused, because proxies and services compare them in different ways.
    """
    match = _NAME_AND_PORT.fullmatch(sent.lower())
    labels = match[1].decode("ascii").split(".") if match else []
    if not labels or not all(map(_LABEL.fullmatch, labels)) or _NUMBER.fullmatch(labels[-1]):
        raise GatewayRefused(GatewayReason.HOSTNAME)
    return ".".join(labels)
