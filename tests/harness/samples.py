"""Sample keys and records, and the constants that they share.

Every function returns the same value for the same arguments. `client_record(disabled=True)` is the sample record with
one field replaced. The samples belong together: the client `leave/leave-worker` may have `payroll.read` at the API
`payroll/payroll-api`.
"""

import base64
import hashlib
from dataclasses import replace
from datetime import timedelta
from functools import cache
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from scopewright.core.records.client import ClientRecord, Credential, RequestedAccess
from scopewright.core.records.resource_server import ResolvedGrant, ResourceServerRecord
from scopewright.core.records.signing_key import KeyRecord
from scopewright.core.signing.view import GeneratedKey
from scopewright.issuer.tokens.authorise import TOKEN_EXCHANGE
from scopewright.verifier.thumbprint import thumbprint
from tests.harness.clock import START

NAMESPACE = "scopewright-system"
ISSUER = "https://issuer.example.org"
JWKS = "scopewright-jwks"
"""The ConfigMap of the JWKS."""
SECRET = "A" * 43
"""The credential of `client_record()`."""
NONCE_KEY = b"n" * 32
PAYROLL = "https://payroll-api.payroll.svc"
"""Audience of `server_record()`."""

PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey


# Keys


@cache
def private_key(algorithm: str = "ES256", number: int = 0) -> PrivateKey:
    """The private key of this number: derived from it, or for RSA generated once per process."""
    seed = f"key {number}".encode()
    match algorithm:
        case "ES256":
            return _es256_key(seed)
        case "ES384":
            return ec.derive_private_key(int.from_bytes(hashlib.sha384(seed).digest()), ec.SECP384R1())
        case "Ed25519":
            return ed25519.Ed25519PrivateKey.from_private_bytes(hashlib.sha256(seed).digest())
        case _:
            return rsa.generate_private_key(65537, 2048)


def pem(private: PrivateKey) -> bytes:
    return private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def public_jwk(private: PrivateKey, algorithm: str) -> dict[str, str]:
    """The public JWK, with its thumbprint as `kid`; written without the code under test."""
    public: Any = private.public_key()
    if isinstance(private, ed25519.Ed25519PrivateKey):
        jwk = {"kty": "OKP", "crv": "Ed25519", "x": _b64(public.public_bytes_raw())}
    elif isinstance(private, rsa.RSAPrivateKey):
        n, e = public.public_numbers().n, public.public_numbers().e
        jwk = {"kty": "RSA", "n": _b64(n.to_bytes(256)), "e": _b64(e.to_bytes(3))}
    else:
        numbers, size = public.public_numbers(), private.curve.key_size // 8
        jwk = {"kty": "EC", "crv": f"P-{private.curve.key_size}"}
        jwk |= {"x": _b64(numbers.x.to_bytes(size)), "y": _b64(numbers.y.to_bytes(size))}
    alg = "EdDSA" if algorithm == "Ed25519" else algorithm
    return jwk | {"kid": thumbprint(jwk), "use": "sig", "alg": alg}


@cache
def named_key(name: str) -> GeneratedKey:
    """An ES256 key pair as the operator generates one, derived from its name."""
    private = _es256_key(name.encode())
    return GeneratedKey(public_jwk(private, "ES256"), pem(private))


def generated_key(number: int) -> GeneratedKey:
    """The key pair of `private_key("ES256", number)`, which is the nth that `OperatorHarness` generates."""
    return named_key(f"key {number}")


def _es256_key(seed: bytes) -> ec.EllipticCurvePrivateKey:
    return ec.derive_private_key(int.from_bytes(hashlib.sha256(seed).digest()), ec.SECP256R1())


def sha256(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def _b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


# Records


def key_record(algorithm: str = "ES256", number: int = 0, **changes: Any) -> KeyRecord:
    """A key that signs since an hour before START, for 37 days from START."""
    jwk = public_jwk(private_key(algorithm, number), algorithm)
    record = KeyRecord(
        kid=jwk["kid"],
        signing_key="default",
        algorithm=algorithm,
        config_map=JWKS,
        jwk=jwk,
        creation_time=START,
        signing_start_time=START - timedelta(hours=1),
        signing_end_time=START + timedelta(days=37),
        verification_end_time=START + timedelta(days=38),
    )
    return replace(record, **changes)


def client_record(**changes: Any) -> ClientRecord:
    """`leave/leave-worker`, whose secret is SECRET and which asks for `payroll.read`."""
    record = ClientRecord(
        namespace="leave",
        name="leave-worker",
        uid="uid-1",
        credentials=(Credential(sha256(SECRET), START),),
        access=(RequestedAccess("payroll/payroll-api", ("payroll.read",)),),
    )
    return replace(record, **changes)


def server_record(**changes: Any) -> ResourceServerRecord:
    """`payroll/payroll-api`, which grants `payroll.read` to the namespace `leave`."""
    record = ResourceServerRecord(
        namespace="payroll",
        name="payroll-api",
        uid="uid-2",
        audience=PAYROLL,
        scopes=("payroll.read", "payroll.write"),
        grants=(ResolvedGrant(("payroll.read",), namespaces=("leave",)),),
    )
    return replace(record, **changes)


# Services: leave-worker calls payroll, payroll calls the bank, the bank calls the vault. Each is an API and a client.

BANK, VAULT = "https://bank-api.bank.svc", "https://vault-api.vault.svc"
PAYROLL_SERVICE, BANK_SERVICE, VAULT_SERVICE = "payroll.payroll-service", "bank.bank-service", "vault.vault-service"
"""Client ids."""


def service_record(name: str = "payroll", *access: RequestedAccess, **changes: Any) -> ClientRecord:
    """The client that is the API of this name; it may exchange tokens. Default access: bank and vault."""
    return client_record(
        namespace=name,
        name=f"{name}-service",
        uid=f"uid-{name}",
        grant_types=("client_credentials", TOKEN_EXCHANGE),
        access=access
        or (
            RequestedAccess("bank/bank-api", ("bank.pay", "bank.look")),
            RequestedAccess("vault/vault-api", ("vault.open",)),
        ),
        **changes,
    )


def api_record(name: str, *scopes: str, **changes: Any) -> ResourceServerRecord:
    """An API that grants all of its scopes to every client."""
    record = server_record(
        namespace=name,
        name=f"{name}-api",
        uid=f"uid-{name}-api",
        audience=f"https://{name}-api.{name}.svc",
        scopes=scopes,
        served_by=(f"{name}.{name}-service",),
        grants=(ResolvedGrant(scopes, everybody=True),),
    )
    return replace(record, **changes)


def service_records() -> list[ClientRecord | ResourceServerRecord]:
    """Records of all these services, and of leave-worker with access to each."""
    worker_access = (
        RequestedAccess("payroll/payroll-api", ("payroll.read",)),
        RequestedAccess("bank/bank-api", ("bank.pay", "bank.close")),
        RequestedAccess("vault/vault-api", ("vault.open",)),
    )
    return [
        server_record(served_by=(PAYROLL_SERVICE,)),
        api_record("bank", "bank.pay", "bank.look", "bank.close"),
        api_record("vault", "vault.open"),
        *(service_record(name) for name in ("payroll", "bank", "vault")),
        client_record(access=worker_access),
    ]
