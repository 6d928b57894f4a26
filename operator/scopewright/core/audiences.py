"""Rules for audiences: which ResourceServer may claim which audience."""

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
    """Raise `Rejected` unless the ResourceServer `namespace`/`name` may have this audience.

    Reserved audiences are refused first: the default audience of ResourceServer kubernetes in namespace default is one.
    Its default audience is always allowed otherwise. Any other audience must be canonical and under a prefix that the
    platform assigns to the namespace: same scheme, same host and port, whole path segments.
    """
    if audience == config.issuer or audience in config.reserved_audiences:
        raise Rejected(
            "AudienceNotAllowed",
            f"{audience} is reserved: choose another spec.audience, or another name if it is omitted",
        )
    if audience == default_audience(namespace, name):
        return
    parts = _canonical(audience)
    if (parts.hostname or "").endswith((".svc", ".svc.cluster.local")):
        raise Rejected(
            "AudienceNotAllowed",
            f"{audience} is the name of a Service: omit spec.audience to get {default_audience(namespace, name)}",
        )
    if not any(_under(parts, prefix) for prefix in config.audiences if namespace in prefix.namespaces):
        raise Rejected("AudienceNotAllowed", _not_under(audience, namespace, config.audiences))


def check_claim(audience: str, key: str, claims: Mapping[str, str]) -> None:
    """Raise `Rejected` if another ResourceServer than `key` (`<namespace>/<name>`) has claimed the audience."""
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
            "and host, no default port, user, query, fragment, escapes, dot segments or trailing slash",
        )
    return parts


def _under(parts: SplitResult, prefix: AudiencePrefix) -> bool:
    allowed = urlsplit(prefix.prefix)
    if (allowed.scheme, allowed.netloc) != (parts.scheme, parts.netloc):
        return False
    segments = [s for s in allowed.path.split("/") if s]
    return [s for s in parts.path.split("/") if s][: len(segments)] == segments


def _not_under(audience: str, namespace: str, prefixes: tuple[AudiencePrefix, ...]) -> str:
    own = [p.prefix for p in prefixes if namespace in p.namespaces]
    allowed = f"it may use audiences under {', '.join(own)}" if own else "the platform assigns it no prefix"
    return (
        f"namespace {namespace} may not claim {audience}: {allowed}; "
        "omit spec.audience, or ask the platform team for a prefix"
    )
