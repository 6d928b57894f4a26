"""ResourceServer: an API, its audience and its scopes, declared by the team that owns it."""

from datetime import timedelta
from typing import Annotated, Literal

from pydantic import Field, StringConstraints, WithJsonSchema

from scopewright.api.meta import AGE_COLUMN, PENDING_STATUS, READY_COLUMNS, Column, Duration, Kind, Model, Spec, Status
from scopewright.api.names import HOST, MAX_ITEMS, Label, Labels, ScopeName
from scopewright.api.rules import Rule, unless_days, without_days


class Scope(Model):
    """One permission that callers of this API may hold."""

    name: ScopeName
    """Name as it stands in tokens, such as payroll.read."""
    description: Annotated[str, Field(max_length=1024)] = ""
    """What it permits, in words for the people who grant it and consent to it. Left out: the name alone is shown."""


class Tokens(Model):
    """What the access tokens for this API look like."""

    RULES = (
        Rule(
            "lifetime-at-least-a-second",
            unless_days("lifetime") + "duration(self.lifetime) >= duration('1s')",
            "tokens.lifetime must be at least 1s: tokens count in whole seconds; 5m to 1h is usual",
            "lifetime",
        ),
        without_days("token", "lifetime"),
    )

    lifetime: Duration = timedelta(minutes=10)
    """How long a token is valid, at most the platform's maximum (1h unless configured). Left out: 10m."""
    signing_key: Label = "default"
    """Name of the SigningKey, in the issuer's namespace, that signs the tokens. Left out: default."""
    scopes_list_claim: bool = False
    """Whether tokens carry a list `scopes` beside the standard string `scope`, for services that read it.
    Left out: false."""
    dpop_bound_access_tokens_required: bool = False
    """Whether clients must bind their tokens to a key of theirs by DPoP (RFC 9449): stolen, such a token is of no use.
    Named as in RFC 9728. Left out: false, and clients may."""


class ResourceServerSpec(Spec):
    """What the owner of the API declares."""

    RULES = (
        *Spec.RULES,
        Rule(
            "audience-without-fragment",
            "!has(self.audience) || (!self.audience.contains('#') && !self.audience.contains('?'))",
            "audience must have no fragment and no query: remove everything from '#' or '?' on",
            "audience",
        ),
        Rule(
            "audience-without-userinfo",
            "!has(self.audience) || !self.audience.matches('^[^:/]*://[^/]*@')",
            "audience must have no user information: remove everything before and including '@'",
            "audience",
        ),
        Rule(
            "audience-canonical",
            "!has(self.audience) || ("
            f"self.audience.matches('^[a-z][a-z0-9+.-]*://{HOST}(:[1-9][0-9]{{0,4}})?(/[^/]+)*$')"
            " && !self.audience.matches('/[.][.]?(/|$)')"
            " && !self.audience.matches('^(https://[^/]*:443|http://[^/]*:80)(/|$)'))",
            "audience must be an absolute URI in its one canonical form, such as https://payroll.hr.example/v1: scheme "
            "and host in lower case, no default port, no empty, '.' or '..' path segment, no '/' at the end",
            "audience",
        ),
    )

    audience: Annotated[str, StringConstraints(max_length=512, pattern="^[!#$&-;=?-Z_a-z~]+$")] | None = None
    """The `aud` of tokens for this API: an absolute URI under a prefix that the platform gives to this namespace.
    Left out: https://<name>.<namespace>.svc, which nobody else can claim."""
    scopes: Annotated[
        list[Scope],
        Field(
            max_length=MAX_ITEMS,
            json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]},
        ),
    ] = Field(default_factory=list)
    """The permissions that callers may hold. Left out: none, and so no client can be granted any."""
    served_by: Labels = Field(default_factory=list)
    """Names of the OAuthClients of this namespace that are this API: they may introspect its tokens and exchange them.
    Left out: none may."""
    tokens: Tokens = Tokens()
    """What the access tokens for this API look like. Left out: ten minutes, signed by the SigningKey default."""


class ResourceServerStatus(Status):
    """What the operator found and did."""

    audience: Annotated[str, Field(max_length=512)] | None = None
    """The audience in force. Left out: none is, see the condition Ready."""
    grants: int | None = None
    """How many ScopeGrants for this API are in force. Left out: not yet counted."""


class ResourceServer(Kind):
    """A ResourceServer declares an API: the audience that its tokens carry and the scopes that its callers may hold.
    It lives in the namespace of the team that owns the API; a ScopeGrant beside it says who gets which scopes."""

    KIND = "ResourceServer"
    PLURAL = "resourceservers"
    SINGULAR = "resourceserver"
    SHORT_NAMES = ("swr",)
    COLUMNS = (
        *READY_COLUMNS,
        Column("Audience", ".status.audience", "The audience of its tokens."),
        Column("Grants", ".status.grants", "How many ScopeGrants for it are in force.", type="integer"),
        AGE_COLUMN,
    )

    kind: Annotated[Literal["ResourceServer"], WithJsonSchema({"type": "string"})] = "ResourceServer"
    """Kind of the object: ResourceServer."""
    spec: ResourceServerSpec = ResourceServerSpec()
    """What the owner of the API declares. Left out: an API without scopes."""
    status: Annotated[ResourceServerStatus | None, Field(json_schema_extra={"default": PENDING_STATUS})] = None
    """What the operator found and did. Written by the operator alone."""

    @property
    def effective_audience(self) -> str:
        """The audience asked for, or the one that a namespace owns by construction."""
        return self.spec.audience or f"https://{self.name}.{self.namespace}.svc"
