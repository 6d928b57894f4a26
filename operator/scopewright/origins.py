"""Where secrets, tokens and keys may be sent: over HTTPS, over HTTP to loopback, and to hosts that the service allows.

Shared by `verifier` and `client`.
"""

import ipaddress
import re
from collections.abc import Iterable

import httpx

Hosts = frozenset[str]
_HOST = re.compile(r"(\[[0-9a-fA-F:.]+\]|[^\s/?#@:*\[\]\\]+)(:[0-9]{1,5})?")
_DEFAULT_PORTS = {"http": 80, "https": 443}


def host_names(argument: str, names: Iterable[str]) -> Hosts:
    """The value of `hosts=` or `allow_http=`: host names, each with `:PORT` to allow only that port.

    Raises ValueError for a URL or a pattern, which are not accepted, and TypeError for a value that is not iterable.
    """
    if not isinstance(names, Iterable):
        raise TypeError(f'{argument} takes host names, such as ("payroll.payroll.svc",), and not {names!r}')
    hosts = frozenset((names,) if isinstance(names, str) else names)
    for name in hosts:
        if not isinstance(name, str) or not _HOST.fullmatch(name):
            raise ValueError(
                f"{argument} takes hosts such as payroll.payroll.svc or payroll.payroll.svc:8080: {name!r}"
            )
    return frozenset(name.lower() for name in hosts)


def is_among(url: httpx.URL, names: Hosts) -> bool:
    return host_of(url) in names or f"{host_of(url)}:{port_of(url)}" in names


def host_of(url: httpx.URL) -> str:
    """Return the host as in a URL: an IPv6 address in brackets."""
    return f"[{url.host}]" if ":" in url.host else url.host


def port_of(url: httpx.URL) -> int | None:
    return url.port or _DEFAULT_PORTS.get(url.scheme)


def origin(url: httpx.URL) -> tuple[str, str, int | None]:
    """Scheme, host and port (RFC 6454 §4)."""
    return url.scheme, url.host, port_of(url)


def is_secure(url: httpx.URL, allow_http: Hosts = frozenset()) -> bool:
    """Whether it is HTTPS, or HTTP to loopback or to a host of `allow_http`."""
    if url.scheme == "https":
        return True
    return url.scheme == "http" and (is_loopback(url.host) or is_among(url, allow_http))


def is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def advice(url: httpx.URL, allow_http: Hosts = frozenset()) -> str:
    """Return the argument that would also allow plain HTTP to the host of `url`."""
    return f"use https, or pass allow_http={as_argument(allow_http | {host_of(url)})}"


def as_argument(names: Hosts) -> str:
    """Return the names as a Python tuple."""
    quoted = ", ".join(f'"{name}"' for name in sorted(names))
    return f"({quoted},)" if len(names) == 1 else f"({quoted})"
