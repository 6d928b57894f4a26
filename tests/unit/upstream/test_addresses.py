"""Which addresses a provider may have."""

import ipaddress
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scopewright.upstream.addresses import refusal_of

REFUSED = [
    "0.0.0.0",
    "0.1.2.3",
    "127.0.0.1",
    "127.255.255.254",
    "169.254.0.1",
    "169.254.169.254",
    "100.100.100.200",
    "168.63.129.16",
    "192.0.0.192",
    "224.0.0.1",
    "239.255.255.255",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "fe80::1",
    "fe80::1%1",
    "febf::1",
    "fd00:ec2::254",
    "fd20:ce::254",
    "ff02::1",
    "64:ff9b:1::a9fe:a9fe",
    "::127.0.0.1",
    "::ffff:169.254.169.254",
    "::ffff:0:127.0.0.1",
    "64:ff9b::7f00:1",
    "2002:7f00:1::",
    "2002:a9fe:a9fe::1",
    "2001::f5ff:fffe",  # Teredo, of 10.0.0.1, whose server is 0.0.0.0
    "2001:0:808:808::80ff:fffe",  # Teredo, of the client 127.0.0.1
]
ALLOWED = [
    "93.184.216.34",
    "10.0.0.1",
    "172.16.0.1",
    "192.168.1.1",
    "100.64.0.1",
    "168.63.129.17",
    "2606:2800:220:1::1",
    "fd12:3456::1",
    "::ffff:10.0.0.1",
    "64:ff9b::a00:1",
    "2002:a00:1::1",
    "2001:0:808:808::f5ff:fffe",
]
FORMS: list[Callable[[int], int]] = [
    lambda address: address,
    lambda address: 0xFFFF << 32 | address,
    lambda address: 0xFFFF << 48 | address,
    lambda address: 0x0064FF9B << 96 | address,
    lambda address: 0x2002 << 112 | address << 80 | 1,
    lambda address: 0x20010000 << 96 | 0x08080808 << 64 | (address ^ 0xFFFFFFFF),
]


@pytest.mark.parametrize("address", REFUSED)
def test_address_that_is_never_a_providers(address: str) -> None:
    assert refusal_of(ipaddress.ip_address(address), allow_loopback=False)


@pytest.mark.parametrize("address", ALLOWED)
def test_address_that_may_be_a_providers(address: str) -> None:
    assert refusal_of(ipaddress.ip_address(address), allow_loopback=False) == ""


@pytest.mark.parametrize("address", ["127.0.0.1", "127.1.2.3", "::1", "::ffff:127.0.0.1"])
def test_loopback_is_allowed_for_development(address: str) -> None:
    assert refusal_of(ipaddress.ip_address(address), allow_loopback=True) == ""


@pytest.mark.parametrize("address", ["0.0.0.0", "::", "169.254.169.254", "fe80::1", "224.0.0.1", "::ffff:169.254.1.1"])
def test_for_development_nothing_else_is(address: str) -> None:
    assert refusal_of(ipaddress.ip_address(address), allow_loopback=True)


@given(st.ip_addresses(v=4), st.sampled_from(FORMS))
def test_address_in_an_ipv6_address_is_judged_as_itself(
    address: ipaddress.IPv4Address, form: Callable[[int], int]
) -> None:
    inside = ipaddress.IPv6Address(form(int(address)))
    if int(inside) in (0, 1):  # the addresses :: and ::1 themselves
        return
    expected = refusal_of(address, allow_loopback=False)
    assert bool(refusal_of(inside, allow_loopback=False)) == bool(expected)


@given(st.ip_addresses(v=4))
def test_global_and_private_addresses_are_allowed(address: ipaddress.IPv4Address) -> None:
    never = address.is_loopback or address.is_link_local or address.is_multicast or address.is_reserved
    first_octet_is_zero = int(address) >> 24 == 0
    services = {"100.100.100.200", "168.63.129.16", "192.0.0.192"}
    expected = never or first_octet_is_zero or str(address) in services
    assert bool(refusal_of(address, allow_loopback=False)) == expected
