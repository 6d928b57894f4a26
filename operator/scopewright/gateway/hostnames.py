"""Hostnames of requests, in the one form in which they are compared."""

import re
from functools import lru_cache
from typing import Final

from scopewright.api.http_rules import is_hostname
from scopewright.gateway.refusals import GatewayReason, GatewayRefused

_NAME_AND_PORT: Final = re.compile(rb"([a-z0-9.-]+)(?::[0-9]{0,5})?")


@lru_cache(maxsize=1024)
def hostname_of(sent: bytes) -> str:
    """The hostname of a Host header or of a proxy's configuration: in lower case, without its port.

    Raises `GatewayRefused` for anything that no API can declare: a trailing dot, a user, an underscore and IP addresses
    in any notation are refused, because proxies and services compare them in different ways.
    """
    match = _NAME_AND_PORT.fullmatch(sent.lower())
    name = match[1].decode("ascii") if match else ""
    if not is_hostname(name):
        raise GatewayRefused(GatewayReason.HOSTNAME)
    return name
