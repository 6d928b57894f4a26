"""Metadata (RFC 8414, OpenID Connect Discovery) and the JWKS (RFC 7517).

- Where no user can log in, `response_types_supported` is `["none"]`: RFC 8414 requires the member and forbids empty
  lists, and there is no authorization endpoint.
- Members about users are there only where users can log in. `request_uri_parameter_supported` is then false in so many
  words: without the member it would be true (OpenID Connect Discovery §3).
- `request_uri` of a pushed request (RFC 9126) has a member of its own, and its client authentication is that of
  `token_endpoint_auth_methods_supported` (§2).
- The OpenID document has `subject_types_supported`, which Nimbus and Spring require. Its
  `id_token_signing_alg_values_supported` has the algorithms of the JWKS, as that of a Kubernetes API server does:
  without the member, go-oidc accepts RS256 only. Algorithms that the profile forbids are not listed.
"""

from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import unquote, urlsplit

from scopewright.core.profile import allows
from scopewright.core.records.issuer import IssuerRecord
from scopewright.core.users import OPENID_SCOPES
from scopewright.issuer.authentication.dpop import proof_algorithms
from scopewright.issuer.endpoints.token import GRANT_TYPES
from scopewright.issuer.endpoints.user_grant_request import USER_GRANT_TYPES
from scopewright.issuer.protocol.responses import JSON, Answer, HttpRequest, cacheable, json_answer
from scopewright.issuer.state.keyring import Jwks
from scopewright.issuer.users.claims import CLAIMS_BY_SCOPE
from scopewright.verifier.check import ALGORITHMS

AUTH_METHODS: Final = ("client_secret_basic", "client_secret_post", "private_key_jwt")
FAPI2_AUTH_METHODS: Final = ("private_key_jwt",)
CLAIMS: Final = (
    *("sub", "iss", "aud", "exp", "iat", "auth_time", "nonce", "acr", "amr", "sid", "at_hash"),
    *(claim for claims in CLAIMS_BY_SCOPE.values() for claim in claims),
)
PROMPTS: Final = ("none", "login", "consent", "select_account")
OAUTH_METADATA: Final = "/.well-known/oauth-authorization-server"
OPENID_METADATA: Final = "/.well-known/openid-configuration"


@dataclass(frozen=True, slots=True)
class Paths:
    """The paths of an issuer's documents and endpoints, percent-decoded."""

    token: str
    introspection: str
    revocation: str
    feed: str
    userinfo: str
    par: str
    jwks: str
    oauth_metadata: str
    openid_metadata: str

    @property
    def need_records(self) -> tuple[str, ...]:
        """The paths that are served only after all records have been read."""
        return self.token, self.introspection, self.revocation, self.feed, self.userinfo, self.par, self.jwks


def paths(issuer: str) -> Paths:
    path = unquote(urlsplit(issuer).path)
    return Paths(
        token=f"{path}/token",
        introspection=f"{path}/introspect",
        revocation=f"{path}/revoke",
        feed=f"{path}/revocations",
        userinfo=f"{path}/userinfo",
        par=f"{path}/par",
        jwks=f"{path}/jwks.json",
        oauth_metadata=f"{OAUTH_METADATA}{path}",
        openid_metadata=f"{path}{OPENID_METADATA}",
    )


def oauth_metadata(record: IssuerRecord, *, revoking: bool, users: bool = False) -> dict[str, Any]:
    """`revoking`: whether there is a revocation endpoint; `users`: whether users can log in."""
    issuer = record.issuer
    document: dict[str, Any] = {
        "issuer": issuer,
        "token_endpoint": f"{issuer}/token",
        "introspection_endpoint": f"{issuer}/introspect",
        "jwks_uri": f"{issuer}/jwks.json",
        "scopewright_revocation_feed_uri": f"{issuer}/revocations",
        "response_types_supported": ["none"],
        "grant_types_supported": GRANT_TYPES,
        "dpop_signing_alg_values_supported": proof_algorithms(record),
    }
    endpoints = ["token_endpoint", "introspection_endpoint"]
    if revoking:
        document["revocation_endpoint"] = f"{issuer}/revoke"
        endpoints.append("revocation_endpoint")
    methods = FAPI2_AUTH_METHODS if record.is_fapi2 else AUTH_METHODS
    algorithms = sorted(a for a in ALGORITHMS if allows(record.profile, a))
    for endpoint in endpoints:
        document[f"{endpoint}_auth_methods_supported"] = methods
        document[f"{endpoint}_auth_signing_alg_values_supported"] = algorithms
    return document | _of_users(record, document) if users else document


def _of_users(record: IssuerRecord, document: dict[str, Any]) -> dict[str, Any]:
    """The members of both documents about users."""
    issuer = record.issuer
    members: dict[str, Any] = {
        "authorization_endpoint": f"{issuer}/authorize",
        "pushed_authorization_request_endpoint": f"{issuer}/par",
        "response_types_supported": ["code"],
        "response_modes_supported": ["query"],
        "grant_types_supported": (*USER_GRANT_TYPES, *GRANT_TYPES),
        "code_challenge_methods_supported": ["S256"],
        "scopes_supported": OPENID_SCOPES,
        "authorization_response_iss_parameter_supported": True,
        "request_parameter_supported": False,
        "request_uri_parameter_supported": False,
    }
    if record.is_fapi2:
        members["require_pushed_authorization_requests"] = True
    else:
        for name in ("token_endpoint", "revocation_endpoint"):
            if methods := document.get(f"{name}_auth_methods_supported"):
                members[f"{name}_auth_methods_supported"] = (*methods, "none")
    return members


def openid_metadata(record: IssuerRecord, jwks: Jwks, *, revoking: bool, users: bool = False) -> dict[str, Any]:
    document = oauth_metadata(record, revoking=revoking, users=users) | {"subject_types_supported": ["public"]}
    if users:
        document |= {
            "userinfo_endpoint": f"{record.issuer}/userinfo",
            "end_session_endpoint": f"{record.issuer}/logout",
            "claims_supported": CLAIMS,
            "claims_parameter_supported": False,
            "prompt_values_supported": PROMPTS,
        }
    if algorithms := sorted({key.alg for key in jwks.keys.values() if allows(record.profile, key.alg)}):
        document["id_token_signing_alg_values_supported"] = algorithms
    return document


def document(content: dict[str, Any], record: IssuerRecord) -> Answer:
    return json_answer(200, content, (JSON, (b"cache-control", b"public, max-age=%d" % record.jwks_max_age)))


def key_set(jwks: Jwks, record: IssuerRecord, http: HttpRequest) -> Answer:
    return cacheable(http, jwks.body, jwks.etag, record.jwks_max_age)


def not_found() -> Answer:
    return json_answer(404, {"error": "not_found", "error_description": "nothing is served here"})
