"""`spec.oidc` of an IdentityProvider: an OpenID provider, at which the issuer is a client."""

from typing import Annotated, Final, Literal

from pydantic import Field, StringConstraints

from scopewright.api.meta import Model
from scopewright.api.names import ScopeNames, Subdomain
from scopewright.api.rules import CelRule

_LOOPBACK_URL: Final = r"^http://(127\.0\.0\.1|localhost|\[::1\])([:/?#]|$)"
_USER_INFORMATION: Final = "^[^/]*//[^/?#]*@"
_HOST_AND_PORT: Final = r"^[^/]*//([A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?([/?#]|$)"

Url = Annotated[str, StringConstraints(pattern=r"^https?://[!#-;=?-Z_a-z~\[\]]+$", max_length=1024)]
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

    RULES = (
        CelRule(
            "client-secret-named",
            "self.method != 'ClientSecret' || has(self.secretRef)",
            "secretRef is required with method ClientSecret; set its name to a Secret of type "
            "scopewright.dev/identity-provider with the client secret",
            "secretRef",
        ),
        CelRule(
            "client-secret-only-with-its-method",
            "self.method == 'ClientSecret' || !has(self.secretRef)",
            "secretRef is allowed only with method ClientSecret; set that method, or remove secretRef",
            "secretRef",
        ),
    )

    method: Literal["ClientSecret", "None"] = "ClientSecret"
    """ClientSecret, or None if the provider knows the issuer as a public client: PKCE then protects the code. Defaults
    to ClientSecret."""
    secret_ref: EntryReference | None = None
    """Entry of a Secret with the client secret. Required with method ClientSecret, not allowed with method None.
    Defaults to none."""


class OpenIDProvider(Model):
    """An OpenID provider (OpenID Connect Core), at which the issuer is a client."""

    RULES = (
        CelRule(
            "issuer-url-is-https",
            f"!self.issuerURL.startsWith('http:') || self.issuerURL.matches(r'{_LOOPBACK_URL}')",
            "issuerURL is an http URL, over which anyone on the network can log in as any user; use https, or http for "
            "a provider on loopback in `scopewright dev`",
            "issuerURL",
        ),
        CelRule(
            "issuer-url-without-query-and-fragment",
            "!self.issuerURL.contains('?') && !self.issuerURL.contains('#')",
            "issuerURL has a query or a fragment, which no issuer identifier has (OpenID Connect Core section 2); copy "
            "the member `issuer` of the provider's discovery document",
            "issuerURL",
        ),
        CelRule(
            "issuer-url-without-user-information",
            f"!self.issuerURL.matches('{_USER_INFORMATION}')",
            "issuerURL has user information; remove the part between '//' and '@', and the '@'",
            "issuerURL",
        ),
        CelRule(
            "issuer-url-has-a-host",
            f"self.issuerURL.matches('{_USER_INFORMATION}') || self.issuerURL.matches(r'{_HOST_AND_PORT}')",
            "issuerURL has no valid host and port; write it like https://login.example.com/realms/hr",
            "issuerURL",
        ),
        CelRule(
            "scopes-contain-openid",
            "'openid' in self.scopes",
            "scopes must contain openid: without it, the provider sends no ID token; add it",
            "scopes",
        ),
    )

    issuer_url: Url = Field(alias="issuerURL")
    """Issuer identifier of the provider, as in its discovery document: https, compared exactly."""
    client_id: Annotated[str, StringConstraints(pattern=r"^[ -~]+$", max_length=512)] = Field(alias="clientID")
    """Client identifier of the issuer at the provider."""
    client_authentication: UpstreamAuthentication
    """How the issuer authenticates at the provider."""
    scopes: Annotated[ScopeNames, Field(min_length=1)] = ["openid", "profile", "email"]  # noqa: RUF012  # pydantic copies it
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
    offline_access: Literal["Scope", "AccessType"] = "Scope"
    """How a refresh token is asked for. Scope: by offline_access, if scopes contain it. AccessType: by
    access_type=offline and prompt=consent, which Google needs. Defaults to Scope."""
