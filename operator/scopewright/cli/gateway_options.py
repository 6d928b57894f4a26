"""The values of flags of `scopewright gateway`."""

from collections.abc import Iterable, Mapping
from typing import Final

from scopewright.core.failures import Rejected
from scopewright.gateway.identity_headers import DEFAULT_NAMES, IdentityHeaders
from scopewright.gateway.profiles import PROFILES, Profile

_EXAMPLE: Final = "subject=X-Auth-Subject"


def enabled_profiles(names: Iterable[str]) -> Mapping[str, Profile]:
    """Parse `--profile`. Each is enabled by name: the profiles trust different headers, which other proxies forward."""
    names = tuple(names)
    known = ", ".join(PROFILES)
    if not names:
        raise Rejected("NoProfile", f"name the proxy that asks this gateway: pass --profile, with one of {known}")
    for name in names:
        if name not in PROFILES:
            raise Rejected("UnknownProfile", f"--profile {name!r} is unknown; pass one of {known}")
    return {name: PROFILES[name] for name in names}


def identity_headers(texts: Iterable[str]) -> Mapping[str, str]:
    """Parse `--identity-header`, such as `subject=X-Auth-Subject`."""
    names: dict[str, str] = {}
    for text in texts:
        value, separator, name = text.partition("=")
        if not separator:
            raise Rejected("BadHeader", f"--identity-header {text!r} has no `=`; pass it such as {_EXAMPLE}")
        if value in names:
            raise Rejected("BadHeader", f"--identity-header {value} is passed twice; pass each value once")
        names[value] = name
    try:
        IdentityHeaders({**DEFAULT_NAMES, **names})
    except ValueError as error:
        raise Rejected("BadHeader", f"--identity-header: {error}") from None
    return names
