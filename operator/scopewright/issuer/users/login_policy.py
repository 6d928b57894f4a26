"""Which users may log in through a client: one rule for login, code, refresh and exchange."""

from collections.abc import Collection
from typing import Final

from scopewright.core.records.client import Login

DEVELOPER: Final = "developer login"
"""The provider of the developer login. It stands in for every provider; the space keeps it apart from their names."""


def refusal_of(login: Login | None, provider: str, groups: Collection[str]) -> str:
    """Return why users of this provider with these groups may not use the client, for its page; empty if they may."""
    if login is None:
        return "The application does not log users in: its OAuthClient has no login."
    if login.identity_providers and provider != DEVELOPER and provider not in login.identity_providers:
        allowed = ", ".join(login.identity_providers)
        return f"The application accepts users of {allowed} only. You are logged in by {provider}."
    if login.allowed_groups is not None and not set(login.allowed_groups).intersection(groups):
        allowed = ", ".join(login.allowed_groups) or "no group at all"
        return f"The application is for members of {allowed} only. You are not a member."
    return ""
