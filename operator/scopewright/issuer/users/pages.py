"""The pages that users see: one dataclass for each, whose fields are all that its template shows. Those of logins are
in `login_pages`.

Each form posts to `action` with the hidden field `csrf`. Forms, fields and buttons are found by ids, which stay.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Literal

from scopewright.issuer.users.login_pages import DeveloperLoginPage, LoginFailedPage, PasswordPage, ProviderChoicePage
from scopewright.issuer.users.page_values import ApiOnPage, Application, ScopeOnPage, WayBack


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
    """`main#error`. `description` (`#error-description`) is a sentence; the audit log also has `error_id`.

    `way_back` is None if the problem is not of a login, or the request is not certain to be of the application.
    """

    template: ClassVar[str] = "error.html"
    description: str
    error_id: str
    way_back: WayBack | None = None


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
    """0: the provider does not send it."""
    seen_time: int
    current: bool
    """Whether it is that of the browser that shows the page."""
    provider: str = ""
    """Display name of the identity provider; empty: it is not in use any more."""


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
    | ProviderChoicePage
    | PasswordPage
    | LoginFailedPage
    | ConsentPage
    | NoAccessPage
    | NotAdmittedPage
    | ErrorPage
    | LogoutPage
    | LoggedOutPage
    | NotLoggedInPage
    | AccountPage
)
