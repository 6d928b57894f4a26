"""The settings of a gateway."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from scopewright.gateway.profiles import PROFILES, Profile


@dataclass(frozen=True, slots=True)
class GatewaySettings:
    namespace: str
    """Of the records."""
    profiles: Mapping[str, Profile] = field(default_factory=lambda: PROFILES)
    """The enabled ones, by name."""
    identity_headers: Mapping[str, str] = field(default_factory=dict)
    """Names that replace some of `identity_headers.DEFAULT_NAMES`."""
    allow_http_issuer: bool = False
    """Whether the record may name an http issuer that is not on loopback: those of `scopewright dev` may."""
    allow_http: Collection[str] = ()
    """Hosts from which keys and revocations are fetched without TLS, besides loopback."""
