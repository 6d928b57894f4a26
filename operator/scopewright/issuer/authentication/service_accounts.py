"""A Pod's projected ServiceAccount token as client assertion (Kubernetes, RFC 7521 §4.2). Pure checks.

It may be used as often as it is valid: the kubelet writes a new one when most of its life is over.
"""

from typing import Any, Final

from scopewright.issuer.authentication.assertions import AuthenticationProof, CredentialRefused, check_times
from scopewright.issuer.protocol.request import SERVICE_ACCOUNT_PREFIX
from scopewright.issuer.state.entries import Client
from scopewright.verifier.jws import Signed
from scopewright.verifier.keyset import KeySet

MAX_LIFETIME_SECONDS: Final = 24 * 3600.0
"""Seconds from `iat` to `exp`. A token out of a Secret of old has no end at all and is refused."""


def check(
    client: Client, signed: Signed, keys: KeySet, cluster: str, issuer: str, reserved: frozenset[str],
    skew: float, now: float,
) -> AuthenticationProof:  # fmt: skip
    """The proof, or `CredentialRefused`. `cluster` is the `iss` of its tokens, `issuer` our own URL."""
    who, claims = client.service_account, signed.claims
    key = keys.get(str(signed.header.get("kid")), str(signed.header.get("alg")))
    if key is None or signed.header.get("alg") not in key.algorithms:
        raise CredentialRefused("token_key")
    if "crit" in signed.header or not key.verifies(signed.signing_input, signed.signature):
        raise CredentialRefused("token_signature")
    if who is None or claims.get("iss") != cluster:
        raise CredentialRefused("token_issuer")
    bound = claims.get("kubernetes.io")
    theirs = bound.get("serviceaccount") if isinstance(bound, dict) else None
    if (
        not isinstance(bound, dict)
        or not isinstance(theirs, dict)
        or claims.get("sub") != f"{SERVICE_ACCOUNT_PREFIX}{client.namespace}:{who.name}"
        or (bound.get("namespace"), theirs.get("name"), theirs.get("uid")) != (client.namespace, who.name, who.uid)
    ):
        raise CredentialRefused("token_account")
    _check_audience(claims.get("aud"), issuer, reserved | {cluster})
    expires = check_times(claims, skew, now, MAX_LIFETIME_SECONDS)
    issued = claims.get("iat")
    if not isinstance(issued, int | float) or expires - issued > MAX_LIFETIME_SECONDS:
        raise CredentialRefused("token_life", "the token lives longer than 24 h: project one, with expirationSeconds")
    return AuthenticationProof(client.identity)


def _check_audience(audience: Any, issuer: str, reserved: frozenset[str]) -> None:
    named = [audience] if isinstance(audience, str) else audience
    if not isinstance(named, list) or issuer not in named:
        raise CredentialRefused("token_audience", "project the token with this issuer as its audience")
    if any(not isinstance(name, str) or name in reserved for name in named):
        raise CredentialRefused(
            "token_too_good", "the token is good for an API server too: project one for this issuer alone"
        )
