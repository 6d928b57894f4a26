"""Each page of users once, in all its states, with values that a test chooses."""

from collections.abc import Mapping
from dataclasses import replace

from scopewright.issuer.users.login_pages import (
    DeveloperLoginPage,
    DeveloperUser,
    LoginFailedPage,
    PasswordPage,
    ProviderChoicePage,
    ProviderOnPage,
)
from scopewright.issuer.users.page_values import ApiOnPage, Application, RoleOnPage, ScopeOnPage, WayBack
from scopewright.issuer.users.pages import (
    AccountPage,
    ConsentOnPage,
    ConsentPage,
    ErrorPage,
    LoggedOutPage,
    LoginOnPage,
    LogoutPage,
    NoAccessPage,
    NotAdmittedPage,
    NotLoggedInPage,
    Page,
)

HR = Application("hr.hr-web", "https://hr.example/callback")
NATIVE = Application("hr.hr-cli", "http://127.0.0.1:4711/callback", native=True)


def sample_pages(text: str = "text", application: Application = HR) -> Mapping[str, Page]:
    """Every field that can have any text has `text` in it."""
    apis = (
        ApiOnPage(
            f"api {text}",
            f"team {text}",
            (ScopeOnPage(f"read {text}", f"Reads {text}", allowed=True), ScopeOnPage(f"write {text}")),
            (RoleOnPage(f"manager {text}", f"Manages {text}"), RoleOnPage(f"clerk {text}")),
        ),
    )
    openid = (ScopeOnPage("openid", allowed=True), ScopeOnPage("email"))
    users = (DeveloperUser(f"id-{text}", f"Ada {text}", f"ada@{text}", (f"staff {text}",)), DeveloperUser("bob", "Bob"))
    action, csrf, login_path = f"/path/{text}", f"csrf-{text}", f"/login/{text}"
    provider = ProviderOnPage(f"a-{text}", f"Login of {text}", login_path)
    password = PasswordPage(
        action=action,
        csrf=csrf,
        back_action=action,
        back_csrf=csrf,
        application=application,
        provider=f"Users of {text}",
    )
    failed = LoginFailedPage(
        action=action,
        csrf=csrf,
        application=application,
        provider=f"Login of {text}",
        problem="provider_denied",
        error_id=f"id {text}",
        again_path=login_path,
        login_path=login_path,
    )
    return {
        "login": DeveloperLoginPage(action=action, csrf=csrf, application=application, users=users),
        "login-without-users": DeveloperLoginPage(action=action, csrf=csrf, application=application, users=()),
        "providers": ProviderChoicePage(
            action=action,
            csrf=csrf,
            application=application,
            providers=(provider, ProviderOnPage("b", "B", login_path)),
        ),
        "password": password,
        "password-wrong": replace(password, username=f"ada {text}", problem="wrong"),
        "login-failed": failed,
        "login-failed-of-several": replace(failed, others=(provider,)),
        "login-unavailable": replace(failed, problem="unavailable"),
        "consent": ConsentPage(
            action=action,
            csrf=csrf,
            application=application,
            user=f"Ada {text}",
            email=text,
            openid_scopes=openid,
            apis=apis,
            login_path=login_path,
            account_path=f"/account/{text}",
        ),
        "consent-of-one-scope": ConsentPage(
            action=action,
            csrf=csrf,
            application=application,
            user=text,
            openid_scopes=openid[:1],
            login_path=login_path,
            account_path="/account",
        ),
        "no-access": NoAccessPage(
            action=action,
            csrf=csrf,
            application=application,
            user=text,
            subject=f"u-{text}",
            apis=apis,
            login_path=login_path,
        ),
        "not-admitted": NotAdmittedPage(
            action=action,
            csrf=csrf,
            application=application,
            user=text,
            groups=(f"staff {text}",),
            login_path=login_path,
        ),
        "not-admitted-at-all": NotAdmittedPage(
            action=action, csrf=csrf, application=application, user=text, login_path=login_path
        ),
        "error": ErrorPage(f"Wrong {text}", f"id {text}"),
        "error-of-a-login": ErrorPage(f"Wrong {text}", f"id {text}", WayBack(action, csrf, application)),
        "logout": LogoutPage(
            action=action, csrf=csrf, user=text, application=application, fields={"state": f"state {text}"}
        ),
        "logout-of-nobody": LogoutPage(action=action, csrf=csrf, user=text),
        "logged-out": LoggedOutPage(),
        "logged-out-without-redirect": LoggedOutPage(stays=True),
        "not-logged-in": NotLoggedInPage(),
        "account": AccountPage(
            action=action,
            csrf=csrf,
            user=f"Ada {text}",
            subject=f"u-{text}",
            email=text,
            groups=(text,),
            logins=(
                LoginOnPage(
                    f"sid-{text}", auth_time=1_790_000_000, seen_time=1_790_000_600, current=True, provider=text
                ),
                LoginOnPage("other", auth_time=1_780_000_000, seen_time=1_780_000_600, current=False),
            ),
            consents=(ConsentOnPage(application, openid, apis), ConsentOnPage(Application("hr.desk"))),
            done="ended",
        ),
        "account-without-consents": AccountPage(
            action=action, csrf=csrf, user=text, subject=text, email="", groups=(), logins=(), consents=()
        ),
    }
