"""Who may claim which audience: nobody mints tokens for somebody else's."""

import re
from collections.abc import Mapping
from typing import Final
from urllib.parse import SplitResult, urlsplit

from scopewright.core.access import default_audience
from scopewright.core.config import AudiencePrefix, Config
from scopewright.core.failures import Rejected

_DEFAULT_PORTS: Final = {"https": 443, "http": 80}
_CANONICAL: Final = re.compile(r"[a-z][a-z0-9+.-]*://[a-z0-9.-]+(:[0-9]{1,5})?(/[A-Za-z0-9._~!$&'()*+,;=:@-]+)*")


def check_audience(audience: str, namespace: str, name: str, config: Config) -> None:
    """`Rejected` unless the ResourceServer `namespace`/`name` may have this audience.

    A reserved one nobody may, not even by default: ResourceServer kubernetes of namespace default would. Its default
    one it may. One of its own choosing must be canonical, and must lie under a prefix that the platform gives to the
    namespace: same scheme, same host and port, whole path segments.
    """
    if audience == config.issuer or audience in config.reserved_audiences:
        raise Rejected(
            "AudienceNotAllowed", f"{audience} is reserved: choose another audience, or another name if it is left out"
        )
    if audience == default_audience(namespace, name):
        return
    parts = _canonical(audience)
    if (parts.hostname or "").endswith((".svc", ".svc.cluster.local")):
        raise Rejected(
            "AudienceNotAllowed",
            f"{audience} is the name of a Service: leave spec.audience out to get {default_audience(namespace, name)}",
        )
    if not any(_under(parts, prefix) for prefix in config.audiences if namespace in prefix.namespaces):
        raise Rejected("AudienceNotAllowed", _not_under(audience, namespace, config.audiences))


def check_claim(audience: str, key: str, claims: Mapping[str, str]) -> None:
    """`Rejected` if another ResourceServer than `key` (`<namespace>/<name>`) has claimed the audience."""
    if claims.get(audience, key) != key:
        raise Rejected(
            "AudienceConflict",
            f"{audience} is taken: choose another audience, or ask the platform team to release it",
        )


def _canonical(audience: str) -> SplitResult:
    try:
        parts = urlsplit(audience)
        port = parts.port
    except ValueError:
        parts, port = SplitResult("", "", "", "", ""), None
    dotted = {".", ".."} & set(parts.path.split("/"))
    if not _CANONICAL.fullmatch(audience) or dotted or port == _DEFAULT_PORTS.get(parts.scheme, 0):
        raise Rejected(
            "AudienceNotAllowed",
            "spec.audience must be a canonical absolute URI such as https://payroll.example.org/api: lower-case scheme "
            "and host, no default port, user, query, fragment, escapes, dot segments or closing slash",
        )
    return parts


def _under(parts: SplitResult, prefix: AudiencePrefix) -> bool:
    given = urlsplit(prefix.prefix)
    if (given.scheme, given.netloc) != (parts.scheme, parts.netloc):
        return False
    segments = [s for s in given.path.split("/") if s]
    return [s for s in parts.path.split("/") if s][: len(segments)] == segments


def _not_under(audience: str, namespace: str, prefixes: tuple[AudiencePrefix, ...]) -> str:
    own = [p.prefix for p in prefixes if namespace in p.namespaces]
    allowed = f"it may use what lies under {', '.join(own)}" if own else "the platform's configuration gives it none"
    return (
        f"namespace {namespace} may not claim {audience}: {allowed}; "
        "leave spec.audience out, or ask the platform team for a prefix"
    )
