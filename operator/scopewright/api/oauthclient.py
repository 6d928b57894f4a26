"""OAuthClient: a caller, how it authenticates, and what it asks for."""

from typing import Annotated, Literal

from pydantic import Field, StringConstraints, WithJsonSchema

from scopewright.api.credentials import Credentials
from scopewright.api.jwk import JWKSet
from scopewright.api.meta import (
    AGE_COLUMN,
    PENDING_STATUS,
    READY_COLUMNS,
    Column,
    Kind,
    Model,
    Spec,
    Status,
    Timestamp,
)
from scopewright.api.names import MAX_ITEMS, MAX_SCOPES, Label, ScopeName, ScopeNames, Subdomain
from scopewright.api.rotation import Rotation
from scopewright.api.rules import Rule

Method = Literal["ClientSecret", "PrivateKeyJWT", "ServiceAccount"]
GrantType = Literal["client_credentials", "urn:ietf:params:oauth:grant-type:token-exchange"]

_ELSEWHERE = "(has(self.cluster) && self.cluster != 'in-cluster')"


class ServiceAccountRef(Model):
    """The ServiceAccount whose projected tokens authenticate the client."""

    RULES = (
        Rule(
            "service-account-uid-with-another-cluster",
            f"!{_ELSEWHERE} || has(self.uid)",
            "the UID of a ServiceAccount of another cluster cannot be looked up: set uid to what "
            "`kubectl get serviceaccount NAME -o jsonpath='{.metadata.uid}'` says there",
            "uid",
        ),
        Rule(
            "service-account-uid-only-with-another-cluster",
            f"{_ELSEWHERE} || !has(self.uid)",
            "the UID of a ServiceAccount of this cluster is looked up: remove uid, or name the cluster that it is from",
            "uid",
        ),
    )

    name: Subdomain
    """Name of the ServiceAccount, in the OAuthClient's namespace."""
    cluster: Subdomain | None = None
    """Name, in the platform's configuration, of the cluster that the ServiceAccount lives in. Left out: this one,
    which is called in-cluster."""
    uid: Annotated[str, StringConstraints(pattern="^[!-~]+$", max_length=128)] | None = None
    """With another cluster: the ServiceAccount's metadata.uid there; one that is made again under its name has a new
    one. Left out: looked up in this cluster."""


class Authentication(Model):
    """How the client proves who it is."""

    RULES = (
        Rule(
            "service-account-named",
            "self.method != 'ServiceAccount' || has(self.serviceAccount)",
            "method ServiceAccount needs serviceAccount: name the ServiceAccount that the client's Pods run as",
            "serviceAccount",
        ),
        Rule(
            "service-account-only-with-its-method",
            "self.method == 'ServiceAccount' || !has(self.serviceAccount)",
            "serviceAccount goes with method ServiceAccount alone: set that method, or remove serviceAccount",
            "serviceAccount",
        ),
        Rule(
            "jwks-only-with-its-method",
            "self.method == 'PrivateKeyJWT' || !has(self.jwks)",
            "jwks goes with method PrivateKeyJWT alone: set that method, or remove jwks",
            "jwks",
        ),
    )

    method: Method = "ClientSecret"
    """ClientSecret: a shared secret that the operator makes. PrivateKeyJWT: assertions signed by the client's private
    key. ServiceAccount: a Pod's projected token is the assertion, and no secret exists. Left out: ClientSecret."""
    service_account: ServiceAccountRef | None = None
    """With method ServiceAccount: whose projected tokens are accepted. Left out with the other methods."""
    jwks: JWKSet | None = None
    """With method PrivateKeyJWT: the client's public keys. Left out: the operator makes the pair and puts the private
    key into the Secret."""


class AccessRequest(Model):
    """What the client asks for at one API."""

    resource_server: Label
    """Name of the ResourceServer."""
    namespace: Label | None = None
    """Namespace of the ResourceServer. Left out: the OAuthClient's own."""
    scopes: Annotated[ScopeNames, Field(min_length=1)]
    """Scopes asked for. The client gets those that the ResourceServer declares and its owner grants."""


class OAuthClientSpec(Spec):
    """What the caller's team declares."""

    RULES = (
        *Spec.RULES,
        Rule(
            "access-names-each-api-once",
            "!has(self.access) || self.access.all(a, self.access.exists_one(b, b.resourceServer == a.resourceServer"
            " && (has(b.__namespace__) ? b.__namespace__ : '') == (has(a.__namespace__) ? a.__namespace__ : '')))",
            "access names the same resourceServer twice: put all its scopes into one entry",
            "access",
        ),
        Rule(
            "access-asks-for-a-bounded-number-of-scopes",
            f"!has(self.access) || self.access.map(a, size(a.scopes)).sum() <= {MAX_SCOPES}",
            f"access asks for more than {MAX_SCOPES} scopes in all: ask for fewer, or split the OAuthClient in two",
            "access",
        ),
    )

    authentication: Authentication = Authentication()
    """How the client proves who it is. Left out: by a shared secret."""
    grant_types: Annotated[
        list[GrantType], Field(min_length=1, max_length=8, json_schema_extra={"x-kubernetes-list-type": "set"})
    ] = Field(default=["client_credentials"])
    """Grant types that the client may use at the token endpoint: client_credentials, and token exchange (RFC 8693).
    Left out: client_credentials."""
    access: Annotated[list[AccessRequest], Field(max_length=MAX_ITEMS)] = Field(default_factory=list)
    """What the client asks for. Left out: nothing, as a service that is only called."""
    credentials: Credentials = Credentials()
    """The Secret that the client mounts. Left out: <name>-oauth, with the entries' usual names."""
    rotation: Rotation = Rotation()
    """When the credential that the operator makes gives way to the next; what the client brings itself (jwks, a
    ServiceAccount) does not rotate here. Left out: every 720h, with an overlap of 24h."""
    disabled: bool = False
    """True: the client is refused from now on, and kept as it is. Left out: false."""


class Binding(Model):
    """The Secret, where the Service Binding specification looks for it in a provisioned service."""

    name: Annotated[str, Field(max_length=253)]
    """Name of the Secret."""


class CredentialTimes(Model):
    """The instants in the life of the credential."""

    issue_time: Timestamp | None = None
    """When the current credential was issued. Left out: there is none that the operator makes."""
    next_rotation_time: Timestamp | None = None
    """When the next one is due. Left out: never, as with `suspend`."""
    previous_expiration_time: Timestamp | None = None
    """Until when the previous one works. Left out: no previous one works."""
    last_used_time: Timestamp | None = None
    """When the issuer last accepted a credential of this client. Left out: never, as far as it has reported."""


class AccessStatus(Model):
    """What the client gets at one API."""

    resource_server: Annotated[str, Field(max_length=63)]
    """Name of the ResourceServer."""
    namespace: Annotated[str, Field(max_length=63)]
    """Namespace of the ResourceServer."""
    audience: Annotated[str, Field(max_length=512)] | None = None
    """The audience of the tokens. Left out: nothing is granted."""
    granted: Annotated[list[ScopeName], Field(max_length=MAX_ITEMS)] = Field(default_factory=list)
    """Scopes asked for and granted."""
    missing: Annotated[list[ScopeName], Field(max_length=MAX_ITEMS)] = Field(default_factory=list)
    """Scopes asked for and not granted; the condition AccessGranted says who can grant them."""


class OAuthClientStatus(Status):
    """What the operator found and did."""

    client_id: Annotated[str, Field(max_length=127)] | None = Field(default=None, alias="clientID")
    """The client's id: <namespace>.<name>."""
    binding: Binding | None = None
    """The Secret that the client mounts. Left out: there is none yet."""
    credentials: CredentialTimes | None = None
    """The instants in the life of the credential. Left out: there is none that the operator makes."""
    access: Annotated[list[AccessStatus], Field(max_length=MAX_ITEMS)] = Field(default_factory=list)
    """What the client gets, for each entry of spec.access."""


class OAuthClient(Kind):
    """An OAuthClient is a service that calls others: the operator makes its credential, keeps it in a Secret beside
    it and rotates it; the issuer gives it tokens for the scopes that the owners of the called APIs grant."""

    KIND = "OAuthClient"
    PLURAL = "oauthclients"
    SINGULAR = "oauthclient"
    SHORT_NAMES = ("swc",)
    COLUMNS = (
        *READY_COLUMNS,
        Column(
            "Granted",
            '.status.conditions[?(@.type=="AccessGranted")].status',
            "Whether every scope asked for is granted.",
        ),
        Column("Next Rotation", ".status.credentials.nextRotationTime", "When the credential is renewed."),
        Column("Client ID", ".status.clientID", "What the client calls itself at the issuer.", wide=True),
        Column("Last Used", ".status.credentials.lastUsedTime", "When it last authenticated.", type="date", wide=True),
        AGE_COLUMN,
    )

    kind: Annotated[Literal["OAuthClient"], WithJsonSchema({"type": "string"})] = "OAuthClient"
    """Kind of the object: OAuthClient."""
    spec: OAuthClientSpec = OAuthClientSpec()
    """What the caller's team declares. Left out: a client with a shared secret that asks for nothing yet."""
    status: Annotated[OAuthClientStatus | None, Field(json_schema_extra={"default": PENDING_STATUS})] = None
    """What the operator found and did. Written by the operator alone."""

    @property
    def client_id(self) -> str:
        """Known before the object exists, and unambiguous: neither part may hold a dot."""
        return f"{self.namespace}.{self.name}"

    @property
    def secret_name(self) -> str:
        return self.spec.credentials.secret_name or f"{self.name}-oauth"
