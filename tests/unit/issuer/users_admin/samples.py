"""A session of a user, as it is stored."""

from typing import Any

from scopewright.issuer.upstream.authenticated_user import AuthenticatedUser
from scopewright.issuer.users.stored import Session

BEGUN = 1_800_000_000


def session_of(user: AuthenticatedUser, sid: str = "s" * 22, **claims: Any) -> Session:
    """With further claims."""
    return Session(
        sid,
        "secret-of-the-cookie",
        user.subject,
        user.provider,
        user.provider_uid,
        user.groups,
        BEGUN,
        BEGUN + 12 * 3600,
        BEGUN + 60,
        BEGUN,
        {**user.claims, **claims},
        begun_time=BEGUN,
    )
