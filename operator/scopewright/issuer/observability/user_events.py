"""Names of events, results and reasons about users, in audit lines and metrics. Every value of a label about users is
in one of these lists.

docs/observability.md lists the events, results and reasons; tests compare.
"""

from collections.abc import Mapping
from typing import Final, Literal, get_args

from scopewright.issuer.protocol.errors import AuthorizationErrorCode
from scopewright.issuer.upstream.login import RefusedReason
from scopewright.upstream import FailureReason

UserEvent = Literal["login", "consent", "access", "authorize", "logout", "session", "user_error"]
"""Of an audit line about a user, beside those of the endpoints for clients."""

RESULTS: Final[Mapping[UserEvent, tuple[str, ...]]] = {
    "login": ("accepted", "access_denied", "temporarily_unavailable"),
    "consent": ("allowed", "denied", "withdrawn"),
    "access": ("refused",),
    "authorize": ("issued", *get_args(AuthorizationErrorCode)),
    "logout": ("ended", "ended_everywhere"),
    "session": ("ended",),
    "user_error": ("invalid_request", "server_error"),
}
"""Results by event."""

Way = Literal["openid", "static", "developer"]
"""How a user logs in: the kind of provider, not which."""
ACCEPTED: Final = "accepted"
POLICY: Final = "policy"
"""The client's `identityProviders` or `allowedGroups` refuse the user."""
NO_SCOPES: Final = "no_scopes"
"""The user has none of the access that the client asks for."""
BUSY: Final = "busy"
LOGIN_REASONS: Final[Mapping[Way, tuple[str, ...]]] = {
    "openid": (POLICY, BUSY, *get_args(RefusedReason), *get_args(FailureReason)),
    "static": (POLICY, "password_wrong", "password_too_many", "password_busy"),
    "developer": (POLICY,),
}
"""Reasons of refused logins."""

EndReason = Literal["provider", "not_confirmed", "too_many", "other_user"]
"""Of `session`: the provider does not know the user any more, it has not confirmed the user for `maxAge` and cannot be
asked without a new login, the user has too many sessions, or another user has logged in in the same browser.
"""

OTHER: Final = "other"
ERROR_PAGES: Final = (
    "body_size",
    BUSY,
    "client_id",
    "content_type",
    "cross_site",
    "csrf",
    "disabled",
    "exception",
    "foreign_host",
    "form_post",
    "method",
    "no_attempt",
    "no_button",
    "no_developer_login",
    "no_login",
    "no_password",
    "no_provider",
    "path",
    "profile",
    "provider_not_offered",
    "redirect_uri_missing",
    "redirect_uri_unregistered",
    "repeated_parameter",
    "request_uri_expired",
    "request_uri_malformed",
    "request_uri_of_another_client",
    "request_uri_used",
    "session_store_not_shared",
    "state",
    "store",
    "timeout",
    "unknown_client",
    "unknown_user",
    "users_file",
    OTHER,
)
"""Reasons of `user_error`."""

CODE_REFUSALS: Final = (
    "unknown_code",
    "code_replayed",
    "code_verifier",
    "consent_withdrawn",
    "redirect_uri",
)
REFRESH_REFUSALS: Final = (
    "unknown_refresh_token",
    "refresh_token_expired",
    "refresh_token_replayed",
    "unbound_refresh_token",
)
GRANT_REFUSALS: Final = (
    "dpop_key",
    "login_policy",
    "no_login",
    "not_theirs",
    "provider_unavailable",
    "redirect_uri_withdrawn",
    "session_ended",
    "session_store_not_shared",
    "store_unavailable",
    "user_gone",
    OTHER,
)
"""Reasons of refused codes, of refused refresh tokens, and of both, in audit lines of `token`."""

CheckResult = Literal["confirmed", "ended", "refused", "no_answer", "not_asked"]
"""Of a question to a provider about a user. `refused`: too many groups. `not_asked`: too many questions at once."""
