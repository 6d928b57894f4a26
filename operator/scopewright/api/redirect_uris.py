"""Redirect URIs: their form, their host, and whether one that was sent is one that is registered.

The only place with these rules: the CEL rules of `spec.login`, the operator's policy and the issuer use them. The forms
are so narrow that browsers, frameworks and this module read each URI alike.
"""

import re
from collections.abc import Iterable
from typing import Final, Literal

from scopewright.api.names import HOST, LABEL
from scopewright.api.rules import CelRule

RedirectKind = Literal["https", "loopback", "private-use"]
"""`loopback` is http to this machine, and `private-use` a scheme of a native app (RFC 8252 §7.1 and §7.3)."""

MAX_REDIRECT_URIS: Final = 16
MAX_URI_LENGTH: Final = 512
URI_CHARACTERS: Final = r"^[!#-;=?-Z_a-z~\[\]]+$"
"""Those of RFC 3986: a browser reads a backslash as a slash."""
LOOPBACK_HOSTS: Final = ("127.0.0.1", "localhost", "[::1]")

_PORT: Final = "([1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5])"
_LOOPBACK: Final = r"(127\.0\.0\.1|localhost|\[::1\])"
_CHARACTER: Final = "[A-Za-z0-9._~!$&'()+,;=:@/-]|%[0-9A-Fa-f]{2}"
_PATH: Final = f"(/({_CHARACTER})*)"
_QUERY: Final = f"([?]({_CHARACTER}|[?])*)?"
_SCHEME: Final = f"[a-z]([a-z0-9-]*[a-z0-9])?([.]{LABEL})+"

_HTTPS_FORM: Final = f"https://{HOST}(:{_PORT})?{_PATH}?{_QUERY}"
_LOOPBACK_FORM: Final = f"http://{_LOOPBACK}(:{_PORT})?{_PATH}?{_QUERY}"
_PRIVATE_USE_FORM: Final = f"{_SCHEME}:{_PATH}{_QUERY}"
_DOT_SEGMENT: Final = "^[^?]*/([.]|%2[Ee]){1,2}(/|[?]|$)"
_DEFAULT_PORT: Final = "^(https://[^/?]*:443|http://[^/?]*:80)(/|[?]|$)"
_USER_INFORMATION: Final = "^[^:]*://[^/?]*@"
_RESPONSE_PARAMETER: Final = "[?&](code|state|iss|error|error_description|error_uri|response)(=|&|$)"

_HTTPS: Final = re.compile(_HTTPS_FORM)
_LOOPBACK_URI: Final = re.compile(_LOOPBACK_FORM)
_PRIVATE_USE: Final = re.compile(_PRIVATE_USE_FORM)
_AUTHORITY: Final = re.compile("(?P<scheme>https?)://(?P<host>[^/?]*?)(?P<port>:[0-9]+)?(?P<rest>[/?].*)?")


def redirect_kind(uri: str) -> RedirectKind | None:
    """Return the kind of a redirect URI in canonical form; None for every other text."""
    if len(uri) > MAX_URI_LENGTH or re.search(_DOT_SEGMENT, uri) or re.search(_DEFAULT_PORT, uri):
        return None
    if re.search(_USER_INFORMATION, uri):
        return None
    if _HTTPS.fullmatch(uri):
        return "https"
    if _LOOPBACK_URI.fullmatch(uri):
        return "loopback"
    return "private-use" if _PRIVATE_USE.fullmatch(uri) else None


def redirect_host(uri: str) -> str:
    """Return the host of a redirect URI in canonical form, without its port; an IPv6 address has brackets.

    A private-use scheme is a domain name in reverse order (RFC 8252 §7.1): that of `com.example.hr:/callback` is
    `hr.example.com`. Raise `ValueError` for any other text.
    """
    if redirect_kind(uri) == "private-use":
        return ".".join(reversed(uri.partition(":")[0].split(".")))
    return _split(uri)[1]


def redirect_origin(uri: str) -> str:
    """Return the origin of a redirect URI in canonical form, such as `https://hr.example:8443`; for a private-use
    scheme, the scheme with its colon, which is what a Content-Security-Policy takes. Raise `ValueError` for any other
    text.
    """
    if redirect_kind(uri) == "private-use":
        return uri.partition(":")[0] + ":"
    scheme, host, port, _ = _split(uri)
    return f"{scheme}://{host}{port}"


def redirect_matches(registered: str, sent: str, *, public: bool) -> bool:
    """Whether the URI that a request has is this registered one.

    They are compared as strings (RFC 9700 §2.1, RFC 3986 §6.2.1). The only exception is the port of a loopback URI of a
    public client: the operating system chooses it when the native app starts (RFC 8252 §7.3).
    """
    if registered == sent:
        return True
    if not public or redirect_kind(registered) != "loopback" or redirect_kind(sent) != "loopback":
        return False
    return _without_port(registered) == _without_port(sent)


def is_registered(sent: str, registered: Iterable[str], *, public: bool) -> bool:
    """Whether the URI that a request has is one of the registered ones."""
    return any(redirect_matches(uri, sent, public=public) for uri in registered)


def is_native(uri: str) -> bool:
    """Whether any program of the user's machine may receive it: loopback, or a private-use scheme (RFC 8252 §8.6)."""
    return redirect_kind(uri) != "https"


def _without_port(uri: str) -> tuple[str, str, str]:
    scheme, host, _, rest = _split(uri)
    return scheme, host, rest


def _split(uri: str) -> tuple[str, str, str, str]:
    """Scheme, host, port with its colon, and the rest."""
    match = _AUTHORITY.fullmatch(uri)
    if match is None or redirect_kind(uri) is None:
        raise ValueError("not a redirect URI in canonical form")
    return match["scheme"], match["host"], match["port"] or "", match["rest"] or ""


def redirect_rules(field: str) -> tuple[CelRule, ...]:
    """Return the rules for each URI of the list `field`."""

    def rule(name: str, condition: str, message: str) -> CelRule:
        return CelRule(
            f"{field}-{name}",
            f"!has(self.{field}) || self.{field}.all(u, {condition})",
            f"{field} {message}",
            field,
        )

    return (
        rule(
            "are-web-or-app-uris",
            f'u.matches("^(https|http|{_SCHEME}):")',
            "has a URI whose scheme is not allowed; write an https URI, http for loopback, or a scheme that contains a "
            "dot (RFC 8252 section 7.1), such as com.example.hr:/callback",
        ),
        rule(
            "use-http-for-loopback-only",
            f'!u.startsWith("http:") || u.matches(r"^http://{_LOOPBACK}([:/?#]|$)")',
            f"has an http URI of another host than {', '.join(LOOPBACK_HOSTS)}; use https",
        ),
        rule(
            "have-no-fragment",
            '!u.contains("#")',
            "has a URI with a fragment; remove everything from '#' on (RFC 6749 section 3.1.2)",
        ),
        rule(
            "have-no-user-information",
            f'!u.matches("{_USER_INFORMATION}")',
            "has a URI with user information; remove the part between '//' and '@', and the '@'",
        ),
        rule(
            "have-no-wildcard",
            '!u.contains("*")',
            "has a URI with a wildcard, and redirect URIs are compared exactly; list each URI in full",
        ),
        rule(
            "have-no-response-parameter",
            f'!u.matches("{_RESPONSE_PARAMETER}")',
            "has a URI whose query has a parameter of the response, such as code, state, iss or error; rename it",
        ),
        rule(
            "are-canonical",
            f'u.contains("#") || u.contains("*") || u.matches("{_USER_INFORMATION}") || '
            f'!u.matches("^(https|{_SCHEME}):|^http://(127[.]|localhost|.::1)") || '
            f'(u.matches(r"^({_HTTPS_FORM}|{_LOOPBACK_FORM}|{_PRIVATE_USE_FORM})$")'
            f' && !u.matches("{_DOT_SEGMENT}") && !u.matches("{_DEFAULT_PORT}"))',
            "has a URI that is not absolute and in canonical form: host in lower case, no default port, no '.' or '..' "
            "path segment; write it like https://hr.example/callback",
        ),
    )
