"""The clients of `tokens` and their credentials: derived, so equal in every process, except the cluster's key."""

import base64
import hashlib
import time
from functools import cache, lru_cache
from secrets import token_urlsafe
from typing import Any, Final

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from scopewright.controller.key_generation import public_members
from scopewright.core.profile import ASSERTION_SECONDS
from scopewright.core.records.client import ServiceAccount
from scopewright.core.records.issuer import Cluster
from scopewright.core.records.names import LOCAL_CLUSTER
from scopewright.verifier.thumbprint import thumbprint

ISSUER: Final = "https://issuer.example.org"
AUDIENCE: Final = "https://directory.staff.svc"
SCOPE: Final = "directory.read"
SERVER: Final = ("staff", "directory")
"""Namespace and name of the API, and of its own client."""
TEAMS: Final = 20
_CLUSTER: Final = "https://kubernetes.default.svc.cluster.local"


def client_name(n: int) -> tuple[str, str]:
    return f"team-{n % TEAMS:02}", f"service-{n:05}"


def client_id(n: int) -> str:
    return ".".join(client_name(n))


def secret(of: int | str) -> str:
    """A client secret with the length of a generated one."""
    return base64.urlsafe_b64encode(_digest(f"bench {of}")).decode().rstrip("=")


def public_jwk(n: int) -> dict[str, str]:
    """The public key of a client, as the operator would store it. The issuer's process makes all of them, and keeps no
    private key: 10,000 take 35 MB.
    """
    members = public_members(_derive_key(n))
    return {**members, "kid": thumbprint(members), "alg": "ES256", "use": "sig"}


def assertion(n: int) -> str:
    """As scopewright.client signs one, with a longer lifetime: all are made before the run."""
    now, client = int(time.time()), client_id(n)
    claims = {"iss": client, "sub": client, "aud": ISSUER, "iat": now, "exp": now + int(ASSERTION_SECONDS)}
    return jwt.encode({**claims, "jti": token_urlsafe(16)}, _private_key(n), "ES256", {"kid": _kid(n)})


def service_account(n: int) -> ServiceAccount:
    return ServiceAccount(client_name(n)[1], f"10000000-0000-4000-8000-{n:012}")


def projected_token(n: int, key: rsa.RSAPrivateKey, pod: int = 0) -> str:
    """A token of the client's ServiceAccount as the kubelet projects it into one of its Pods, valid for an hour."""
    now, namespace, account = int(time.time()), client_name(n)[0], service_account(n)
    bound: dict[str, Any] = {
        "namespace": namespace,
        "node": {"name": "worker-3", "uid": "30000000-0000-4000-8000-000000000003"},
        "pod": {"name": f"{account.name}-5d9c7b9f4-x2x7k", "uid": f"20000000-0000-4000-8000-{pod:02}{n:010}"},
        "serviceaccount": {"name": account.name, "uid": account.uid},
        "warnafter": now + 3607,
    }
    claims = {
        "iss": _CLUSTER,
        "sub": f"system:serviceaccount:{namespace}:{account.name}",
        "aud": [ISSUER],
        "iat": now,
        "nbf": now,
        "exp": now + 3600,
        "jti": f"40000000-0000-4000-8000-{pod:02}{n:010}",
        "kubernetes.io": bound,
    }
    return jwt.encode(claims, key, "RS256", {"kid": _rsa_kid(key)})


@cache
def cluster_key() -> rsa.RSAPrivateKey:
    """An RSA key as kubeadm makes it. Only this process has it; issuers get the public key in `cluster`."""
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def cluster_jwk() -> dict[str, str]:
    key = cluster_key()
    return {**public_members(key), "kid": _rsa_kid(key), "alg": "RS256", "use": "sig"}


def cluster(jwk: dict[str, str]) -> Cluster:
    return Cluster(LOCAL_CLUSTER, _CLUSTER, keys=(jwk,))


@lru_cache(20_000)
def _private_key(n: int) -> ec.EllipticCurvePrivateKey:
    return _derive_key(n)


def _derive_key(n: int) -> ec.EllipticCurvePrivateKey:
    return ec.derive_private_key(int.from_bytes(_digest(f"bench key {n}")[:31]), ec.SECP256R1())


@lru_cache(20_000)
def _kid(n: int) -> str:
    return thumbprint(public_members(_private_key(n)))


@cache
def _rsa_kid(key: rsa.RSAPrivateKey) -> str:
    return thumbprint(public_members(key))


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()
