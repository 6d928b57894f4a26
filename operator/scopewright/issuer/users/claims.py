"""Claims about a user, by the scopes that the user has consented to (OpenID Connect Core §5.4)."""

from collections.abc import Collection, Mapping
from typing import Any, Final

from scopewright.issuer.users.stored import Session

CLAIMS_BY_SCOPE: Final[Mapping[str, tuple[str, ...]]] = {
    "profile": (
        "name",
        "family_name",
        "given_name",
        "middle_name",
        "nickname",
        "preferred_username",
        "profile",
        "picture",
        "website",
        "gender",
        "birthdate",
        "zoneinfo",
        "locale",
        "updated_at",
    ),
    "email": ("email", "email_verified"),
    "phone": ("phone_number", "phone_number_verified"),
    "address": ("address",),
    "groups": ("groups",),
}


def claims_of(session: Session, scopes: Collection[str]) -> dict[str, Any]:
    """The claims of the session's user that these scopes allow, without `sub`. A claim that is not known is absent."""
    known: dict[str, Any] = {**session.claims, "groups": session.groups}
    return {
        name: known[name]
        for scope, names in CLAIMS_BY_SCOPE.items()
        if scope in scopes
        for name in names
        if known.get(name) not in (None, "")
    }
