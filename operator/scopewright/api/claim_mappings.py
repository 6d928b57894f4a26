"""`spec.claimMappings` of an IdentityProvider: where a provider's claims have what Scopewright needs."""

import re
from typing import Annotated, ClassVar, Final

from pydantic import Field, StringConstraints

from scopewright.api.meta import Model
from scopewright.api.names import MAX_ITEMS, GroupName
from scopewright.api.rules import CelRule

MAX_PATH: Final = 8
"""Names in the path to a claim."""

CHANGEABLE_CLAIMS: Final = (
    *("email", "emails", "mail", "preferred_username", "username", "user_name", "upn", "unique_name", "name"),
    *("given_name", "family_name", "nickname", "login", "phone_number"),
)
"""Claims that a user or an administrator can change, or that a later user can receive: never the subject."""

_CHANGEABLE: Final = f"(?i)^(.*[/:.#])?({'|'.join(CHANGEABLE_CLAIMS)})$"
_PATH_OF: Final = "(has({0}.claim) ? [{0}.claim] : has({0}.path) ? {0}.path : [])"
_LAST_NAME: Final = "(has(self.claim) ? self.claim : has(self.path) ? self.path[size(self.path) - 1] : '')"

ClaimName = Annotated[str, StringConstraints(pattern=r"^[^\x00-\x1f\x7f]+$", min_length=1, max_length=256)]


def is_changeable(claim: str) -> bool:
    """Whether it is one of CHANGEABLE_CLAIMS, in any case and behind any namespace."""
    return re.match(_CHANGEABLE, claim) is not None


class ClaimMapping(Model):
    """A claim of the provider: exactly one of claim and path."""

    RULES: ClassVar[tuple[CelRule, ...]] = (
        CelRule(
            "mapping-has-exactly-one",
            "has(self.claim) != has(self.path)",
            "a mapping must have exactly one of claim and path; write claim for a claim at the top, such as sub, and "
            "path for one within others",
        ),
    )

    claim: ClaimName | None = None
    """Name of the claim. Defaults to none."""
    path: Annotated[list[ClaimName], Field(min_length=1, max_length=MAX_PATH)] | None = None
    """Names from the top of the claims to the value, such as [realm_access, roles]. Defaults to none."""


class SubjectMapping(ClaimMapping):
    """The claim that identifies the user."""

    RULES = (
        *ClaimMapping.RULES,
        CelRule(
            "subject-is-no-changeable-claim",
            f"!{_LAST_NAME}.matches('{_CHANGEABLE}')",
            "the subject is a claim that can change or pass to another person; choose an identifier that the provider "
            "never assigns again, such as sub, or oid of Microsoft Entra ID",
        ),
        CelRule(
            "subject-immutable",
            f"{_PATH_OF.format('self')} == {_PATH_OF.format('oldSelf')}",
            "claimMappings.subject is immutable: every user would become another; delete the object and create it "
            "again, and write the new subjects in the ScopeGrants",
        ),
    )


class GroupsMapping(ClaimMapping):
    """The claim with the names of the user's groups, and the groups that the provider may assign."""

    RULES = (
        CelRule(
            "ranges-end-with-an-asterisk",
            "self.allow.all(g, !g.matches('[*].'))",
            "allow has an entry with '*' before its end; write a range as a beginning and one '*', such as hr-*, and "
            "every other entry as the name of a group",
            "allow",
        ),
    )

    prefix: Annotated[str, StringConstraints(pattern=r"^[^\x00-\x1f\x7f]*$", max_length=64)] = ""
    """Text in front of each group, so that groups of two providers differ. Defaults to none."""
    allow: Annotated[
        list[GroupName], Field(min_length=1, max_length=MAX_ITEMS, json_schema_extra={"x-kubernetes-list-type": "set"})
    ]
    """Groups that the provider may assign, before the prefix: names, or ranges such as "hr-*". Others are ignored. "*"
    allows every group, for the only provider, or with a prefix. Ranges of two providers must not overlap."""


class AcrMapping(Model):
    """Authentication contexts of the provider that reach tokens."""

    allow: Annotated[
        list[ClaimName], Field(min_length=1, max_length=MAX_ITEMS, json_schema_extra={"x-kubernetes-list-type": "set"})
    ]
    """Values of acr. With any of them, amr reaches tokens too."""


class ProviderClaims(Model):
    """Claims of the provider that become subject, user name, groups and acr of a user."""

    subject: SubjectMapping = SubjectMapping(claim="sub")
    """The user's immutable identifier at the provider, never an e-mail address or a user name. Immutable. Defaults to
    the claim sub."""
    username: ClaimMapping = ClaimMapping(claim="preferred_username")
    """The name that pages and the claim preferred_username show. Defaults to the claim preferred_username."""
    groups: GroupsMapping | None = None
    """The user's groups. Defaults to none, so that users have access by subject or allUsers only; for static users, to
    all groups in their Secret."""
    acr: AcrMapping | None = None
    """Authentication contexts that reach tokens. Defaults to none."""
