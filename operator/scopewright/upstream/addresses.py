"""Which addresses a provider may have. Pure functions.

Companies run providers in their own networks, so private ranges are allowed. What is never a provider: the host of this
process, its link, the metadata service of a cloud, and addresses that are not of one host.
"""

import ipaddress
from typing import Final

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_METADATA_SERVICES: Final = frozenset(
    map(
        ipaddress.ip_address,
        (
            "169.254.169.254",  # AWS, Azure, Google and many others
            "fd00:ec2::254",  # AWS
            "fd20:ce::254",  # Google
            "100.100.100.200",  # Alibaba
            "168.63.129.16",  # Azure's platform
            "192.0.0.192",  # Oracle
        ),
    )
)

_NEVER: Final = tuple(
    (ipaddress.ip_network(network), kind)
    for network, kind in (
        ("0.0.0.0/8", "unspecified"),
        ("169.254.0.0/16", "link-local"),
        ("224.0.0.0/4", "multicast"),
        ("240.0.0.0/4", "reserved"),
        ("::/128", "unspecified"),
        ("64:ff9b:1::/48", "of a translator to unknown IPv4 addresses (RFC 8215)"),
        ("fe80::/10", "link-local"),
        ("ff00::/8", "multicast"),
    )
)

_EMBEDDED: Final = tuple(
    (ipaddress.ip_network(network), shift)
    for network, shift in (
        ("::/96", 0),  # IPv4-compatible (RFC 4291 §2.5.5.1)
        ("::ffff:0:0/96", 0),  # IPv4-mapped (§2.5.5.2)
        ("::ffff:0:0:0/96", 0),  # IPv4-translated (RFC 2765 §2.1)
        ("64:ff9b::/96", 0),  # NAT64 (RFC 6052 §2.1)
        ("2002::/16", 80),  # 6to4 (RFC 3056 §2)
    )
)
"""IPv6 networks whose addresses lead to an IPv4 address, and how many bits are to the right of it."""

_TEREDO: Final = ipaddress.ip_network("2001::/32")
_IPV4_BITS: Final = 0xFFFFFFFF


def refusal_of(address: Address, *, allow_loopback: bool) -> str:
    """Return why no request goes to this address, such as `link-local`; empty if it may be a provider's."""
    if address in _METADATA_SERVICES:
        return "of a metadata service"
    if address.is_loopback:
        return "" if allow_loopback else "loopback"
    for network, kind in _NEVER:
        if address in network:
            return kind
    for inner in _embedded(address):
        if refusal := refusal_of(inner, allow_loopback=allow_loopback):
            return refusal
    return ""


def _embedded(address: Address) -> list[ipaddress.IPv4Address]:
    """The IPv4 addresses to which an IPv6 address leads."""
    if isinstance(address, ipaddress.IPv4Address):
        return []
    number = int(address)
    found = [ipaddress.IPv4Address(number >> shift & _IPV4_BITS) for network, shift in _EMBEDDED if address in network]
    if address in _TEREDO:  # RFC 4380 §4: the server, and the client with each bit inverted
        found += [ipaddress.IPv4Address(number >> 64 & _IPV4_BITS), ipaddress.IPv4Address(~number & _IPV4_BITS)]
    return found
