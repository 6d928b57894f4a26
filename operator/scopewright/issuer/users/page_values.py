"""Values that several pages show: the application, and the scopes and roles of an API."""

import re
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import urlsplit

from scopewright.api import redirect_uris
from scopewright.issuer.state.entries import Client
from scopewright.issuer.users import texts

_INVISIBLE: Final = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b\u200e\u200f\u2028-\u202e"
    "\u2060-\u206f\u2800\u3164\ufeff\uffa0\ufff0-\uffff\U000e0000-\U000e0fff]"
)
"""Control characters, and those that reorder, break or hide text. Joiners (U+200C, U+200D) are parts of words."""
_LETTER: Final = re.compile(r"\w")


def without_invisible(text: str) -> str:
    return _INVISIBLE.sub("", text)


@dataclass(frozen=True, slots=True)
class Application:
    """The client that a user logs in to. `redirect_uri` is the one of the request, already checked; empty: none."""

    client_id: str
    redirect_uri: str = ""
    native: bool = False
    """Whether any program of the user's machine may be the application (RFC 8252 §8.6)."""

    @classmethod
    def of(cls, client: Client, redirect_uri: str = "") -> "Application":
        native = client.public and bool(redirect_uri) and redirect_uris.is_native(redirect_uri)
        return cls(client.client_id, redirect_uri, native)

    @property
    def name(self) -> str:
        return self.client_id.partition(".")[2]

    @property
    def namespace(self) -> str:
        return self.client_id.partition(".")[0]

    @property
    def returns_to(self) -> str:
        """Where the browser goes with the answer, in words: a host with its port, this computer or an app."""
        parts = urlsplit(self.redirect_uri)
        if parts.scheme not in ("https", "http"):
            return texts.APP_OF_DEVICE.format(scheme=parts.scheme)
        host = parts.netloc.rpartition("@")[2].lower()
        return texts.LOOPBACK.format(host=host) if redirect_uris.is_native(self.redirect_uri) else host


@dataclass(frozen=True, slots=True)
class WayBack:
    """The form `back-form` of a page without other forms: its button `back` leads to the application."""

    action: str
    csrf: str = field(repr=False)
    application: Application


@dataclass(frozen=True, slots=True)
class ScopeOnPage:
    """A scope of an API, with the description of the API's owner. `allowed`: by an earlier consent."""

    name: str
    description: str = ""
    allowed: bool = False

    @property
    def text(self) -> str:
        """What users read: the description, or the name if nothing of it would be visible."""
        visible = without_invisible(self.description)
        return visible if _LETTER.search(visible) else self.name


@dataclass(frozen=True, slots=True)
class RoleOnPage:
    name: str
    description: str = ""


@dataclass(frozen=True, slots=True)
class ApiOnPage:
    """An API, the namespace that owns it, and what is asked there."""

    name: str
    namespace: str
    scopes: tuple[ScopeOnPage, ...]
    roles: tuple[RoleOnPage, ...] = ()
