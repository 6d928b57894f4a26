"""Redirect URIs that `spec.login` accepts, and those that each of its rules refuses; specs of logins."""

from typing import Any, Final

WEB: Final = "https://hr.example/callback"

ACCEPTED: Final = (
    WEB,
    "https://hr.example",
    "https://hr.example/",
    "https://hr.example:8443/a/b.c/~d/%C3%A4;e=f",
    "https://hr.example/callback?dummy1=lorem&dummy2=ipsum",
    "https://10.0.0.1/callback",
    "http://127.0.0.1/callback",
    "http://127.0.0.1:8000/callback",
    "http://localhost:65535/callback?a",
    "http://[::1]:8000/callback",
)
"""Accepted with every method."""

PRIVATE_USE: Final = ("com.example.hr:/callback", "com.example.hr://callback/a?b=c", "example.hr-app:/")
"""Accepted with method None."""

REFUSED: Final[dict[str, tuple[str, ...]]] = {
    "are-web-or-app-uris": (
        "javascript:alert(1)",
        "data:text/html,a",
        "file:///etc/passwd",
        "hrapp:/callback",
        "hrapp://callback",
        "/callback",
        "//hr.example/callback",
        "hr.example/callback",
        "HTTPS://hr.example/callback",
        "Com.example.hr:/callback",
        "urn:ietf:wg:oauth:2.0:oob",
        "ftp://hr.example/callback",
    ),
    "use-http-for-loopback-only": (
        "http://hr.example/callback",
        "http://127.0.0.2/callback",
        "http://127.0.0.1.evil.example/callback",
        "http://localhost.evil.example/callback",
        "http://127x0.0.1/callback",
        "http://127.0.0.1@evil.example/callback",
        "http://[::2]/callback",
        "http://0.0.0.0/callback",
    ),
    "have-no-fragment": (f"{WEB}#", f"{WEB}#a", "https://hr.example/?a#b"),
    "have-no-user-information": (
        "https://hr.example@evil.example/callback",
        "https://a:b@hr.example/callback",
        "https://@hr.example/callback",
        "http://127.0.0.1:80@evil.example/callback",
    ),
    "have-no-wildcard": ("https://*.hr.example/callback", "https://hr.example/*", "https://hr.example/a?b=*"),
    "have-no-response-parameter": (f"{WEB}?code=a", f"{WEB}?a=b&state=c", f"{WEB}?iss", f"{WEB}?error&a=b"),
    "are-canonical": (
        "https://Hr.example/callback",
        "https://hr.example:443/callback",
        "https://hr.example:443",
        "https://hr.example:0/callback",
        "https://hr.example:65536/callback",
        "https://hr.example:08443/callback",
        "https://hr.example./callback",
        "https://hr..example/callback",
        "https://-hr.example/callback",
        "https:hr.example/callback",
        "https:/hr.example/callback",
        "https:///callback",
        "https://hr.example/a/../callback",
        "https://hr.example/./callback",
        "https://hr.example/a/..",
        "https://hr.example/a/%2e%2E/callback",
        "https://hr.example/a/.%2e?b",
        "https://hr.example/%zz",
        "https://hr.example/%2",
        "https://[::1]/callback",
        "https://hr.example[/callback",
        "http://127.0.0.1:80/callback",
        "http://localhost:70000/callback",
        "http://[::1]:8000/a/../b",
        "com.example.hr:callback",
        "com.example.hr:",
    ),
}
"""By the end of a rule's id."""

MALFORMED_URIS: Final = (
    "",
    "https://hr.example/a b",
    "https://hr.example/ä",
    "https://hr.example\\@evil.example",
    "a" * 513,
)


def login(*redirect_uris: str, **fields: Any) -> dict[str, Any]:
    """Return a spec with a login, by default with one redirect URI."""
    return {
        "grantTypes": ["authorization_code"],
        "login": {"redirectURIs": list(redirect_uris or (WEB,)), **fields},
    }


def public(spec: dict[str, Any]) -> dict[str, Any]:
    return {**spec, "authentication": {"method": "None"}}
