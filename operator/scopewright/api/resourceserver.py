"""ResourceServer: an API with its audience and scopes, declared by the team that owns it."""

from datetime import timedelta
from typing import Annotated, Literal

from pydantic import Field, StringConstraints, WithJsonSchema

from scopewright.api.http_rules import HttpRules, HttpStatus
from scopewright.api.meta import AGE_COLUMN, PENDING_STATUS, READY_COLUMNS, Column, Kind, Model, Spec, Status
from scopewright.api.names import HOST, MAX_ITEMS, Label, Labels, ScopeName, ScopeNames
from scopewright.api.rules import CelRule, no_days_rule, unless_days
from scopewright.api.times import Duration


class Scope(Model):
    """One permission that clients of this API can have."""

    name: ScopeName
    """Name of the scope, as in tokens, such as payroll.read."""
    description: Annotated[str, Field(max_length=1024)] = ""
    """Description of the permission, shown to the people who grant the scope or consent to it. Defaults to none: only
    the name is shown."""


class ApiRole(Model):
    """A set of scopes under one name, which ScopeGrants can grant. A token with all of the scopes has the role too."""

    name: ScopeName
    """Name of the role, as in the claim `roles` of tokens, such as payroll-manager."""
    description: Annotated[str, Field(max_length=1024)] = ""
    """Description of the role, shown to the people who grant it. Defaults to none: only the name is shown."""
    scopes: Annotated[ScopeNames, Field(min_length=1)]
    """Scopes of the role, from those that this API declares. A role with a scope that is not declared has no effect."""


class Tokens(Model):
    """Lifetime, signing key and claims of the access tokens for this API."""

    RULES = (
        CelRule(
            "lifetime-at-least-a-second",
            unless_days("lifetime") + "duration(self.lifetime) >= duration('1s')",
            "tokens.lifetime must be at least 1s: token times are in whole seconds; raise it, 5m to 1h is usual",
            "lifetime",
        ),
        no_days_rule("token", "lifetime"),
    )

    lifetime: Duration = timedelta(minutes=10)
    """Lifetime of a token, at most the platform's maximum (1h unless configured). Defaults to 10m."""
    signing_key: Label = "default"
    """Name of the SigningKey, in the issuer's namespace, that signs the tokens. Defaults to "default"."""
    scopes_list_claim: bool = False
    """Whether tokens contain the list `scopes`, in addition to the standard string `scope`. Defaults to false."""
    dpop_bound_access_tokens_required: bool = False
    """Whether clients must bind tokens to a key with DPoP (RFC 9449), so that stolen tokens cannot be used. The name
    is from RFC 9728. Defaults to false: clients may use DPoP."""


class ResourceServerSpec(Spec):
    """Desired state of the API, declared by its owner."""

    RULES = (
        *Spec.RULES,
        CelRule(
            "audience-without-fragment",
            "!has(self.audience) || (!self.audience.contains('#') && !self.audience.contains('?'))",
            "audience must not contain a fragment or a query; remove everything from the first '#' or '?' on",
            "audience",
        ),
        CelRule(
            "audience-without-userinfo",
            "!has(self.audience) || !self.audience.matches('^[^:/]*://[^/]*@')",
            "audience must not contain user information; remove the part between '//' and '@', and the '@'",
            "audience",
        ),
        CelRule(
            "audience-canonical",
            "!has(self.audience) || ("
            f"self.audience.matches('^[a-z][a-z0-9+.-]*://{HOST}(:[1-9][0-9]{{0,4}})?(/[^/]+)*$')"
            " && !self.audience.matches('/[.][.]?(/|$)')"
            " && !self.audience.matches('^(https://[^/]*:443|http://[^/]*:80)(/|$)'))",
            "audience must be an absolute URI in canonical form: scheme and host in lower case, no default port, "
            "no empty, '.' or '..' path segment, no '/' at the end; write it like https://payroll.hr.example/v1",
            "audience",
        ),
    )

    audience: Annotated[str, StringConstraints(max_length=512, pattern="^[!#$&-;=?-Z_a-z~]+$")] | None = None
    """Audience (aud claim) of tokens for this API: an absolute URI under a prefix that the platform assigns to this
    namespace. Defaults to https://<name>.<namespace>.svc, which no other ResourceServer can claim."""
    scopes: Annotated[
        list[Scope],
        Field(
            max_length=MAX_ITEMS,
            json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]},
        ),
    ] = Field(default_factory=list)
    """Scopes of this API. Defaults to none: no client can be granted a scope. The names openid, profile, email, phone,
    address, groups and offline_access are reserved: they cannot be granted to users."""
    roles: Annotated[
        list[ApiRole],
        Field(
            max_length=MAX_ITEMS,
            json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]},
        ),
    ] = Field(default_factory=list)
    """Roles of this API. OAuthClients in this namespace that act for themselves have all of them. Defaults to none."""
    served_by: Labels = Field(default_factory=list)
    """Names of the OAuthClients in this namespace that represent this API. They may introspect and exchange its tokens.
    Defaults to none."""
    tokens: Tokens = Tokens()
    """Lifetime, signing key and claims of the access tokens for this API. Defaults to a lifetime of 10m and the
    SigningKey "default"."""
    http: HttpRules | None = None
    """Hostnames of the API, and rules that state which method and path needs which token. Gateways and middleware
    enforce them. Defaults to none: gateways do not serve the API."""


class ResourceServerStatus(Status):
    """Observed state of the API. Written by the operator only."""

    audience: Annotated[str, Field(max_length=512)] | None = None
    """Audience in force. Not set if none is in force; the condition Ready states why."""
    grants: int | None = None
    """Number of ScopeGrants in force for this API. Not set before the first count."""
    http: HttpStatus | None = None
    """Hostnames and unauthenticated paths in force. Not set without rules in force."""


class ResourceServer(Kind):
    """ResourceServer declares an API: the audience of its tokens and the scopes that clients can have. It is created in
    the namespace of the team that owns the API. ScopeGrants in the same namespace grant the scopes to clients."""

    KIND = "ResourceServer"
    PLURAL = "resourceservers"
    SINGULAR = "resourceserver"
    SHORT_NAMES = ("swr",)
    COLUMNS = (
        *READY_COLUMNS,
        Column("Audience", ".status.audience", "Audience of the tokens for this API."),
        Column("Grants", ".status.grants", "Number of ScopeGrants in force for this API.", type="integer"),
        Column("Hostnames", ".status.http.hostnames", "Hostnames at which gateways serve this API.", wide=True),
        AGE_COLUMN,
    )

    kind: Annotated[Literal["ResourceServer"], WithJsonSchema({"type": "string"})] = "ResourceServer"
    """Kind of the object: ResourceServer."""
    spec: ResourceServerSpec = ResourceServerSpec()
    """Desired state of the API. Defaults to an API without scopes."""
    status: Annotated[ResourceServerStatus | None, Field(json_schema_extra={"default": PENDING_STATUS})] = None
    """Observed state of the API. Written by the operator only."""

    @property
    def effective_audience(self) -> str:
        """Requested audience: `spec.audience`, or `https://<name>.<namespace>.svc`."""
        return self.spec.audience or f"https://{self.name}.{self.namespace}.svc"
