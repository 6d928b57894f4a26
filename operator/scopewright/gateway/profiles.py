"""Profiles: how each proxy says which request it asks about. A profile reads its own headers and ignores all others.

A proxy asks with `/auth/<profile>/<hostname>`. The hostname in the path is the one that the proxy's configuration pins;
`-` stands for the one that the caller sent.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

from scopewright.gateway.hostnames import hostname_of
from scopewright.gateway.refusals import GatewayReason, GatewayRefused
from scopewright.http.messages import HttpRequest

HOSTNAME_AS_SENT: Final = b"-"

_ROUTE: Final = re.compile(rb"/auth/([a-z-]{1,32})/([^/?]*)(.*)", re.DOTALL)
_URL: Final = re.compile(rb"https?://(?:[A-Za-z0-9._-]*|\[[0-9A-Fa-f:.]*\])(?::[0-9]*)?(/.*)", re.DOTALL)


class OriginalRequest(NamedTuple):
    """The request that a proxy asks about. `target` is raw: path and query, as the caller sent them (RFC 9112 §3.2)."""

    method: str
    target: bytes
    hostname: str


@dataclass(frozen=True, slots=True)
class Profile:
    """The headers, in lower case, in which a proxy passes the request; empty if it passes method and target as those of
    its own request to the gateway. Without `hostname_header` the hostname must be pinned.

    `target_is_url`: the target follows scheme and host. `few_statuses`: the proxy understands 200, 401, 403 and 503.
    """

    name: str
    method_header: bytes
    target_header: bytes
    hostname_header: bytes
    target_is_url: bool = False
    few_statuses: bool = False

    @property
    def reads_own_request(self) -> bool:
        return not self.target_header


class AuthRoute(NamedTuple):
    """The path of a request to the gateway. `rest` is what follows the hostname."""

    profile: Profile
    hostname: bytes
    rest: bytes

    def original(self, request: HttpRequest) -> OriginalRequest:
        """Raises `GatewayRefused`. Method and path are not checked yet."""
        profile = self.profile
        if profile.reads_own_request:
            method, target = request.method, self.rest
        else:
            method = _header(request, profile.method_header).decode("latin-1")
            target = _header(request, profile.target_header)
            if profile.target_is_url:
                target = _target_of_url(target, profile.target_header)
        return OriginalRequest(method, target, self._hostname(request))

    def _hostname(self, request: HttpRequest) -> str:
        if self.hostname != HOSTNAME_AS_SENT:
            return hostname_of(self.hostname)
        if not self.profile.hostname_header:
            expected = f"the hostname in the URL of the gateway, which the profile {self.profile.name} needs"
            raise GatewayRefused(GatewayReason.PROXY_HEADERS, expected)
        return hostname_of(_header(request, self.profile.hostname_header))


_NGINX: Final = Profile("nginx", b"x-original-method", b"x-original-uri", b"x-original-host", few_statuses=True)
_FORWARDED: Final = (b"x-forwarded-method", b"x-forwarded-uri", b"x-forwarded-host")

PROFILES: Final[Mapping[str, Profile]] = {
    profile.name: profile
    for profile in (
        _NGINX,
        Profile("ingress-nginx", b"x-original-method", b"x-original-url", b"", target_is_url=True, few_statuses=True),
        Profile("traefik", *_FORWARDED),
        Profile("caddy", *_FORWARDED),
        Profile("haproxy", _NGINX.method_header, _NGINX.target_header, _NGINX.hostname_header),
        Profile("envoy", b"", b"", b"host"),
    )
}


def auth_route(target: bytes, enabled: Mapping[str, Profile] = PROFILES) -> AuthRoute | None:
    """The route of a request target to the gateway; None (404): it asks for no decision, or by another profile.

    The query of a request by headers is ignored: Caddy appends that of the caller.
    """
    match = _ROUTE.fullmatch(target)
    profile = enabled.get(match[1].decode("ascii")) if match else None
    if match is None or profile is None:
        return None
    rest = match[3]
    if not profile.reads_own_request and not (rest == b"" or rest.startswith(b"?")):
        return None
    return AuthRoute(profile, match[2], rest)


def _header(request: HttpRequest, name: bytes) -> bytes:
    """The value of a header that the proxy sends exactly once.

    A comma is accepted in a target, whose query may have one. In a method and a hostname, none is valid.
    """
    value = request.headers.get(name)
    if value is None or name in request.repeated:
        raise GatewayRefused(GatewayReason.PROXY_HEADERS, f"the header {name.decode('ascii')} exactly once")
    return value


def _target_of_url(url: bytes, header: bytes) -> bytes:
    """The target of `$scheme://$http_host$request_uri`. The host is what the caller sent, and is ignored."""
    match = _URL.fullmatch(url)
    if match is None:
        expected = f"an http or https URL in the header {header.decode('ascii')}"
        raise GatewayRefused(GatewayReason.PROXY_HEADERS, expected)
    return match[1]
