"""Where secrets, tokens and keys may be sent: over HTTPS, over HTTP to loopback, and to hosts that the service allows.

Shared by `verifier` and `client`.
"""

import ipaddress
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol, Self

Hosts = frozenset[str]
_HOST = re.compile(r"(\[[0-9a-fA-F:.]+\]|[^\s/?#@:*\[\]\\]+)(:[0-9]{1,5})?")
_DEFAULT_PORTS = {"http": 80, "https": 443}
_HTTP_URL = re.compile(
    r"(?P<scheme>https?)://(?P<host>\[[0-9a-f:.]+\]|[a-z0-9._-]+)(?::(?P<port>[0-9]{1,5}))?"
    r"(?P<path>/[a-z0-9._~!$&'()*+,;=:@/%-]*)?(?:\?[a-z0-9._~!$&'()*+,;=:@/?%-]*)?",
    re.IGNORECASE | re.ASCII,
)


class Url(Protocol):
    """A parsed URL, such as httpx's. The host is in lower case, an IPv6 address without brackets."""

    @property
    def scheme(self) -> str: ...

    @property
    def host(self) -> str: ...

    @property
    def port(self) -> int | None: ...


@dataclass(frozen=True, slots=True)
class HttpUrl:
    """An absolute http(s) URL in the characters of RFC 3986 alone, which every HTTP client parses alike."""

    scheme: str
    host: str
    port: int | None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Raises ValueError for any other URL, and for one with a user or a fragment."""
        match = _HTTP_URL.fullmatch(text)
        if match is None or int(match["port"] or 1) not in range(1, 65536):
            raise ValueError(f"an https URL with a host, in ASCII and without user or fragment, is needed: {text!r}")
        if match["host"].startswith("["):
            ipaddress.IPv6Address(match["host"][1:-1])
        port = int(match["port"]) if match["port"] else None
        return cls(match["scheme"].lower(), match["host"].strip("[]").lower(), port)


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


def is_among(url: Url, names: Hosts) -> bool:
    return host_of(url) in names or f"{host_of(url)}:{port_of(url)}" in names


def host_of(url: Url) -> str:
    """Return the host as in a URL: an IPv6 address in brackets."""
    return f"[{url.host}]" if ":" in url.host else url.host


def port_of(url: Url) -> int | None:
    return url.port or _DEFAULT_PORTS.get(url.scheme)


def origin(url: Url) -> tuple[str, str, int | None]:
    """Scheme, host and port (RFC 6454 §4)."""
    return url.scheme, url.host, port_of(url)


def is_secure(url: Url, allow_http: Hosts = frozenset()) -> bool:
    """Whether it is HTTPS, or HTTP to loopback or to a host of `allow_http`."""
    if url.scheme == "https":
        return True
    return url.scheme == "http" and (is_loopback(url.host) or is_among(url, allow_http))


def is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def advice(url: Url, allow_http: Hosts = frozenset(), variable: str | None = None) -> str:
    """Return the argument, or the value of the variable, that would also allow plain HTTP to the host of `url`."""
    hosts = allow_http | {host_of(url)}
    how = f"pass allow_http={as_argument(hosts)}" if variable is None else f"set {variable}={','.join(sorted(hosts))}"
    return f"use https, or {how}"


def as_argument(names: Hosts) -> str:
    """Return the names as a Python tuple."""
    quoted = ", ".join(f'"{name}"' for name in sorted(names))
    return f"({quoted},)" if len(names) == 1 else f"({quoted})"
