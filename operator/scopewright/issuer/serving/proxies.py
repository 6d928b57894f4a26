"""Whose request it is where proxies stand before the issuer: those that are trusted say so, and nobody else.

An address that was made up would blame another in the audit lines, and be a fresh budget of refusals each time.
"""

import ipaddress
from collections.abc import Iterable
from typing import Final

from scopewright.core.failures import Rejected
from scopewright.issuer.protocol.responses import HttpRequest

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

HEADER: Final = b"x-forwarded-for"
MOST: Final = 16
"""Proxies in a row that are looked through."""
_LONGEST: Final = 45
"""Characters of an address, an IPv4-mapped one in full."""


class TrustedProxies:
    """What `X-Forwarded-For` says, as far as each that has added to it is trusted."""

    def __init__(self, networks: Iterable[str]) -> None:
        """In CIDR notation; `Rejected` for what is no network, or everybody."""
        self._networks = [_network(text) for text in networks]

    def caller(self, http: HttpRequest) -> str:
        """The rightmost address that is no trusted proxy's; the peer's where that is not trusted itself.

        What cannot be read ends the search: then it is the proxy that has passed it on.
        """
        found = read(http.peer)
        if found is None or not self._trusts(found):
            return http.peer
        told = http.headers.get(HEADER, b"").rsplit(b",", MOST)[-MOST:]
        for text in reversed(told):
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
    """An address as it is written without brackets, port or zone; of one that is IPv4-mapped, the IPv4 address."""
    if len(text) > _LONGEST or "%" in text:
        return None
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    return (address.version == 6 and address.ipv4_mapped) or address


def trusted_proxies(text: str) -> TrustedProxies | None:
    """Of `--trusted-proxies`: networks with commas between them; None where there is none."""
    networks = [network.strip() for network in text.split(",") if network.strip()]
    return TrustedProxies(networks) if networks else None


def _network(text: str) -> Network:
    try:
        network = ipaddress.ip_network(text)
    except ValueError as error:
        raise Rejected(
            "BadProxies", f"--trusted-proxies: {error}: give networks such as 10.1.0.0/24,2001:db8::/64"
        ) from None
    if not network.prefixlen:
        raise Rejected("BadProxies", f"--trusted-proxies {text} would believe everybody: name your proxies alone")
    return network
