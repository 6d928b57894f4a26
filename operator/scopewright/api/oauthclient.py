"""OAuthClient: a client, its authentication, and the access that it requests."""

from typing import Annotated, Literal

from pydantic import Field, StringConstraints, WithJsonSchema

from scopewright.api.credentials import Credentials
from scopewright.api.jwk import JWKSet
from scopewright.api.login import ClientLogin
from scopewright.api.meta import AGE_COLUMN, PENDING_STATUS, READY_COLUMNS, Column, Kind, Model, Spec, Status
from scopewright.api.names import MAX_ITEMS, MAX_SCOPES, Label, ScopeName, ScopeNames, Subdomain
from scopewright.api.rotation import Rotation
from scopewright.api.rules import CelRule
from scopewright.api.times import Timestamp

Method = Literal["ClientSecret", "PrivateKeyJWT", "ServiceAccount", "None"]
GrantType = Literal[
    "client_credentials",
    "urn:ietf:params:oauth:grant-type:token-exchange",
    "authorization_code",
    "refresh_token",
]

_HAS_CODE = "('authorization_code' in self.grantTypes)"
_IS_PUBLIC = "(has(self.authentication) && self.authentication.method == 'None')"
_IS_WEB = "u.startsWith('https:') || u.startsWith('http:') || !u.matches('^[a-z][a-z0-9-]*[.][a-z0-9.-]*:')"
_IN_ANOTHER_CLUSTER = "(has(self.cluster) && self.cluster != 'in-cluster')"


class ServiceAccountRef(Model):
    """The ServiceAccount whose projected tokens authenticate the client."""

    RULES = (
        CelRule(
            "service-account-uid-with-another-cluster",
            f"!{_IN_ANOTHER_CLUSTER} || has(self.uid)",
            "uid is required for a ServiceAccount of another cluster; set it to the output of "
            "`kubectl get serviceaccount NAME -o jsonpath='{.metadata.uid}'` in that cluster",
            "uid",
        ),
        CelRule(
            "service-account-uid-only-with-another-cluster",
            f"{_IN_ANOTHER_CLUSTER} || !has(self.uid)",
            "uid is not allowed for a ServiceAccount of this cluster; remove uid, or set cluster to the cluster of the "
            "ServiceAccount",
            "uid",
        ),
    )

    name: Subdomain
    """Name of the ServiceAccount, in the namespace of the OAuthClient."""
    cluster: Subdomain | None = None
    """Name of the ServiceAccount's cluster in the platform's configuration. Defaults to in-cluster, the cluster of the
    OAuthClient."""
    uid: Annotated[str, StringConstraints(pattern="^[!-~]+$", max_length=128)] | None = None
    """metadata.uid of the ServiceAccount. Required for a ServiceAccount of another cluster, not allowed otherwise. A
    ServiceAccount that is deleted and created again has a new uid. Defaults to the uid that the operator reads from
    this cluster."""


class Authentication(Model):
    """Method by which the client authenticates, and the parameters of the method."""

    RULES = (
        CelRule(
            "service-account-named",
            "self.method != 'ServiceAccount' || has(self.serviceAccount)",
            "serviceAccount is required with method ServiceAccount; set its name to the ServiceAccount of the client's "
            "Pods",
            "serviceAccount",
        ),
        CelRule(
            "service-account-only-with-its-method",
            "self.method == 'ServiceAccount' || !has(self.serviceAccount)",
            "serviceAccount is allowed only with method ServiceAccount; set that method, or remove serviceAccount",
            "serviceAccount",
        ),
        CelRule(
            "jwks-only-with-its-method",
            "self.method == 'PrivateKeyJWT' || !has(self.jwks)",
            "jwks is allowed only with method PrivateKeyJWT; set that method, or remove jwks",
            "jwks",
        ),
    )

    method: Method = "ClientSecret"
    """Authentication method. ClientSecret: a shared secret that the operator generates. PrivateKeyJWT: assertions
    signed with the client's private key. ServiceAccount: the projected token of a Pod is the assertion, and no secret
    exists. None: a public client, such as an app on a device or in a browser, has no credential and no Secret (RFC 6749
    section 2.1). Defaults to ClientSecret."""
    service_account: ServiceAccountRef | None = None
    """ServiceAccount whose projected tokens are accepted. Required with method ServiceAccount, not allowed with other
    methods. Defaults to none."""
    jwks: JWKSet | None = None
    """Public keys of the client, allowed with method PrivateKeyJWT only. Defaults to a key pair that the operator
    generates, with the private key in the Secret."""


class AccessRequest(Model):
    """Access that the client requests to one API."""

    resource_server: Label
    """Name of the ResourceServer of the API."""
    namespace: Label | None = None
    """Namespace of the ResourceServer. Defaults to the namespace of the OAuthClient."""
    scopes: Annotated[ScopeNames, Field(min_length=1)]
    """Requested scopes. The client receives those that the ResourceServer declares and its owner grants."""


class OAuthClientSpec(Spec):
    """Desired state of the client, declared by the team that owns it."""

    RULES = (
        *Spec.RULES,
        CelRule(
            "access-resource-servers-unique",
            "!has(self.access) || self.access.all(a, self.access.exists_one(b, b.resourceServer == a.resourceServer"
            " && (has(b.__namespace__) ? b.__namespace__ : '') == (has(a.__namespace__) ? a.__namespace__ : '')))",
            "access has two entries for the same ResourceServer; list all its scopes in one entry",
            "access",
        ),
        CelRule(
            "access-scopes-are-bounded",
            f"!has(self.access) || self.access.map(a, size(a.scopes)).sum() <= {MAX_SCOPES}",
            f"access requests more than {MAX_SCOPES} scopes in total; request fewer, or use two OAuthClients",
            "access",
        ),
        CelRule(
            "login-with-authorization-code",
            f"!{_HAS_CODE} || has(self.login)",
            "login is required with grant type authorization_code; set login.redirectURIs, or remove the grant type",
            "login",
        ),
        CelRule(
            "login-only-with-authorization-code",
            f"{_HAS_CODE} || !has(self.login)",
            "login is allowed only with grant type authorization_code; add it to grantTypes, or remove login",
            "login",
        ),
        CelRule(
            "refresh-token-needs-authorization-code",
            f"{_HAS_CODE} || !('refresh_token' in self.grantTypes)",
            "grant type refresh_token is for users only: a client that acts for itself requests a new token; add "
            "authorization_code, or remove refresh_token",
            "grantTypes",
        ),
        CelRule(
            "public-client-acts-for-users-only",
            f"!{_IS_PUBLIC} || self.grantTypes.all(g, g in ['authorization_code', 'refresh_token'])",
            "a client with method None has no credential, and may act for users only; set grantTypes to "
            "[authorization_code] or [authorization_code, refresh_token], or choose another method",
            "grantTypes",
        ),
        CelRule(
            "public-client-asks-for-consent",
            f"!{_IS_PUBLIC} || !has(self.login) || self.login.consent != 'Skip'",
            "login.consent Skip is not allowed with method None, because any program can use the client id (RFC 6749 "
            "section 10.2); set consent to Required, or choose another method",
            "login",
        ),
        CelRule(
            "public-client-uses-pkce",
            f"!{_IS_PUBLIC} || !has(self.login) || self.login.pkce != 'Optional'",
            "login.pkce Optional is not allowed with method None, because nothing else protects the code (RFC 9700 "
            "section 2.1.1); set pkce to Required, or choose another method",
            "login",
        ),
        CelRule(
            "private-use-schemes-for-public-clients",
            f"{_IS_PUBLIC} || !has(self.login) || (self.login.redirectURIs.all(u, {_IS_WEB})"
            f" && (!has(self.login.postLogoutRedirectURIs) || self.login.postLogoutRedirectURIs.all(u, {_IS_WEB})))",
            "private-use schemes are for native apps, which cannot keep a secret (RFC 8252 section 8.4); set "
            "authentication.method to None, or use https",
            "login",
        ),
    )

    authentication: Authentication = Authentication()
    """Method by which the client authenticates. Defaults to a shared secret."""
    grant_types: Annotated[
        list[GrantType], Field(min_length=1, max_length=8, json_schema_extra={"x-kubernetes-list-type": "set"})
    ] = Field(default=["client_credentials"])
    """Grant types that the client may use at the token endpoint: client_credentials, token exchange (RFC 8693), and for
    users authorization_code and refresh_token. Defaults to client_credentials."""
    access: Annotated[list[AccessRequest], Field(max_length=MAX_ITEMS)] = Field(default_factory=list)
    """Access that the client requests, one entry for each API: for itself with client_credentials, for users with
    authorization_code. Defaults to none."""
    login: ClientLogin | None = None
    """Login of users through the client. Required with grant type authorization_code, not allowed without it. Defaults
    to none."""
    dpop: Literal["Required", "Optional"] = "Optional"
    """Whether the client must bind its tokens to a key with DPoP (RFC 9449), so that stolen tokens cannot be used.
    Defaults to Optional, unless an API requires it."""
    credentials: Credentials = Credentials()
    """Secret that holds the credential; none with method None. Defaults to <name>-oauth, with the default entry
    names."""
    rotation: Rotation = Rotation()
    """Rotation of a credential that the operator generates; keys in jwks and ServiceAccounts are not rotated. Defaults
    to every 720h, with an overlap of 24h."""
    disabled: bool = False
    """Whether the issuer refuses the client. The object and its credential stay unchanged. Defaults to false."""


class Binding(Model):
    """Reference to the Secret, as the Service Binding specification requires of a provisioned service."""

    name: Annotated[str, Field(max_length=253)]
    """Name of the Secret."""


class CredentialTimes(Model):
    """Times of issue, rotation, expiry and last use of the credential."""

    issue_time: Timestamp | None = None
    """Time at which the current credential was issued. Not set if the operator does not generate one."""
    next_rotation_time: Timestamp | None = None
    """Time at which the next rotation is due. Not set if none is due, as with suspend."""
    previous_expiration_time: Timestamp | None = None
    """Time until which previous credentials are accepted. Not set if none is accepted."""
    last_used_time: Timestamp | None = None
    """Time, in whole hours, at which the issuer last accepted a credential of this client. Not set before the first
    report."""


class AccessStatus(Model):
    """Access that the client has to one API."""

    resource_server: Annotated[str, Field(max_length=63)]
    """Name of the ResourceServer."""
    namespace: Annotated[str, Field(max_length=63)]
    """Namespace of the ResourceServer."""
    audience: Annotated[str, Field(max_length=512)] | None = None
    """Audience of the tokens. Not set if no scope is granted."""
    granted: Annotated[list[ScopeName], Field(max_length=MAX_ITEMS)] = Field(default_factory=list)
    """Scopes that are requested and granted."""
    missing: Annotated[list[ScopeName], Field(max_length=MAX_ITEMS)] = Field(default_factory=list)
    """Scopes that are requested and not granted. The condition AccessGranted states who can grant them."""


class OAuthClientStatus(Status):
    """Observed state of the client. Written by the operator only."""

    client_id: Annotated[str, Field(max_length=127)] | None = Field(default=None, alias="clientID")
    """Client id: <namespace>.<name>."""
    binding: Binding | None = None
    """Secret that holds the credential. Not set before the Secret exists, and with method None."""
    credentials: CredentialTimes | None = None
    """Times of issue, rotation, expiry and last use of the credential. Not set before it is issued or used."""
    access: Annotated[list[AccessStatus], Field(max_length=MAX_ITEMS)] = Field(default_factory=list)
    """Access that the client has, for each entry of spec.access."""


class OAuthClient(Kind):
    """OAuthClient is a service that calls APIs, or an application that users log in to. The operator generates its
    credential, writes it to a Secret in the same namespace and rotates it. The issuer gives it access tokens for scopes
    that the owners of the APIs grant."""

    KIND = "OAuthClient"
    PLURAL = "oauthclients"
    SINGULAR = "oauthclient"
    SHORT_NAMES = ("swc",)
    COLUMNS = (
        *READY_COLUMNS,
        Column(
            "Granted",
            '.status.conditions[?(@.type=="AccessGranted")].status',
            "Whether all requested scopes are granted.",
        ),
        Column("Next Rotation", ".status.credentials.nextRotationTime", "Time at which the next rotation is due."),
        Column("Client ID", ".status.clientID", "Client id at the issuer.", wide=True),
        Column("Method", ".spec.authentication.method", "Authentication method.", wide=True),
        Column(
            "Login",
            '.status.conditions[?(@.type=="LoginAllowed")].status',
            "Whether the platform allows all of spec.login.",
            wide=True,
        ),
        Column(
            "Last Used",
            ".status.credentials.lastUsedTime",
            "Time since the client last authenticated.",
            type="date",
            wide=True,
        ),
        AGE_COLUMN,
    )

    kind: Annotated[Literal["OAuthClient"], WithJsonSchema({"type": "string"})] = "OAuthClient"
    """Kind of the object: OAuthClient."""
    spec: OAuthClientSpec = OAuthClientSpec()
    """Desired state of the client. Defaults to a client with a shared secret that requests no access."""
    status: Annotated[OAuthClientStatus | None, Field(json_schema_extra={"default": PENDING_STATUS})] = None
    """Observed state of the client. Written by the operator only."""

    @property
    def client_id(self) -> str:
        """`<namespace>.<name>`. Unambiguous, because neither part can contain a dot."""
        return f"{self.namespace}.{self.name}"

    @property
    def secret_name(self) -> str:
        """Name of the Secret: `spec.credentials.secretName`, or `<name>-oauth`."""
        return self.spec.credentials.secret_name or f"{self.name}-oauth"
