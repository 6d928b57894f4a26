"""A Pod's projected ServiceAccount token as client assertion (Kubernetes, RFC 7521 §4.2). Pure checks.

A token may be used until it expires: the kubelet replaces it when most of its lifetime has passed.
"""

from typing import Any, Final

from scopewright.issuer.authentication.assertions import CredentialRefused, VerifiedAssertion, check_times
from scopewright.issuer.protocol.request import SERVICE_ACCOUNT_PREFIX
from scopewright.issuer.state.entries import Client
from scopewright.verifier.jws import Signed
from scopewright.verifier.keyset import KeySet

MAX_LIFETIME_SECONDS: Final = 24 * 3600.0
"""From `iat` to `exp`. Tokens in Secrets of type kubernetes.io/service-account-token have no `exp` and are refused."""


def check_service_account_token(
    client: Client, signed: Signed, keys: KeySet, cluster_issuer: str, issuer: str, reserved: frozenset[str],
    clock_skew: float, now: float,
) -> VerifiedAssertion:  # fmt: skip
    """Raises `CredentialRefused`. `cluster_issuer` is the `iss` of the cluster's tokens, `issuer` this issuer's URL.

    `reserved` are audiences of API servers, which the token must not have.
    """
    expected, claims = client.service_account, signed.claims
    key = keys.get(str(signed.header.get("kid")), str(signed.header.get("alg")))
    if key is None or signed.header.get("alg") not in key.algorithms:
        raise CredentialRefused("token_key")
    if "crit" in signed.header or not key.verifies(signed.signing_input, signed.signature):
        raise CredentialRefused("token_signature")
    if expected is None or claims.get("iss") != cluster_issuer:
        raise CredentialRefused("token_issuer")
    bound = claims.get("kubernetes.io")
    account = bound.get("serviceaccount") if isinstance(bound, dict) else None
    identity = (client.namespace, expected.name, expected.uid)
    if (
        not isinstance(bound, dict)
        or not isinstance(account, dict)
        or claims.get("sub") != f"{SERVICE_ACCOUNT_PREFIX}{client.namespace}:{expected.name}"
        or (bound.get("namespace"), account.get("name"), account.get("uid")) != identity
    ):
        raise CredentialRefused("token_account")
    _check_audience(claims.get("aud"), issuer, reserved | {cluster_issuer})
    expires_at = check_times(claims, clock_skew, now, MAX_LIFETIME_SECONDS)
    issued_at = claims.get("iat")
    if not isinstance(issued_at, int | float) or expires_at - issued_at > MAX_LIFETIME_SECONDS:
        raise CredentialRefused("token_life", "the token lifetime must be at most 24 h; set expirationSeconds")
    since = max(issued_at, claims.get("nbf", issued_at)) - clock_skew
    return VerifiedAssertion(client.identity, since=since, until=expires_at + clock_skew)


def _check_audience(audience: Any, issuer: str, reserved: frozenset[str]) -> None:
    names = [audience] if isinstance(audience, str) else audience
    if not isinstance(names, list) or issuer not in names:
        raise CredentialRefused("token_audience", "token audience must include this issuer")
    if any(not isinstance(name, str) or name in reserved for name in names):
        raise CredentialRefused("token_too_good", "token audience must not include a Kubernetes API server")
