"""`spec.credentials` of an OAuthClient: the Secret's name, metadata, entry names and deletion policy."""

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from scopewright.api.meta import Model
from scopewright.api.names import LABEL_KEY, MAX_ITEMS, LabelValue, Subdomain
from scopewright.api.rules import CelRule

Annotation = Annotated[str, Field(max_length=1024)]
EntryName = Annotated[str, StringConstraints(pattern="^[.]?[-_a-zA-Z0-9][-._a-zA-Z0-9]*$", max_length=253)]


class SecretTemplate(Model):
    """Labels and annotations of the Secret, in addition to those that the operator sets."""

    RULES = tuple(
        rule
        for field in ("labels", "annotations")
        for rule in (
            CelRule(
                f"secret-{field}-not-reserved",
                f"!has(self.{field}) || self.{field}.all(k, !k.startsWith('scopewright.dev/')"
                " && !k.startsWith('argocd.argoproj.io/') && (k.startsWith('app.kubernetes.io/')"
                " ? k != 'app.kubernetes.io/managed-by' : !k.matches('^([^/]*[.])?kubernetes[.]io/')))",
                f"{field} must not contain app.kubernetes.io/managed-by, nor keys under scopewright.dev/, "
                "argocd.argoproj.io/, kubernetes.io/ or *.kubernetes.io/ (other app.kubernetes.io/ keys are allowed); "
                "remove the key",
                field,
            ),
            CelRule(
                f"secret-{field}-have-valid-keys",
                f"!has(self.{field}) || self.{field}.all(k, size(k) <= 253 && k.matches('{LABEL_KEY}'))",
                f"{field} has a key that is not valid in Kubernetes metadata; write it as 'team' or 'example.com/team'",
                field,
            ),
        )
    )

    labels: Annotated[dict[str, LabelValue], Field(max_length=MAX_ITEMS)] = Field(default_factory=dict)
    """Labels of the Secret. Removing a label here removes it from the Secret. Defaults to none besides those that the
    operator sets."""
    annotations: Annotated[dict[str, Annotation], Field(max_length=MAX_ITEMS)] = Field(default_factory=dict)
    """Annotations of the Secret. Removing an annotation here removes it from the Secret. Defaults to none besides those
    that the operator sets."""


_ENTRIES = (
    "[self.clientID, self.clientSecret, self.privateKey, self.issuer, self.tokenEndpoint, self.jwksURI, self.scope,"
    " self.audience, 'type', 'provider']"
)


class SecretKeys(Model):
    """Names of the entries in the Secret."""

    RULES = (
        CelRule(
            "secret-keys-unique",
            f"{_ENTRIES}.all(a, {_ENTRIES}.exists_one(b, a == b))",
            "keys gives two entries of the Secret the same name, or uses one of the reserved names type and provider; "
            "rename one of them",
        ),
    )

    client_id: EntryName = Field(default="client_id", alias="clientID")
    """Name of the entry with the client id. Defaults to client_id."""
    client_secret: EntryName = "client_secret"  # noqa: S105 - the name of an entry
    """Name of the entry with the client secret, for method ClientSecret. Defaults to client_secret."""
    private_key: EntryName = "private_key.jwk"
    """Name of the entry with the private key, if the operator generates it. Defaults to private_key.jwk."""
    issuer: EntryName = "issuer"
    """Name of the entry with the issuer URL. Defaults to issuer."""
    token_endpoint: EntryName = "token_endpoint"  # noqa: S105 - the name of an entry
    """Name of the entry with the URL of the token endpoint. Defaults to token_endpoint."""
    jwks_uri: EntryName = Field(default="jwks_uri", alias="jwksURI")
    """Name of the entry with the URL of the JWKS. Defaults to jwks_uri."""
    scope: EntryName = "scope"
    """Name of the entry with the requested scopes, present if spec.access has exactly one entry. Defaults to scope."""
    audience: EntryName = "audience"
    """Name of the entry with the audience of the API, present if spec.access has exactly one entry. Defaults to
    audience."""


class Credentials(Model):
    """The Secret that holds the client's credential."""

    secret_name: Subdomain | None = None
    """Name of the Secret. An existing Secret that Scopewright does not manage is never changed. Defaults to
    <name>-oauth."""
    secret_template: SecretTemplate = Field(default_factory=SecretTemplate)
    """Labels and annotations of the Secret, in addition to those that the operator sets. Defaults to none."""
    deletion_policy: Literal["Delete", "Retain"] = "Delete"
    """What happens to the Secret when the OAuthClient is deleted. Delete: the Secret is deleted too. Retain: the Secret
    stays and the issuer refuses its credential; a new OAuthClient with the same name, namespace and policy adopts the
    Secret and keeps the credential. Defaults to Delete."""
    keys: SecretKeys = SecretKeys()
    """Names of the entries in the Secret. Defaults to client_id, client_secret and so on."""
