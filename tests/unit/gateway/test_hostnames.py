"""Hostnames are compared in one form, and anything but a DNS name is refused."""

import pytest

from scopewright.gateway.hostnames import hostname_of
from scopewright.gateway.refusals import GatewayReason, GatewayRefused


@pytest.mark.parametrize(
    ("sent", "hostname"),
    [
        ("payroll.hr.example", "payroll.hr.example"),
        ("PayRoll.HR.Example", "payroll.hr.example"),
        ("payroll.hr.example:443", "payroll.hr.example"),
        ("payroll.hr.example:", "payroll.hr.example"),
        ("xn--lhne-zwa.example", "xn--lhne-zwa.example"),
        ("localhost:8080", "localhost"),
        ("7.example", "7.example"),
        ("a" * 63 + ".example", "a" * 63 + ".example"),
    ],
)
def test_hostname_is_lower_case_without_its_port(sent: str, hostname: str) -> None:
    assert hostname_of(sent.encode()) == hostname


@pytest.mark.parametrize(
    "sent",
    [
        "",
        ":443",
        "payroll.hr.example.",
        "payroll.hr.example.:443",
        ".payroll.hr.example",
        "payroll..example",
        "user@payroll.hr.example",
        "payroll.hr.example:443:443",
        "payroll.hr.example:port",
        "payroll.hr.example, payroll.hr.example",
        "payroll.hr.example/",
        "payroll.hr.example\x00",
        "payroll.hr.example\n",
        "payroll.hr.example ",
        "payroll%2Ehr.example",
        "pay_roll.hr.example",
        "-payroll.hr.example",
        "payroll-.hr.example",
        "l\u00f6hne.example",
        "a" * 64 + ".example",
        "a." * 126 + "ab",
        "10.0.0.1",
        "10.0.0.1:80",
        "2130706433",
        "0x7f000001",
        "127.0x1",
        "[::1]",
        "[::1]:443",
    ],
)
def test_anything_but_a_dns_name_is_refused(sent: str) -> None:
    with pytest.raises(GatewayRefused) as caught:
        hostname_of(sent.encode())
    assert (caught.value.reason, caught.value.status) == (GatewayReason.HOSTNAME, 400)
