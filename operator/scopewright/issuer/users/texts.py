"""All texts of the pages, in English.

`{name}` stands for a value, which is escaped where it is filled in. Elements, such as `<strong>`, are HTML.
"""

from typing import Final

LANGUAGE: Final = "en"
TITLE: Final = "Scopewright"
"""Name of the installation, in the header and in the title of each page."""

APPLICATION: Final = "Application"
NAMESPACE: Final = "Namespace"
RETURNS_TO: Final = "Returns to"
LOGGED_IN_AS: Final = "Logged in as"
ANOTHER_USER: Final = "Log in as another user"
LOOPBACK: Final = "this computer ({host})"
APP_OF_DEVICE: Final = "an app on this device ({scheme}:)"
UNVERIFIED_APPLICATION: Final = (
    "It is not verified which program receives the answer. Continue only if you have just started this login yourself."
)

OPENID_SCOPES: Final = {
    "openid": "Know your user id",
    "profile": "See your name and user name",
    "email": "See your e-mail address",
    "phone": "See your phone number",
    "address": "See your postal address",
    "groups": "See your groups",
    "offline_access": "Act for you while you are logged out",
}
"""Scopes of OpenID Connect, as what the application may do."""

LOGIN_HEADING: Final = "Log in to {application}"
LOGIN_DEVELOPER: Final = (
    "<strong>Developer login.</strong> Choose a user; there is no password. It is for development and tests only."
)
LOGIN_USERS: Final = "Users"
LOGIN_NO_USERS: Final = "There are no users. Add them to the file <code>users.yaml</code> and reload this page."
LOGIN_PROVIDERS: Final = "Choose how to log in"
LOGIN_OTHER_PROVIDERS: Final = "Other ways to log in"

LOGIN_USERNAME: Final = "User name"
LOGIN_HIDDEN_FIELD: Final = "Password"
LOGIN_BUTTON: Final = "Log in"
LOGIN_FORM_PROBLEMS: Final = {
    "wrong": "The user name or the password is wrong.",
    "too_many": "Too many wrong passwords. Wait a few minutes, then try again.",
    "busy": "Too many people log in at the moment. Try again shortly.",
}
"""By the problem of the last try. An unknown user is a wrong password."""

LOGIN_REFUSED_HEADING: Final = "You are not logged in"
LOGIN_UNAVAILABLE_HEADING: Final = "No login at the moment"
LOGIN_PROBLEMS: Final = {
    "provider_denied": "<strong>{provider}</strong> did not log you in, or you cancelled the login there.",
    "provider_error": "<strong>{provider}</strong> reported an error instead of logging you in.",
    "response_iss": "The answer did not come from <strong>{provider}</strong>. Log in again.",
    "id_token": (
        "The answer of <strong>{provider}</strong> is not valid: its ID token was refused. If this happens again, its "
        "settings do not match those here."
    ),
    "userinfo": "<strong>{provider}</strong> did not say who you are: its answer about you is not valid.",
    "subject": (
        "<strong>{provider}</strong> did not say who you are: its answer has no user id where the mapping of claims "
        "expects it."
    ),
    "too_many_groups": (
        "<strong>{provider}</strong> sends more groups for you than are accepted here, or one with a name that is too "
        "long. The platform team can narrow them (claimMappings.groups.allow)."
    ),
    "login_too_old": (
        "The application asks you to prove again who you are, and <strong>{provider}</strong> does not confirm "
        "that you just did."
    ),
    "code": "The answer of <strong>{provider}</strong> has expired or was used already. Log in again.",
    "unavailable": "<strong>{provider}</strong> does not answer, or not as it should. You can try again shortly.",
    "busy": "Too many logins wait for <strong>{provider}</strong>. You can try again shortly.",
}
"""By the reason why the login failed."""
LOGIN_AGAIN: Final = "Try again"
LOGIN_ERROR_ID: Final = "If that does not help, give this id to the team that runs the application:"

CONSENT_HEADING: Final = "Allow {application} to act for you?"
CONSENT_LEAD: Final = "<strong>{application}</strong> asks to do this on your behalf:"
CONTINUE_HEADING: Final = "Continue as {user}?"
CONTINUE_LEAD: Final = "You have already allowed <strong>{application}</strong> to do this on your behalf:"
CONSENT_ABOUT_YOU: Final = "About you"
CONSENT_API: Final = '{api} <span class="quiet">of the team {namespace}</span>'
CONSENT_ROLES: Final = "With your roles there"
CONSENT_ALLOWED: Final = "Already allowed"
CONSENT_FURTHER_APIS: Final = "To do this, these APIs may call further APIs on your behalf."
CONSENT_WITHDRAW: Final = 'You can withdraw this at any time on your <a href="{path}">account page</a>.'
CONSENT_ALLOW: Final = "Allow"
CONSENT_CONTINUE: Final = "Continue"
CONSENT_DENY: Final = "Deny"

NO_ACCESS_HEADING: Final = "You have no access"
NO_ACCESS_LEAD: Final = (
    "You are logged in as <strong>{user}</strong>. Through the application <strong>{application}</strong> you have "
    "none of the access that it asks for:"
)
NO_ACCESS_ASK: Final = "Ask the team of the namespace <strong>{namespace}</strong>, which owns this API."
NO_ACCESS_FOR_TEAM: Final = "For that team"
NO_ACCESS_GRANT: Final = (
    "The access needs a ScopeGrant in the namespace <code>{namespace}</code> with an entry of <code>toUsers</code> "
    "for a group of this user, or for the subject <code>{subject}</code>, through the client <code>{client}</code>."
)
NO_ACCESS_GROUPS_LEAD: Final = (
    "The application <strong>{application}</strong> is only for users in one of these groups, and "
    "<strong>{user}</strong> is in none of them:"
)
NO_ACCESS_NO_GROUPS: Final = (
    "The application <strong>{application}</strong> does not accept users of the login of <strong>{user}</strong>."
)
NO_ACCESS_ASK_APPLICATION: Final = (
    "Ask for one of them, or ask the team of the namespace <strong>{namespace}</strong>, which owns the application."
)
NO_ACCESS_BACK: Final = "Back to {application}"

ERROR_HEADING: Final = "This request cannot be continued"
ERROR_AGAIN: Final = (
    "Go back to the application and start again. If that does not help, give this id to the team that runs the "
    "application:"
)

LOGOUT_HEADING: Final = "Log out?"
LOGOUT_LEAD: Final = (
    "You are logged in as <strong>{user}</strong>. The applications of this login lose their access, except those that "
    "you allowed to act for you while you are logged out."
)
LOGOUT_APPLICATION: Final = "<strong>{application}</strong> asks you to log out."
LOGOUT_BUTTON: Final = "Log out"

LOGGED_OUT_HEADING: Final = "You are logged out"
LOGGED_OUT_LEAD: Final = (
    "Applications may have a login of their own. On a shared computer, log out of them too, or close the browser."
)

LOGGED_OUT_STAYS: Final = (
    "The application asked for another page, which is not registered for it in login.postLogoutRedirectURIs of its "
    "OAuthClient, or it did not send its ID token."
)

NOT_LOGGED_IN_HEADING: Final = "You are not logged in"
NOT_LOGGED_IN_LEAD: Final = "Log in through one of your applications, then open this page again."

ACCOUNT_HEADING: Final = "Your account"
ACCOUNT_SUBJECT: Final = "User id"
ACCOUNT_EMAIL: Final = "E-mail"
ACCOUNT_GROUPS: Final = "Groups"
ACCOUNT_SESSIONS: Final = "Logins"
ACCOUNT_THIS_BROWSER: Final = "This browser"
ACCOUNT_OTHER_BROWSER: Final = "Another browser"
ACCOUNT_DEVELOPER: Final = "Developer login"
ACCOUNT_LOGIN: Final = "Logged in {begin}"
ACCOUNT_SEEN: Final = "Last used {seen}"
ACCOUNT_END: Final = "Log out"
ACCOUNT_END_LABEL: Final = "Log out {browser}: {login}"
ACCOUNT_END_EVERYWHERE: Final = "Log out everywhere"
ACCOUNT_APPLICATIONS: Final = "Applications that act for you"
ACCOUNT_NO_APPLICATIONS: Final = "You have not allowed any application to act for you."
ACCOUNT_NOT_ASKED: Final = "Without having asked you: the platform allows it."
ACCOUNT_WITHDRAW: Final = "Withdraw"
ACCOUNT_WITHDRAW_LABEL: Final = "Withdraw the access of {application}"
ACCOUNT_OF_NAMESPACE: Final = "of the namespace {namespace}"
ACCOUNT_DONE: Final = {
    "ended": "The login has ended.",
    "withdrawn": "The access has been withdrawn.",
}
"""By what has just been done on the account page."""
