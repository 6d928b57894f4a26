"""The Secret that an OAuthClient asks for: its name, its metadata and the names of its entries."""

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from scopewright.api.meta import Model
from scopewright.api.names import LABEL_KEY, MAX_ITEMS, LabelValue, Subdomain
from scopewright.api.rules import Rule

Annotation = Annotated[str, Field(max_length=1024)]
EntryName = Annotated[str, StringConstraints(pattern="^[.]?[-_a-zA-Z0-9][-._a-zA-Z0-9]*$", max_length=253)]


class SecretTemplate(Model):
    """What the Secret's metadata carries besides our own."""

    RULES = tuple(
        rule
        for field in ("labels", "annotations")
        for rule in (
            Rule(
                f"secret-{field}-not-reserved",
                f"!has(self.{field}) || self.{field}.all(k, !k.startsWith('scopewright.dev/')"
                " && !k.startsWith('argocd.argoproj.io/') && (k.startsWith('app.kubernetes.io/')"
                " ? k != 'app.kubernetes.io/managed-by' : !k.matches('^([^/]*[.])?kubernetes[.]io/')))",
                f"{field} must not contain app.kubernetes.io/managed-by, nor keys under scopewright.dev/, "
                "argocd.argoproj.io/, kubernetes.io/ or *.kubernetes.io/ (other app.kubernetes.io/ keys are allowed): "
                "remove the key",
                field,
            ),
            Rule(
                f"secret-{field}-have-valid-keys",
                f"!has(self.{field}) || self.{field}.all(k, size(k) <= 253 && k.matches('{LABEL_KEY}'))",
                f"{field} has a key that no Secret can carry: write it as 'team' or 'example.com/team'",
                field,
            ),
        )
    )

    labels: Annotated[dict[str, LabelValue], Field(max_length=MAX_ITEMS)] = Field(default_factory=dict)
    """Labels for the Secret. One that is removed here is removed from the Secret. Left out: none besides our own."""
    annotations: Annotated[dict[str, Annotation], Field(max_length=MAX_ITEMS)] = Field(default_factory=dict)
    """Annotations for the Secret. One that is removed here is removed from the Secret. Left out: none besides our
    own."""


_ENTRIES = (
    "[self.clientID, self.clientSecret, self.privateKey, self.issuer, self.tokenEndpoint, self.jwksURI, self.scope,"
    " self.audience, 'type', 'provider']"
)


class SecretKeys(Model):
    """What the Secret's entries are called."""

    RULES = (
        Rule(
            "secret-keys-differ",
            f"{_ENTRIES}.all(a, {_ENTRIES}.exists_one(b, a == b))",
            "keys gives two entries of the Secret the same name, or one of the fixed names type and provider: "
            "rename one of them",
        ),
    )

    client_id: EntryName = Field(default="client_id", alias="clientID")
    """Entry for the client's id. Left out: client_id."""
    client_secret: EntryName = "client_secret"  # noqa: S105 - the name of an entry
    """Entry for the client's secret, with method ClientSecret. Left out: client_secret."""
    private_key: EntryName = "private_key.jwk"
    """Entry for the private key, where the operator makes it. Left out: private_key.jwk."""
    issuer: EntryName = "issuer"
    """Entry for the issuer's URL. Left out: issuer."""
    token_endpoint: EntryName = "token_endpoint"  # noqa: S105 - the name of an entry
    """Entry for the token endpoint's URL. Left out: token_endpoint."""
    jwks_uri: EntryName = Field(default="jwks_uri", alias="jwksURI")
    """Entry for the JWKS's URL. Left out: jwks_uri."""
    scope: EntryName = "scope"
    """Entry for the scopes asked for, where spec.access has just one entry. Left out: scope."""
    audience: EntryName = "audience"
    """Entry for the API's audience, where spec.access has just one entry. Left out: audience."""


class Credentials(Model):
    """The Secret that the client mounts."""

    secret_name: Subdomain | None = None
    """Name of the Secret. One that exists already and is not ours is never touched. Left out: <name>-oauth."""
    secret_template: SecretTemplate = Field(default_factory=SecretTemplate)
    """What the Secret's metadata carries besides our own. Left out: nothing."""
    deletion_policy: Literal["Delete", "Retain"] = "Delete"
    """What becomes of the Secret when the OAuthClient is deleted. Delete: the Secret is deleted with it. Retain: the
    Secret stays, the issuer refuses its credential, and an OAuthClient of the same name and namespace that also says
    Retain adopts it, so that the credential stays the same. Left out: Delete."""
    keys: SecretKeys = SecretKeys()
    """What the Secret's entries are called. Left out: client_id, client_secret and so on."""
