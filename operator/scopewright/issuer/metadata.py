"""What clients and verifiers discover: metadata (RFC 8414, OpenID Connect Discovery) and the key set (RFC 7517).

- `response_types_supported` is left out, though RFC 8414 calls it required: there is no authorization endpoint to have
  response types, and empty lists are forbidden. go-oidc, oauth4webapi and Nimbus take its absence.
- The OpenID document has `subject_types_supported`, without which Nimbus and Spring refuse it, and the algorithms of
  the served keys as `id_token_signing_alg_values_supported`, as Kubernetes' own issuer does: where it is absent,
  go-oidc verifies nothing but RS256.
"""

from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import unquote, urlsplit

import orjson

from scopewright.core.records import IssuerRecord
from scopewright.issuer.keyring import Jwks
from scopewright.issuer.messages import JSON, Answer, HttpRequest, json_answer, not_modified
from scopewright.issuer.token import GRANT_TYPES
from scopewright.verifier.check import ALGORITHMS
from scopewright.verifier.refusals import PROOF_ALGORITHMS

AUTH_METHODS: Final = ("client_secret_basic", "client_secret_post", "private_key_jwt")
OAUTH_METADATA: Final = "/.well-known/oauth-authorization-server"
OPENID_METADATA: Final = "/.well-known/openid-configuration"


@dataclass(frozen=True, slots=True)
class Paths:
    """Where an issuer's documents and endpoints are on its host, percent-decoded as a server sees them."""

    token: str
    introspection: str
    revocation: str
    feed: str
    jwks: str
    oauth_metadata: str
    openid_metadata: str

    @property
    def of_what_is_known(self) -> tuple[str, ...]:
        """What can be answered only once everything has been read."""
        return self.token, self.introspection, self.revocation, self.feed, self.jwks


def paths(issuer: str) -> Paths:
    path = unquote(urlsplit(issuer).path)
    return Paths(
        token=f"{path}/token",
        introspection=f"{path}/introspect",
        revocation=f"{path}/revoke",
        feed=f"{path}/revocations",
        jwks=f"{path}/jwks.json",
        oauth_metadata=f"{OAUTH_METADATA}{path}",
        openid_metadata=f"{path}{OPENID_METADATA}",
    )


def oauth_metadata(issuer: str, *, revoking: bool) -> dict[str, Any]:
    """`revoking`: there is a store to write revocations to."""
    document: dict[str, Any] = {
        "issuer": issuer,
        "token_endpoint": f"{issuer}/token",
        "introspection_endpoint": f"{issuer}/introspect",
        "jwks_uri": f"{issuer}/jwks.json",
        "scopewright_revocation_feed_uri": f"{issuer}/revocations",
        "grant_types_supported": GRANT_TYPES,
        "dpop_signing_alg_values_supported": PROOF_ALGORITHMS,
    }
    endpoints = ["token_endpoint", "introspection_endpoint"]
    if revoking:
        document["revocation_endpoint"] = f"{issuer}/revoke"
        endpoints.append("revocation_endpoint")
    for endpoint in endpoints:
        document[f"{endpoint}_auth_methods_supported"] = AUTH_METHODS
        document[f"{endpoint}_auth_signing_alg_values_supported"] = sorted(ALGORITHMS)
    return document


def openid_metadata(issuer: str, jwks: Jwks, *, revoking: bool) -> dict[str, Any]:
    document = oauth_metadata(issuer, revoking=revoking) | {"subject_types_supported": ["public"]}
    if algorithms := sorted({key.alg for key in jwks.keys.values()}):
        document["id_token_signing_alg_values_supported"] = algorithms
    return document


def document(content: dict[str, Any], record: IssuerRecord) -> Answer:
    return Answer(200, (JSON, _max_age(record)), orjson.dumps(content))


def key_set(jwks: Jwks, record: IssuerRecord, http: HttpRequest) -> Answer:
    headers = (JSON, _max_age(record), (b"etag", jwks.etag))
    if not_modified(http, jwks.etag):
        return Answer(304, headers[1:], b"")
    return Answer(200, headers, jwks.body)


def _max_age(record: IssuerRecord) -> tuple[bytes, bytes]:
    return b"cache-control", b"public, max-age=%d" % record.jwks_max_age


def not_found() -> Answer:
    return json_answer(404, {"error": "not_found", "error_description": "nothing is served here"})
