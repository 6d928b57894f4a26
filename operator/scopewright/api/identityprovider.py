"""IdentityProvider: who logs users in, an OpenID provider or a list of static users."""

from datetime import timedelta
from typing import Annotated, Final, Literal

from pydantic import Field, StringConstraints, WithJsonSchema

from scopewright.api.meta import AGE_COLUMN, PENDING_STATUS, READY_COLUMNS, Column, Kind, Model, Spec, Status
from scopewright.api.names import MAX_ITEMS, GroupName, ScopeNames, Subdomain
from scopewright.api.times import Duration

MAX_PATH: Final = 8
"""Names in the path to a claim."""

Url = Annotated[str, StringConstraints(pattern=r"^https?://[!-~]+$", max_length=1024)]
ClaimName = Annotated[str, StringConstraints(pattern=r"^[^\x00-\x1f\x7f]+$", min_length=1, max_length=256)]
SigningAlgorithm = Literal["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"]


class EntryReference(Model):
    """Reference to an entry of a Secret in the namespace of the IdentityProvider."""

    name: Subdomain
    """Name of the Secret, which must have the type scopewright.dev/identity-provider."""
    key: Annotated[str, StringConstraints(pattern="^[-._a-zA-Z0-9]+$", max_length=253)] = "client_secret"
    """Entry of the Secret. Defaults to client_secret."""


class CertificateReference(Model):
    """Reference to PEM certificates in the namespace of the IdentityProvider."""

    kind: Literal["ConfigMap", "Secret"] = "ConfigMap"
    """Kind of the object. A Secret must have the type scopewright.dev/identity-provider. Defaults to ConfigMap."""
    name: Subdomain
    """Name of the object."""
    key: Annotated[str, StringConstraints(pattern="^[-._a-zA-Z0-9]+$", max_length=253)] = "ca.crt"
    """Entry of the object. Defaults to ca.crt."""


class UpstreamAuthentication(Model):
    """How the issuer authenticates at the provider."""

    method: Literal["ClientSecret", "None"] = "ClientSecret"
    """ClientSecret, or None if the provider knows the issuer as a public client: PKCE then protects the code. Defaults
    to ClientSecret."""
    secret_ref: EntryReference | None = None
    """Entry of a Secret with the client secret. Required with method ClientSecret."""


class OpenIDProvider(Model):
    """An OpenID provider (OpenID Connect Core), at which the issuer is a client."""

    issuer_url: Url = Field(alias="issuerURL")
    """Issuer identifier of the provider, as in its discovery document: https, compared exactly."""
    client_id: Annotated[str, StringConstraints(pattern=r"^[ -~]+$", max_length=512)] = Field(alias="clientID")
    """Client identifier of the issuer at the provider."""
    client_authentication: UpstreamAuthentication
    """How the issuer authenticates at the provider."""
    scopes: Annotated[ScopeNames, Field(min_length=1)] = Field(default_factory=lambda: ["openid", "profile", "email"])
    """Scopes to request; openid is one of them. Add offline_access if the provider needs it for a refresh token.
    Defaults to openid, profile and email."""
    ca_certificate_ref: CertificateReference | None = None
    """Certificates of the authority that signed the provider's certificate. Defaults to those of the system."""
    signing_algorithms: Annotated[
        list[SigningAlgorithm], Field(min_length=1, max_length=10, json_schema_extra={"x-kubernetes-list-type": "set"})
    ] = ["RS256", "PS256", "ES256"]  # noqa: RUF012  # pydantic copies it
    """Signature algorithms of ID tokens that are accepted. Defaults to RS256, PS256 and ES256."""
    userinfo: Literal["IfMissing", "Always", "Never"] = "IfMissing"
    """When to ask the userinfo endpoint: IfMissing, if the ID token lacks a mapped claim. Defaults to IfMissing."""
    reauthentication: Literal["Verified", "Trusted"] = "Verified"
    """Whether a fresh login must be proven by auth_time in the ID token. Trusted: the provider sends none, and is
    trusted to ask the user again. Defaults to Verified."""


class UsersReference(Model):
    """Reference to a Secret in the namespace of the IdentityProvider."""

    name: Subdomain
    """Name of the Secret, which must have the type scopewright.dev/static-users and an entry users.yaml."""


class StaticUsers(Model):
    """Users in a Secret, with password hashes: for a first login and for emergencies."""

    users_ref: UsersReference
    """Secret with the users."""


class ClaimMapping(Model):
    """A claim of the provider: exactly one of claim and path."""

    claim: ClaimName | None = None
    """Name of the claim."""
    path: Annotated[list[ClaimName], Field(min_length=1, max_length=MAX_PATH)] | None = None
    """Names from the top of the claims to the value, such as [realm_access, roles]."""


class GroupsMapping(ClaimMapping):
    """The claim with the names of the user's groups, and which of them the provider may say."""

    prefix: Annotated[str, StringConstraints(pattern=r"^[^\x00-\x1f\x7f]*$", max_length=64)] = ""
    """Text in front of each group, so that groups of two providers differ. Defaults to none."""
    allow: Annotated[
        list[GroupName], Field(min_length=1, max_length=MAX_ITEMS, json_schema_extra={"x-kubernetes-list-type": "set"})
    ]
    """Groups that the provider may say, before the prefix: names, or ranges such as "hr-*". Others are ignored."""


class AcrMapping(Model):
    """Authentication contexts of the provider that reach tokens."""

    allow: Annotated[
        list[ClaimName], Field(min_length=1, max_length=MAX_ITEMS, json_schema_extra={"x-kubernetes-list-type": "set"})
    ]
    """Values of acr. With any of them, amr reaches tokens too."""


class ClaimMappings(Model):
    """Where the provider's claims have what Scopewright needs."""

    subject: ClaimMapping = Field(default_factory=lambda: ClaimMapping(claim="sub"))
    """The user's immutable identifier at the provider, never an e-mail address or a user name. Immutable. Defaults to
    the claim sub."""
    username: ClaimMapping = Field(default_factory=lambda: ClaimMapping(claim="preferred_username"))
    """The name that pages and the claim preferred_username show. Defaults to the claim preferred_username."""
    groups: GroupsMapping | None = None
    """The user's groups. Defaults to none: users then have access by subject or allUsers only."""
    acr: AcrMapping | None = None
    """Authentication contexts that reach tokens. Defaults to none."""


class UpstreamCheck(Model):
    """How often a user's refresh asks the provider whether the user and the groups are still there."""

    every: Duration = timedelta(minutes=15)
    """Age of the last answer at which a refresh asks again. Defaults to 15m."""
    max_age: Duration = timedelta(hours=12)
    """Age of the last answer at which refreshes fail while the provider does not answer. Defaults to 12h."""


class IdentityProviderSpec(Spec):
    """Desired state of the identity provider, declared by the platform team."""

    display_name: Annotated[str, StringConstraints(pattern=r"^[^\x00-\x1f\x7f]+$", max_length=64)] | None = None
    """Name of the provider on login pages. Defaults to the name of the object."""
    oidc: OpenIDProvider | None = None
    """An OpenID provider. Exactly one of oidc and static is set."""
    static: StaticUsers | None = None
    """Users in a Secret. Exactly one of oidc and static is set."""
    claim_mappings: ClaimMappings = ClaimMappings()
    """Where the provider's claims have what Scopewright needs."""
    subject_domain: Annotated[str, StringConstraints(pattern=r"^[!-~]*$", max_length=1024)] = ""
    """What makes subjects of this provider differ from those of others. Immutable. Defaults to the issuer URL, or to
    static:<name> for static users. Set it to the old URL when a provider moves: users keep their subject."""
    upstream_check: UpstreamCheck = UpstreamCheck()
    """How often a refresh asks the provider about its user."""


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
