"""IdentityProvider: an OpenID provider, or a list of static users, at which users log in."""

from datetime import timedelta
from typing import Annotated, Final, Literal

from pydantic import Field, StringConstraints, WithJsonSchema

from scopewright.api.claim_mappings import ProviderClaims
from scopewright.api.meta import AGE_COLUMN, PENDING_STATUS, READY_COLUMNS, Column, Kind, Model, Spec, Status
from scopewright.api.names import Subdomain
from scopewright.api.openid_provider import OpenIDProvider
from scopewright.api.rules import CelRule, no_days_rule, timestamp_rule, unless_days
from scopewright.api.times import Duration, Timestamp

# No subjectDomain contains a space. The name is not needed: it cannot change.
_DOMAIN_OF: Final = (
    "(has({0}.subjectDomain) && {0}.subjectDomain != '' ? {0}.subjectDomain"
    " : has({0}.oidc) ? {0}.oidc.issuerURL : 'static users')"
)


class UsersReference(Model):
    """Reference to a Secret in the namespace of the IdentityProvider."""

    name: Subdomain
    """Name of the Secret, which must have the type scopewright.dev/static-users and an entry users.yaml."""


class StaticProvider(Model):
    """Users in a Secret, with password hashes: for a first login and for emergencies."""

    users_ref: UsersReference
    """Secret with the users."""


class UpstreamCheck(Model):
    """How often a user's refresh asks the provider about the user and the user's groups."""

    RULES = (
        CelRule(
            "check-at-most-every-minute",
            unless_days("every") + "duration(self.every) >= duration('1m')",
            "upstreamCheck.every must be at least 1m: each check is a request to the provider; raise it, 15m is usual",
            "every",
        ),
        CelRule(
            "check-within-max-age",
            unless_days("every", "maxAge") + "duration(self.every) <= duration(self.maxAge)",
            "upstreamCheck.every must be at most upstreamCheck.maxAge; lower every or raise maxAge",
            "every",
        ),
        CelRule(
            "check-max-age-at-most-a-month",
            unless_days("maxAge") + "duration(self.maxAge) <= duration('720h')",
            "upstreamCheck.maxAge must be at most 720h: until then, a user whom the provider has removed keeps access "
            "while it does not answer; lower it, 12h is usual",
            "maxAge",
        ),
        no_days_rule("check", "every"),
        no_days_rule("check", "maxAge"),
    )

    every: Duration = timedelta(minutes=15)
    """Maximum age of the provider's last answer before a refresh asks again. Defaults to 15m."""
    max_age: Duration = timedelta(hours=12)
    """Maximum age of the last answer that refreshes use while the provider does not answer. Defaults to 12h."""


class IdentityProviderSpec(Spec):
    """Desired state of the identity provider, declared by the platform team."""

    RULES = (
        *Spec.RULES,
        CelRule(
            "has-one-source-of-users",
            "has(self.oidc) != has(self.static)",
            "exactly one of oidc and static must be set; write a separate IdentityProvider for each",
        ),
        CelRule(
            "groups-come-from-one-claim",
            "!has(self.oidc) || !has(self.claimMappings.groups)"
            " || has(self.claimMappings.groups.claim) != has(self.claimMappings.groups.path)",
            "claimMappings.groups must have exactly one of claim and path; write claim for a claim at the top, such as "
            "groups, and path for one within others",
            "claimMappings",
        ),
        CelRule(
            "static-users-have-no-claims",
            "!has(self.static) || ("
            "has(self.claimMappings.subject.claim) && self.claimMappings.subject.claim == 'sub'"
            " && has(self.claimMappings.username.claim) && self.claimMappings.username.claim == 'preferred_username'"
            " && !has(self.claimMappings.acr) && (!has(self.claimMappings.groups)"
            " || (!has(self.claimMappings.groups.claim) && !has(self.claimMappings.groups.path))))",
            "static users have no claims, their Secret has the id, name and groups of each; remove all of "
            "claimMappings but groups.prefix and groups.allow",
            "claimMappings",
        ),
        CelRule(
            "subject-domain-immutable",
            f"{_DOMAIN_OF.format('self')} == {_DOMAIN_OF.format('oldSelf')}",
            "the subject domain is immutable, and by default it is issuerURL: every user would become another; set "
            "subjectDomain to the issuerURL of before if the provider has moved, or delete the object and create it "
            "again if that URL was a mistake",
            "subjectDomain",
        ),
        timestamp_rule("revokedBefore"),
    )

    display_name: Annotated[str, StringConstraints(pattern=r"^[^\x00-\x1f\x7f]+$", max_length=64)] | None = None
    """Name of the provider on login pages. Defaults to the name of the object."""
    oidc: OpenIDProvider | None = None
    """An OpenID provider. Exactly one of oidc and static is set. Defaults to none."""
    static: StaticProvider | None = None
    """Users in a Secret. Exactly one of oidc and static is set. Defaults to none."""
    claim_mappings: ProviderClaims = ProviderClaims()
    """Claims of the provider that become subject, user name, groups and acr of a user. Defaults to the claims sub and
    preferred_username, and no groups."""
    subject_domain: Annotated[str, StringConstraints(pattern=r"^[!-~]*$", max_length=1024)] = ""
    """What makes subjects of this provider differ from those of others. Immutable. Defaults to the issuer URL, or to
    static:<name> for static users. Set it to the old URL when a provider moves: users keep their subject."""
    upstream_check: UpstreamCheck = UpstreamCheck()
    """How often a refresh asks the provider about its user. Defaults to every 15m, with a maxAge of 12h."""
    revoked_before: Timestamp | None = None
    """Time before which logins end, for use in an emergency: their sessions, refresh tokens and tokens. A time in the
    future takes effect when it comes, and an earlier value brings nothing back. Defaults to none."""


class IdentityProviderStatus(Status):
    """Observed state of the identity provider. Written by the operator only."""

    redirect_uri: Annotated[str, Field(max_length=2048)] = Field(default="", alias="redirectURI")
    """Redirect URI of the issuer, to be registered at the provider. Empty for static users."""


class IdentityProvider(Kind):
    """IdentityProvider logs users in: an OpenID provider, or a list of static users. It is created in the issuer's
    namespace."""

    KIND = "IdentityProvider"
    PLURAL = "identityproviders"
    SINGULAR = "identityprovider"
    SHORT_NAMES = ("swi",)
    COLUMNS = (
        *READY_COLUMNS,
        Column("Issuer URL", ".spec.oidc.issuerURL", "Issuer identifier of the OpenID provider."),
        Column("Redirect URI", ".status.redirectURI", "Redirect URI to register at the provider.", wide=True),
        AGE_COLUMN,
    )

    kind: Annotated[Literal["IdentityProvider"], WithJsonSchema({"type": "string"})] = "IdentityProvider"
    """Kind of the object: IdentityProvider."""
    spec: IdentityProviderSpec
    """Desired state of the identity provider."""
    status: Annotated[IdentityProviderStatus | None, Field(json_schema_extra={"default": PENDING_STATUS})] = None
    """Observed state of the identity provider. Written by the operator only."""

    @property
    def subject_domain(self) -> str:
        """`spec.subjectDomain`, or its default: the issuer URL, or `static:<name>` for static users."""
        default = f"static:{self.name}" if self.spec.oidc is None else self.spec.oidc.issuer_url
        return self.spec.subject_domain or default
