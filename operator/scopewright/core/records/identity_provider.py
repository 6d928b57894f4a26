"""The record of an IdentityProvider: what issuers need to log its users in. The Secret with it has the type
IDENTITY_PROVIDER_TYPE.
"""

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

from scopewright.core.records.fields import NOT_IF_EMPTY, RECORD_CONFIG, Instant

ClaimPath = tuple[str, ...]
"""The names from the top of the claims to a value; empty: there is no such claim."""


@dataclass(frozen=True, slots=True)
class ClaimMappings:
    """Where the claims of a provider have what Scopewright needs."""

    __pydantic_config__ = RECORD_CONFIG

    subject: ClaimPath = ("sub",)
    username: ClaimPath = ("preferred_username",)
    groups: ClaimPath = ()
    groups_prefix: str = ""
    """In front of each group of the provider."""
    groups_allow: tuple[str, ...] = ()
    """Names of groups before the prefix, and ranges such as `hr-*`. The provider may assign no others."""
    acr_allow: tuple[str, ...] = ()
    """Values of `acr` that reach tokens. With any, `amr` does too."""


@dataclass(frozen=True, slots=True)
class UpstreamClient:
    """The issuer as a client of an OpenID provider. Its client secret is the entry CLIENT_SECRET_ENTRY, the
    certificates of a private CA are the entry CA_ENTRY.
    """

    __pydantic_config__ = RECORD_CONFIG

    issuer_url: str
    client_id: str
    scopes: tuple[str, ...] = ("openid",)
    signing_algorithms: tuple[str, ...] = ("RS256", "PS256", "ES256")
    """Of ID tokens, as JOSE names."""
    userinfo: Literal["IfMissing", "Always", "Never"] = "IfMissing"
    reauthentication: Literal["Verified", "Trusted"] = "Verified"
    offline_access: Literal["Scope", "AccessType"] = "Scope"


@dataclass(frozen=True, slots=True)
class IdentityProviderRecord:
    """An identity provider that is in force. Durations are in seconds."""

    __pydantic_config__ = RECORD_CONFIG

    name: str
    uid: Annotated[str, Field(min_length=1)]
    display_name: str
    subject_domain: str
    """First argument of `core.users.subject_of`. No two records have the same."""
    oidc: UpstreamClient | None = None
    """None: users are static, in the entry USERS_ENTRY."""
    claims: ClaimMappings = ClaimMappings()
    check_interval: int = 900
    """A refresh asks the provider if it last confirmed the user longer ago."""
    check_max_age: int = 12 * 3600
    """How long its last answer is used while the provider does not answer."""
    revoked_before: Annotated[Instant | None, NOT_IF_EMPTY] = None
    """Earlier logins have ended, even if `spec.revokedBefore` has changed since."""
    version: Literal[1] = 1
