"""Attacks on the algorithm, the key and the signature (RFC 8725 §2.1, §3.1, §3.10)."""

import hashlib
import hmac
import json
from collections.abc import Iterator
from typing import Any, Final

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from scopewright.verifier import Reason
from tests.cases.forge import Attack, Forge
from tests.unit.verifier.support import b64

_ORDER: Final = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
"""The order n of P-256."""


def _algorithms(f: Forge) -> Iterator[Attack]:
    spellings = [
        "none",
        "None",
        "NONE",
        "nOnE",
        "none ",
        "n\u043ene",
        "none\0",
        "",
        None,
        False,
        ["none"],
        {"none": 1},
        0,
    ]
    for alg in [*spellings, "es256", "ES256 ", "ES256K", "ECDSA", "ES-256", ["ES256"], "RSA1_5", "dir", "HS256\0"]:
        halves = f.halves(alg=alg)
        for how, signature in {
            "no": "",
            "a zero": b64(bytes(64)),
            "the right": b64(f.key.sign(halves.encode())),
        }.items():
            yield Attack(f"alg {alg!r} with {how} signature", f"{halves}.{signature}", Reason.ALGORITHM)
    for alg in ("ES384", "ES512", "RS256", "PS256", "EdDSA", "Ed25519"):
        yield Attack(f"alg {alg} with a key of ES256", f.sign_as_is(f.halves(alg=alg)), Reason.ALGORITHM)


def _hmac(f: Forge) -> Iterator[Attack]:
    public = f.key.private.public_key()
    pem = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    secrets = {
        "PEM": pem,
        "PEM without its last newline": pem.rstrip(),
        "PEM with CRLF": pem.replace(b"\n", b"\r\n"),
        "DER": public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
        "the point": public.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint),
        "JWK": json.dumps(f.key.jwk).encode(),
        "compact JWK": json.dumps(f.key.jwk, separators=(",", ":"), sort_keys=True).encode(),
        "JWKS": json.dumps({"keys": [f.key.jwk]}).encode(),
        "x": f.key.jwk["x"].encode(),
        "the kid": f.key.kid.encode(),
        "nothing": b"",
    }
    for bits in ("256", "384", "512"):
        halves = f.halves(alg=f"HS{bits}")
        for what, secret in secrets.items():
            mac = hmac.new(secret, halves.encode(), getattr(hashlib, f"sha{bits}")).digest()
            yield Attack(f"HS{bits} with {what} as the secret", f"{halves}.{b64(mac)}", Reason.ALGORITHM)


def _kids(f: Forge) -> Iterator[Attack]:
    paths = ["../../dev/null", "/proc/self/environ", "file:///dev/null", "https://evil.example/key", "..\\..\\nul"]
    injections = [
        f"{f.key.kid}' OR 1=1 --",
        "x' UNION SELECT 'secret' --",
        "$(id)",
        "{{7*7}}",
        "${jndi:ldap://x}",
        "*",
        "%00",
    ]
    lookalikes = [
        f.key.kid.upper(),
        f"{f.key.kid} ",
        f" {f.key.kid}",
        f"{f.key.kid}\0",
        f.key.kid.replace("-", "\u2010"),
    ]
    for kid in ["\0", *paths, *injections, *lookalikes, "k" * 8000, "\ud83d\udd11", "__proto__"]:
        yield Attack(f"kid {kid[:40]!r}", f.token(kid=kid), Reason.UNKNOWN_KEY)
    for other in (None, "", 0, 1, True, [], [f.key.kid], {f.key.kid: 1}):
        yield Attack(f"kid {other!r}", f.token(kid=other), Reason.MALFORMED)


def _embedded_keys(f: Forge) -> Iterator[Attack]:
    embedded: dict[str, Any] = {
        "jwk": f.thief.jwk,
        "jku": "https://evil.example/jwks.json",
        "x5u": "https://evil.example/chain.pem",
        "x5c": ["MIIB"],
        "x5t": "AAAA",
        "x5t#S256": "AAAA",
        "epk": f.thief.jwk,
    }
    for name, value in embedded.items():
        header = f.header(**{name: value})
        yield Attack(f"{name} of a thief", f.signed(header, f.payload(), f.thief), Reason.SIGNATURE)
        nameless = f.header(**{name: value, "kid": None})
        yield Attack(f"{name} of a thief, no kid", f.signed(nameless, f.payload(), f.thief), Reason.MALFORMED)
    yield Attack("the published kid, the key of a thief", f.signed(f.header(), f.payload(), f.thief), Reason.SIGNATURE)
    yield Attack(
        "a kid of a thief", f.signed(f.header(kid="thief", jwk=f.thief.jwk), f.payload(), f.thief), Reason.UNKNOWN_KEY
    )


def _signatures(f: Forge) -> Iterator[Attack]:
    halves = f.halves()
    right = f.key.sign(halves.encode())
    r, s = int.from_bytes(right[:32]), int.from_bytes(right[32:])
    one, none, order, most = 1, 0, _ORDER, 2**256 - 1
    for name, (first, second) in {
        "r = 0": (none, s),
        "s = 0": (r, none),
        "r = s = 0": (none, none),
        "r = n": (order, s),
        "s = n": (r, order),
        "r = s = n": (order, order),
        "r = 1, s = 0": (one, none),
        "r = s = 1": (one, one),
        "r = n + 1": (order + 1, one),
        "s = n - s, r = 0": (none, order - s),
        "r = s = 2^256 - 1": (most, most),
        "r and s changed round": (s, r),
    }.items():
        yield Attack(f"ECDSA {name}", f"{halves}.{b64(first.to_bytes(32) + second.to_bytes(32))}", Reason.SIGNATURE)
    other = ec.generate_private_key(ec.SECP384R1())
    koblitz = ec.generate_private_key(ec.SECP256K1())
    for name, signature in {
        "DER": f.key.private.sign(halves.encode(), ec.ECDSA(hashes.SHA256())),
        "a byte short": right[:-1],
        "a byte long": right + b"\0",
        "padded to P-384": bytes(16) + right[:32] + bytes(16) + right[32:],
        "of P-384, DER": other.sign(halves.encode(), ec.ECDSA(hashes.SHA384())),
        "of secp256k1, DER": koblitz.sign(halves.encode(), ec.ECDSA(hashes.SHA256())),
        "over the payload alone": f.key.sign(halves.partition(".")[2].encode()),
        "with SHA-512": f.key.private.sign(halves.encode(), ec.ECDSA(hashes.SHA512()))[:64],
        "twice": right + right,
        "64 zero bytes": bytes(64),
    }.items():
        yield Attack(f"ECDSA {name}", f"{halves}.{b64(signature)}", Reason.SIGNATURE)


GROUPS: Final = (_algorithms, _hmac, _kids, _embedded_keys, _signatures)
