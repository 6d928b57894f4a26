"""The address of the caller behind proxies: X-Forwarded-For is used only if a trusted proxy sent it.

A forged address would put the wrong caller into audit lines, and get a new budget of refusals each time.
"""

import ipaddress
from collections.abc import Iterable
from typing import Final

from scopewright.core.failures import Rejected
from scopewright.issuer.protocol.responses import HttpRequest

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

HEADER: Final = b"x-forwarded-for"
MAX_PROXIES: Final = 16
"""Maximum of addresses that are read, from the right."""
_MAX_ADDRESS_LENGTH: Final = 45
"""Characters of an IPv4-mapped address in full."""


class TrustedProxies:
    """Reads X-Forwarded-For from the right, as long as each address is a trusted proxy."""

    def __init__(self, networks: Iterable[str]) -> None:
        """`networks` in CIDR notation. Raises `Rejected` if one is not a network, or includes every address."""
        self._networks = [_network(text) for text in networks]

    def caller(self, http: HttpRequest) -> str:
        """The rightmost address that is not a trusted proxy; the peer if that is not trusted itself.

        At an invalid address the search ends: the result is the proxy that forwarded it.
        """
        found = read(http.peer)
        if found is None or not self._trusts(found):
            return http.peer
        forwarded = http.headers.get(HEADER, b"").rsplit(b",", MAX_PROXIES)[-MAX_PROXIES:]
        for text in reversed(forwarded):
            address = read(text.strip(b" \t").decode("latin-1"))
            if address is None:
                break
            found = address
            if not self._trusts(address):
                break
        return str(found)

    def _trusts(self, address: Address) -> bool:
        return any(address in network for network in self._networks)


def read(text: str) -> Address | None:
    """An address without brackets, port or zone. An IPv4-mapped one is returned as IPv4. None if it is invalid."""
    if len(text) > _MAX_ADDRESS_LENGTH or "%" in text:
        return None
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    return (address.version == 6 and address.ipv4_mapped) or address


def trusted_proxies(text: str) -> TrustedProxies | None:
    """Parse `--trusted-proxies`: networks, separated by commas. None if there are none."""
    networks = [network.strip() for network in text.split(",") if network.strip()]
    return TrustedProxies(networks) if networks else None


def _network(text: str) -> Network:
    try:
        network = ipaddress.ip_network(text)
    except ValueError as error:
        raise Rejected(
            "BadProxies", f"--trusted-proxies: {error}: pass networks such as 10.1.0.0/24,2001:db8::/64"
        ) from None
    if not network.prefixlen:
        raise Rejected("BadProxies", f"--trusted-proxies {text} would trust every address: pass your proxies' networks")
    return network
