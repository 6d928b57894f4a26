"""Checks a DPoP proof for one request (RFC 9449 §4.3). No I/O, no clock.

The caller checks whether the proof was used before, and whether it accepts the nonce.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from scopewright import base64url
from scopewright.verifier.htu import normalised
from scopewright.verifier.jws import is_numeric_date, parse
from scopewright.verifier.keyset import PRIVATE_MEMBERS, KeySet
from scopewright.verifier.refusals import PROOF_ALGORITHMS, TokenRejected
from scopewright.verifier.thumbprint import MEMBERS, thumbprint

MAX_BYTES: Final = 8 * 1024
LIFETIME: Final = 5.0
"""Seconds from `iat` until a proof expires, besides the tolerated clock difference."""

_KINDS: Final[Mapping[str, tuple[str, str | None]]] = {
    "ES256": ("EC", "P-256"),
    "ES384": ("EC", "P-384"),
    "RS256": ("RSA", None),
    "PS256": ("RSA", None),
    "EdDSA": ("OKP", "Ed25519"),
    "Ed25519": ("OKP", "Ed25519"),
}
_MAX_MODULUS_CHARACTERS: Final = 683  # 4096 bits; limits the cost of a verification
_MAX_EXPONENT_CHARACTERS: Final = 6
_MAX_JTI_CHARACTERS: Final = 256
_MAX_NONCE_CHARACTERS: Final = 256


class BadProof(Exception):
    """`reason` is a word for logs. The text says what is wrong, and contains nothing that was sent."""

    def __init__(self, reason: str, what: str) -> None:
        super().__init__(what)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class DpopProof:
    """A proof that is valid for this request. It expires at `expires_at` (seconds since 1970).

    `jkt` is the thumbprint of its key (RFC 7638).
    """

    jkt: str
    jti: str
    nonce: str | None
    expires_at: float


def check_proof(
    sent: Sequence[str],
    *,
    method: str,
    url: str,
    now: float,
    leeway: float,
    token: str | None = None,
    algorithms: Sequence[str] = PROOF_ALGORITHMS,
) -> DpopProof:
    """Raises `BadProof`. `sent` are all values of the header DPoP; `url` is that of the request as its caller sees
    it; `token` is the access token of the request, if any; `leeway` is the tolerated clock difference in seconds;
    `algorithms` are the accepted ones of PROOF_ALGORITHMS.
    """
    if len(sent) != 1 or "," in sent[0]:
        raise BadProof("proof_count", "send exactly one, in one DPoP header")
    if len(sent[0]) > MAX_BYTES:
        raise BadProof("proof_size", "it is too large")
    try:
        signed = parse(sent[0], MAX_BYTES)
    except TokenRejected:
        raise BadProof("proof_malformed", "it is not a signed JWT in its compact form") from None
    alg, jwk = _check_header(signed.header, algorithms)
    jti, nonce, expires_at = _check_claims(signed.claims, method, url, now, leeway, token)
    jkt = thumbprint(jwk)
    key = KeySet.parse({"keys": [jwk | {"kid": jkt, "alg": alg}]}).get(jkt)
    if key is None:
        raise BadProof("proof_jwk", "its jwk is not a public key of its kind, or an RSA key under 2048 bits")
    if not key.verifies(signed.signing_input, signed.signature):
        raise BadProof("proof_signature", "its signature does not verify")
    return DpopProof(jkt, jti, nonce, expires_at)


def _check_header(header: Mapping[str, Any], algorithms: Sequence[str]) -> tuple[str, dict[str, str]]:
    """The algorithm, and the public members of the key in the header."""
    if header.get("typ") != "dpop+jwt":
        raise BadProof("proof_typ", "its typ must be dpop+jwt")
    alg, jwk = header.get("alg"), header.get("jwk")
    if not isinstance(alg, str) or alg not in algorithms or alg not in _KINDS:
        raise BadProof("proof_alg", f"its alg must be one of {', '.join(algorithms)}")
    if "crit" in header or "b64" in header:
        raise BadProof("proof_crit", "it has a critical extension, and none is supported")
    if not isinstance(jwk, dict):
        raise BadProof("proof_jwk", "its header must hold the public key as jwk")
    if PRIVATE_MEMBERS & jwk.keys():
        raise BadProof(
            "proof_private_key", "its jwk is private: send the public key alone, and treat this one as leaked"
        )
    _check_purpose(jwk, alg)
    kty, crv = _KINDS[alg]
    members = {name: jwk.get(name) for name in MEMBERS[kty]}
    if members["kty"] != kty or members.get("crv") != crv:
        raise BadProof("proof_jwk", "its jwk does not fit its alg")
    public = {name: value for name, value in members.items() if isinstance(value, str)}
    if len(public) != len(members) or any(len(value) > _MAX_MODULUS_CHARACTERS for value in public.values()):
        raise BadProof("proof_jwk", "its jwk lacks a member, or is larger than an RSA key of 4096 bits")
    if len(public.get("e", "")) > _MAX_EXPONENT_CHARACTERS:
        raise BadProof("proof_jwk", "the exponent of its jwk is too large")
    return alg, public


def _check_purpose(jwk: Mapping[str, Any], alg: str) -> None:
    """Checks `alg`, `use` and `key_ops` of the key (RFC 7517 §4.2 to §4.4). RFC 9864 renames EdDSA with Ed25519."""
    same = ("EdDSA", "Ed25519") if alg in ("EdDSA", "Ed25519") else (alg,)
    if "alg" in jwk and jwk["alg"] not in same:
        raise BadProof("proof_jwk_alg", "the alg of its jwk is not the alg that it is signed with")
    if "use" in jwk and jwk["use"] != "sig":
        raise BadProof("proof_jwk_use", "the use of its jwk must be sig")
    operations = jwk.get("key_ops", ["verify"])
    if not isinstance(operations, list) or "verify" not in operations:
        raise BadProof("proof_jwk_key_ops", "the key_ops of its jwk must have verify")


def _check_claims(
    claims: Mapping[str, Any], method: str, url: str, now: float, leeway: float, token: str | None
) -> tuple[str, str | None, float]:
    if claims.get("htm") != method:
        raise BadProof("proof_htm", "its htm is not the method of this request")
    if (htu := _spelt(claims.get("htu"))) is None or htu != _spelt(url):
        raise BadProof("proof_htu", "its htu is not the URL of this request")
    if token is not None and claims.get("ath") != base64url.encode(hashlib.sha256(token.encode()).digest()):
        raise BadProof("proof_ath", "its ath is not the hash of this access token")
    jti, iat, nonce = claims.get("jti"), claims.get("iat"), claims.get("nonce")
    if not isinstance(jti, str) or not 0 < len(jti) <= _MAX_JTI_CHARACTERS:
        raise BadProof("proof_jti", f"it needs a jti of at most {_MAX_JTI_CHARACTERS} characters")
    if not is_numeric_date(iat):
        raise BadProof("proof_iat", "it needs an iat in seconds since 1970")
    if iat > now + leeway or now >= iat + leeway + LIFETIME:
        raise BadProof("proof_iat", "its iat is not now: make a new one for each request, and check the clock")
    if nonce is not None and (not isinstance(nonce, str) or len(nonce) > _MAX_NONCE_CHARACTERS):
        raise BadProof("proof_nonce", "its nonce was not issued here")
    return jti, nonce, iat + leeway + LIFETIME


def _spelt(htu: Any) -> str | None:
    try:
        return normalised(htu) if isinstance(htu, str) else None
    except ValueError:
        return None
