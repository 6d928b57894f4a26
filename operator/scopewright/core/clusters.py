"""Configuration of the clusters whose ServiceAccount tokens authenticate clients."""

from typing import Any
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from scopewright.api.jwk import JWK, JWKSet
from scopewright.api.names import Subdomain
from scopewright.api.validation import validate_part
from scopewright.core.records.issuer import Cluster
from scopewright.core.records.names import LOCAL_CLUSTER
from scopewright.origins import is_loopback


class ClusterConfig(BaseModel):
    """One cluster. Its keys come from `keys`, else `jwks_uri`, else OIDC discovery."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True, hide_input_in_errors=True)

    name: Subdomain
    """Name in `serviceAccount.cluster` of an OAuthClient; `in-cluster` is the cluster that the operator runs in."""
    issuer: str = ""
    """The `iss` of its tokens. Defaults, for `in-cluster` only, to the issuer of its API server."""
    jwks_uri: str = Field(default="", alias="jwksURI")
    keys: tuple[dict[str, str], ...] = ()
    """Its public JWKs, as in the output of `kubectl get --raw /openid/v1/jwks`."""
    token_review: bool = Field(default=False, alias="tokenReview")

    @field_validator("keys", mode="before")
    @classmethod
    def _public_keys(cls, value: Any) -> Any:
        """Drop unknown members, which are ignored (RFC 7517 §4)."""
        entries = value if isinstance(value, list | tuple) else []
        value = [_known(key) for key in entries] if entries else value
        wrong = validate_part(JWKSet, {"keys": value})
        if wrong:
            raise ValueError("; ".join(map(str, wrong)))
        return value

    @field_validator("jwks_uri")
    @classmethod
    def _fetched_safely(cls, value: str) -> str:
        if value and not _is_safe(value):
            raise ValueError("must be an https URL (http for loopback only): its keys decide which tokens are valid")
        return value

    @model_validator(mode="after")
    def _complete(self) -> "ClusterConfig":
        here = self.name == LOCAL_CLUSTER
        if not here and not self.issuer:
            raise ValueError(
                f"cluster {self.name} needs issuer: the iss of its tokens, as "
                "`kubectl get --raw /.well-known/openid-configuration` shows there"
            )
        if self.jwks_uri and self.keys:
            raise ValueError(f"cluster {self.name} has both jwksURI and keys: remove one of them")
        if not here and not self.jwks_uri and not self.keys and not _is_safe(self.issuer):
            raise ValueError(
                f"cluster {self.name} needs jwksURI or keys: its issuer is not an https URL for OIDC discovery"
            )
        if self.token_review and not here:
            raise ValueError(f"tokenReview works for cluster {LOCAL_CLUSTER} only: remove it from cluster {self.name}")
        return self

    def record(self) -> Cluster:
        return Cluster(self.name, self.issuer, self.jwks_uri, self.keys, self.token_review)


def _known(key: Any) -> Any:
    """Return the members of a JWK that matter for a signature, or that make it private."""
    known = JWK.model_fields.keys() - {"key_ops", "ext"}
    return {name: member for name, member in key.items() if name in known} if isinstance(key, dict) else key


def _is_safe(url: str) -> bool:
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
    except ValueError:
        return False
    return host != "" and (parts.scheme == "https" or (parts.scheme == "http" and is_loopback(host)))
