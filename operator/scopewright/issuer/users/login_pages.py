"""The pages on which users log in. Forms and ids are as in `pages`."""

from dataclasses import dataclass, field
from typing import ClassVar, Literal

from scopewright.core.providers.password_hash import MAX_PASSWORD
from scopewright.issuer.upstream.login import RefusedReason
from scopewright.issuer.upstream.passwords import MAX_USERNAME
from scopewright.issuer.users.page_values import Application

LoginProblem = RefusedReason | Literal["unavailable", "busy"]
"""`unavailable`: the provider does not answer. `busy`: too many logins wait for providers."""
PasswordProblem = Literal["", "wrong", "too_many", "busy"]


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
class ProviderOnPage:
    """An identity provider to log in at: the link `provider-<name>`."""

    name: str
    display_name: str
    login_path: str


@dataclass(frozen=True, slots=True)
class ProviderChoicePage:
    """`main#providers`: one link for each provider, and the form `back-form` with the button `back`."""

    template: ClassVar[str] = "provider_choice.html"
    action: str
    """Of `back-form`."""
    csrf: str = field(repr=False)
    application: Application
    providers: tuple[ProviderOnPage, ...]


@dataclass(frozen=True, slots=True)
class PasswordPage:
    """Form `password-form`: fields `username` and `password`, button `log-in`. Form `back-form`: button `back`."""

    template: ClassVar[str] = "password.html"
    action: str
    csrf: str = field(repr=False)
    back_action: str
    back_csrf: str = field(repr=False)
    application: Application
    provider: str
    """Display name."""
    username: str = ""
    problem: PasswordProblem = ""
    """Of the user name and password that were just sent: `#password-problem`."""
    max_username: ClassVar[int] = MAX_USERNAME
    max_password: ClassVar[int] = MAX_PASSWORD
    """Both in characters: a password of as many bytes has no more."""


@dataclass(frozen=True, slots=True)
class LoginFailedPage:
    """`main#login-failed`: links `try-again`, `another-user` and `provider-<name>`, form `back-form` with the button
    `back`. The audit log also has `error_id`.
    """

    template: ClassVar[str] = "login_failed.html"
    action: str
    csrf: str = field(repr=False)
    application: Application
    provider: str
    """Display name."""
    problem: LoginProblem
    error_id: str
    again_path: str
    login_path: str
    """For another user."""
    others: tuple[ProviderOnPage, ...] = ()
    """Other providers of the client."""
