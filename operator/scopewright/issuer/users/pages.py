"""The pages that users see: one dataclass for each, whose fields are all that its template shows.

Pages have no script, and load nothing: their one style is inline, and `STYLE_SOURCE` allows it in the
Content-Security-Policy. Every value is escaped. Each form posts to `action` with the hidden field `csrf`.
"""

import base64
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import ClassVar, Final, Literal
from urllib.parse import urlsplit

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from scopewright.api import redirect_uris
from scopewright.issuer.state.entries import Client
from scopewright.issuer.users import texts

_INVISIBLE: Final = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b\u200e\u200f\u2028-\u202e"
    "\u2060-\u206f\u2800\u3164\ufeff\uffa0\ufff0-\uffff\U000e0000-\U000e0fff]"
)
"""Control characters, and those that reorder, break or hide text. Joiners (U+200C, U+200D) are parts of words."""
_LETTER: Final = re.compile(r"\w")


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
class DeveloperUser:
    """A user of the developer login. `id` is the value of the button."""

    id: str
    name: str
    email: str = ""
    groups: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class DeveloperLoginPage:
    """Form `login`: one button `user-<id>` for each user, with the name `user` and the id as its value."""

    template: ClassVar[str] = "developer_login.html"
    action: str
    csrf: str = field(repr=False)
    application: Application
    users: tuple[DeveloperUser, ...]


@dataclass(frozen=True, slots=True)
class ScopeOnPage:
    """A scope of an API, with the description of the API's owner. `allowed`: by an earlier consent."""

    name: str
    description: str = ""
    allowed: bool = False

    @property
    def text(self) -> str:
        """What users read: the description, or the name if nothing of it would be visible."""
        visible = _INVISIBLE.sub("", self.description)
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


@dataclass(frozen=True, slots=True)
class ConsentPage:
    """Form `consent`: buttons `allow` and `deny`, with the name `decision` and these values.

    If all is allowed already, it asks whether to continue as this user, with the same buttons.
    """

    template: ClassVar[str] = "consent.html"
    action: str
    csrf: str = field(repr=False)
    application: Application
    user: str
    """Display name."""
    login_path: str
    """Path of the login page of the same request, for another user: the link `another-user`."""
    account_path: str
    email: str = ""
    openid_scopes: tuple[ScopeOnPage, ...] = ()
    """Scopes of OpenID Connect; they need no description."""
    apis: tuple[ApiOnPage, ...] = ()

    @property
    def asks_more(self) -> bool:
        """Whether it asks for more than is allowed already."""
        scopes = [*self.openid_scopes, *(scope for api in self.apis for scope in api.scopes)]
        return not scopes or not all(scope.allowed for scope in scopes)


@dataclass(frozen=True, slots=True)
class NoAccessPage:
    """`main#no-access`, form `back-form`: one button `back`, with the name `decision` and the value `back`.

    The user has nothing of what the client asks for at `apis`, with its missing scopes.
    """

    template: ClassVar[str] = "no_access.html"
    action: str
    csrf: str = field(repr=False)
    application: Application
    user: str
    subject: str
    login_path: str
    """As in ConsentPage."""
    apis: tuple[ApiOnPage, ...]


@dataclass(frozen=True, slots=True)
class NotAdmittedPage:
    """As NoAccessPage: the client's login policy refuses the user.

    `groups`: the groups that it admits; empty if the reason is another one, such as the identity provider.
    """

    template: ClassVar[str] = "not_admitted.html"
    action: str
    csrf: str = field(repr=False)
    application: Application
    user: str
    login_path: str
    """As in ConsentPage."""
    groups: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ErrorPage:
    """`main#error`. `description` (`#error-description`) is a sentence; the audit log also has `error_id`."""

    template: ClassVar[str] = "error.html"
    description: str
    error_id: str


@dataclass(frozen=True, slots=True)
class LogoutPage:
    """Form `logout`: one button `log-out`. `fields` are hidden fields beside `csrf`."""

    template: ClassVar[str] = "logout.html"
    action: str
    csrf: str = field(repr=False)
    user: str
    application: Application | None = None
    """The client that asks for the logout, if it is certain."""
    fields: Mapping[str, str] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True)
class LoggedOutPage:
    """`main#logged-out`. `stays`: a client asked for another page, which is not registered for it."""

    template: ClassVar[str] = "logged_out.html"
    stays: bool = False


@dataclass(frozen=True, slots=True)
class NotLoggedInPage:
    """`main#not-logged-in`: the account page of a browser without a login."""

    template: ClassVar[str] = "not_logged_in.html"


@dataclass(frozen=True, slots=True)
class LoginOnPage:
    """A login of the user in one browser. Times are seconds since the epoch."""

    sid: str
    auth_time: int
    seen_time: int
    current: bool
    """Whether it is that of the browser that shows the page."""


@dataclass(frozen=True, slots=True)
class ConsentOnPage:
    """What a user has allowed a client. Without scopes: it acts for the user without a consent."""

    application: Application
    openid_scopes: tuple[ScopeOnPage, ...] = ()
    apis: tuple[ApiOnPage, ...] = ()


@dataclass(frozen=True, slots=True)
class AccountPage:
    """Form `account`: buttons `end-<sid>` (name `end`, value `<sid>`), `withdraw-<client_id>` (name `withdraw`, value
    `<client_id>`) and `log-out-everywhere` (name `everywhere`, value `yes`).
    """

    template: ClassVar[str] = "account.html"
    action: str
    csrf: str = field(repr=False)
    user: str
    subject: str
    email: str
    groups: tuple[str, ...]
    logins: tuple[LoginOnPage, ...]
    consents: tuple[ConsentOnPage, ...]
    done: Literal["", "ended", "withdrawn"] = ""
    """What the button that was just pressed has done."""


Page = (
    DeveloperLoginPage
    | ConsentPage
    | NoAccessPage
    | NotAdmittedPage
    | ErrorPage
    | LogoutPage
    | LoggedOutPage
    | NotLoggedInPage
    | AccountPage
)


def render(page: Page) -> bytes:
    """Return the page as UTF-8, for `text/html; charset=utf-8`."""
    return _ENVIRONMENT.get_template(page.template).render(page=page).encode()


def _shown(value: object) -> object:
    """Called for each value of a template. Markup is a text of ours, or was escaped with `| e` to stay as it is."""
    return value if isinstance(value, Markup) or not isinstance(value, str) else _INVISIBLE.sub("", value)


def _fill(text: str, **values: str) -> Markup:
    """Fill values into a text; they are escaped."""
    return Markup(text).format(**{name: _shown(value) for name, value in values.items()})  # noqa: S704


def _utc(seconds: int) -> Markup:
    time = datetime.fromtimestamp(seconds, UTC)
    return Markup('<time datetime="{}">{} UTC</time>').format(
        time.isoformat(timespec="seconds"), time.strftime("%-d %B %Y, %H:%M")
    )


def _environment() -> Environment:
    loader = PackageLoader("scopewright.issuer.users", "templates")
    environment = Environment(
        loader=loader,
        autoescape=True,
        finalize=_shown,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    style, _, _ = loader.get_source(environment, "style.css")
    environment.filters |= {"fill": _fill, "utc": _utc}
    environment.globals = {"texts": texts, "style": Markup(style)}  # noqa: S704  # it is a file of ours
    return environment


_ENVIRONMENT: Final = _environment()
STYLE_SOURCE: Final = "'sha256-{}'".format(
    base64.b64encode(hashlib.sha256(str(_ENVIRONMENT.globals["style"]).encode()).digest()).decode()
)
"""The source of the pages' style, for `style-src` of the Content-Security-Policy."""
