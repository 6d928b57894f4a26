"""A client with private_key_jwt and DPoP proofs, right and wrong: what FAPI 2.0 asks of clients, by PyJWT and httpx."""

import hashlib
import json
import time
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import count
from typing import Any, Final

import httpx
import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

ALGORITHMS: Final = ("ES256", "PS256", "EdDSA", "Ed25519")
"""Those that FAPI 2.0 §5.4.1 allows."""
JWT_BEARER: Final = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
_SERIAL: Final = count()
_LIBRARIES: Final[dict[str, Any]] = {"ES256": ECAlgorithm, "PS256": RSAAlgorithm, "EdDSA": OKPAlgorithm}


@dataclass
class Keys:
    """A private key and its algorithm."""

    algorithm: str
    private: Any

    @classmethod
    def make(cls, algorithm: str) -> "Keys":
        match algorithm:
            case "ES256":
                return cls(algorithm, ec.generate_private_key(ec.SECP256R1()))
            case "EdDSA":
                return cls(algorithm, ed25519.Ed25519PrivateKey.generate())
            case _:
                return cls(algorithm, rsa.generate_private_key(65537, 2048))

    @property
    def thumbprint(self) -> str:
        """RFC 7638."""
        members = {name: value for name, value in self.jwk.items() if name != "alg"}
        return _b64(hashlib.sha256(json.dumps(members, sort_keys=True, separators=(",", ":")).encode()).digest())

    @property
    def jwk(self) -> dict[str, str]:
        found = json.loads(_LIBRARIES.get(self.algorithm, RSAAlgorithm).to_jwk(self.private.public_key()))
        return {name: found[name] for name in ("kty", "crv", "x", "y", "n", "e") if name in found}

    def sign(self, claims: dict[str, Any], algorithm: str = "", **header: Any) -> str:
        present = {name: value for name, value in claims.items() if value is not None}
        return jwt.encode(present, self.private, algorithm or self.algorithm, header)


@dataclass
class Client:
    """One OAuthClient, with the key that it has registered and the one that its tokens are bound to."""

    issuer: str
    client_id: str
    key: Keys
    holder: Keys
    nonce: str = ""

    def assertion(self, algorithm: str = "", **changes: Any) -> str:
        now = int(time.time())
        claims = {"iss": self.client_id, "sub": self.client_id, "aud": self.issuer, "iat": now, "exp": now + 60}
        return self.key.sign(claims | {"jti": f"assertion-{next(_SERIAL)}"} | changes, algorithm, kid="k")

    def proof(
        self, method: str, url: str, token: str = "", *, header: dict[str, Any] | None = None, **changes: Any
    ) -> str:
        claims: dict[str, Any] = {"htm": method, "htu": url, "iat": int(time.time()), "jti": f"proof-{next(_SERIAL)}"}
        if token:
            claims["ath"] = _b64(hashlib.sha256(token.encode()).digest())
        head = {"typ": "dpop+jwt", "jwk": self.holder.jwk} | (header or {})
        return self.holder.sign(claims | changes, str(head.pop("alg", "")), **head)

    def post(
        self,
        path: str,
        form: Mapping[str, str],
        assertion: str | None = None,
        *,
        proof: dict[str, Any] | None = None,
        bound: bool = True,
    ) -> httpx.Response:
        """A request of the client, repeated with the nonce of the first response.

        `assertion` is another one than usual, or empty: none. `proof` are other claims of the DPoP proof, and without
        `bound` there is no proof.
        """
        fields = {"client_id": self.client_id, **form}
        if assertion != "":
            fields |= {"client_assertion_type": JWT_BEARER}
        for _ in range(2):
            if assertion != "":
                fields["client_assertion"] = assertion or self.assertion()
            claims = (proof or {}) | ({"nonce": self.nonce} if self.nonce else {})
            headers = {"DPoP": self.proof("POST", f"{self.issuer}{path}", **claims)} if bound else {}
            response = httpx.post(f"{self.issuer}{path}", data=fields, headers=headers)
            self.nonce = response.headers.get("DPoP-Nonce", self.nonce)
            if response.json().get("error") != "use_dpop_nonce":
                break
        return response

    def ask(
        self, assertion: str | None = None, *, proof: dict[str, Any] | None = None, bound: bool = True, **form: str
    ) -> httpx.Response:
        """A request for a token of the client itself."""
        return self.post("/token", {"grant_type": "client_credentials", **form}, assertion, proof=proof, bound=bound)

    def token(self, **changes: Any) -> str:
        response = self.ask(proof=changes)
        assert response.status_code == 200, response.text
        assert response.json()["token_type"] == "DPoP"
        return str(response.json()["access_token"])


def refused(response: httpx.Response, *errors: str) -> bool:
    """Whether it is an error response with one of these errors."""
    return response.status_code in (400, 401) and response.json()["error"] in errors


def _b64(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode()
