"""A fake issuer: real keys, tokens with any claims, and HTTP responses."""

import base64
import hashlib
import itertools
import json
from collections.abc import Mapping
from typing import Any

import httpx
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from scopewright.verifier import Key, KeySet, Policy, Reason, TokenRejected, Verifier, check
from tests.harness.clock import START, Clock

ISSUER = "https://issuer.example/tenant"
AUDIENCE = "https://payroll.hr.example"
NOW = START.timestamp()
POLICY = Policy(ISSUER, AUDIENCE)


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


class SigningKey:
    """An EC P-256 key that signs any bytes."""

    def __init__(self, kid: str) -> None:
        self.kid = kid
        self.private = ec.generate_private_key(ec.SECP256R1())
        numbers = self.private.public_key().public_numbers()
        self.jwk = {
            "kty": "EC",
            "crv": "P-256",
            "alg": "ES256",
            "use": "sig",
            "kid": kid,
            "x": b64(numbers.x.to_bytes(32, "big")),
            "y": b64(numbers.y.to_bytes(32, "big")),
        }

    def sign(self, data: bytes) -> bytes:
        r, s = decode_dss_signature(self.private.sign(data, ec.ECDSA(hashes.SHA256())))
        return r.to_bytes(32, "big") + s.to_bytes(32, "big")


KEY = SigningKey("key-1")
OTHER = SigningKey("key-2")
KEYS = KeySet.parse({"keys": [KEY.jwk]})


def claims(**changes: Any) -> dict[str, Any]:
    """The claims of a valid token. A claim that is None is omitted."""
    good: dict[str, Any] = {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "sub": "leave.leave-worker",
        "client_id": "leave.leave-worker",
        "iat": int(NOW),
        "exp": int(NOW) + 600,
        "jti": "0",
        "scope": "payroll.read",
    }
    return {name: value for name, value in (good | changes).items() if value is not None}


def token(key: SigningKey = KEY, header: Mapping[str, Any] | None = None, **changes: Any) -> str:
    head = {"typ": "at+jwt", "alg": "ES256", "kid": key.kid} | dict(header or {})
    return raw_token(json.dumps({k: v for k, v in head.items() if v is not None}), json.dumps(claims(**changes)), key)


def raw_token(header: str, payload: str, key: SigningKey = KEY) -> str:
    """Header and payload are signed as they are, valid JSON or not."""
    signing_input = f"{b64(header.encode())}.{b64(payload.encode())}"
    return f"{signing_input}.{b64(key.sign(signing_input.encode()))}"


URL = "https://payroll.hr.example/salaries/7"
HOLDER = SigningKey("holder")
_NUMBERS = itertools.count()


def thumbprint(key: SigningKey) -> str:
    members = {name: key.jwk[name] for name in ("crv", "kty", "x", "y")}
    return b64(hashlib.sha256(json.dumps(members, separators=(",", ":"), sort_keys=True).encode()).digest())


def bound_token(key: SigningKey = HOLDER, **changes: Any) -> str:
    """A token of the issuer that is bound to `key`."""
    return token(cnf={"jkt": thumbprint(key)}, **changes)


def proof(
    for_token: str | None, key: SigningKey = HOLDER, header: Mapping[str, Any] | None = None, **changes: Any
) -> str:
    """A valid DPoP proof for `GET URL`. A claim or header member that is None is omitted."""
    jwk = {name: key.jwk[name] for name in ("kty", "crv", "x", "y")}
    head = {"typ": "dpop+jwt", "alg": "ES256", "jwk": jwk} | dict(header or {})
    body = {"htm": "GET", "htu": URL, "iat": int(NOW), "jti": f"proof-{next(_NUMBERS)}"}
    if for_token is not None:
        body["ath"] = b64(hashlib.sha256(for_token.encode()).digest())
    body |= changes
    return raw_token(_without_none(head), _without_none(body), key)


def _without_none(part: Mapping[str, Any]) -> str:
    return json.dumps({name: value for name, value in part.items() if value is not None})


def refusal(sent: str, *, keys: KeySet = KEYS, policy: Policy = POLICY, now: float = NOW) -> Reason | None:
    """The reason of the refusal; None if the token is accepted."""
    try:
        check(sent, keys, policy, now)
    except TokenRejected as rejected:
        return rejected.reason
    return None


def key_of(keys: KeySet, kid: str) -> Key:
    key = keys.get(kid)
    assert key is not None
    return key


def feed(**changes: Any) -> dict[str, Any]:
    """A revocation feed with these entries only."""
    empty: dict[str, Any] = {"issuer": ISSUER, "tokens": {}, "clients": {}, "access": {}, "audiences": {}}
    return empty | {"everybody": 0, "kids": []} | changes


class FakeIssuer:
    """Metadata, JWKS and feed of an issuer. `client()` sends requests to it; `requests` are all that it got."""

    def __init__(self, *keys: SigningKey) -> None:
        self.keys = list(keys)
        self.headers = {"cache-control": "public, max-age=300"}
        self.metadata: dict[str, Any] = {
            "issuer": ISSUER,
            "jwks_uri": "https://issuer.example/tenant/jwks.json",
            "scopewright_revocation_feed_uri": "https://issuer.example/tenant/revocations",
        }
        self.feed = feed()
        self.pages: dict[str, httpx.Response] = {}
        self.unavailable = False
        self.requests: list[httpx.Request] = []

    def fetches(self) -> int:
        return sum(request.url.path.endswith("/jwks.json") for request in self.requests)

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        if self.unavailable:
            raise httpx.ConnectError("connection refused", request=request)
        if request.url.path in self.pages:
            return self.pages[request.url.path]
        if request.url.path == "/.well-known/oauth-authorization-server/tenant":
            return httpx.Response(200, json=self.metadata)
        if request.url.path == "/tenant/jwks.json":
            return self._jwks(request)
        if request.url.path == "/tenant/revocations":
            return self._revocations(request)
        return httpx.Response(404)

    def _jwks(self, request: httpx.Request) -> httpx.Response:
        etag = '"' + ".".join(key.kid for key in self.keys) + '"'
        headers = self.headers | {"etag": etag}
        if request.headers.get("if-none-match") == etag:
            return httpx.Response(304, headers=headers)
        return httpx.Response(200, headers=headers, json={"keys": [key.jwk for key in self.keys]})

    def polls(self) -> int:
        return sum(request.url.path.endswith("/revocations") for request in self.requests)

    def _revocations(self, request: httpx.Request) -> httpx.Response:
        body = json.dumps(self.feed)
        etag = f'"{hashlib.sha256(body.encode()).hexdigest()}"'
        if request.headers.get("if-none-match") == etag:
            return httpx.Response(304, headers={"etag": etag})
        return httpx.Response(200, headers={"etag": etag}, content=body)

    def client(self) -> httpx.Client:
        return httpx.Client(transport=httpx.MockTransport(self))

    def async_client(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(transport=httpx.MockTransport(self))


def verifier_of(web: FakeIssuer, clock: Clock) -> Verifier:
    return Verifier(ISSUER, AUDIENCE, http=web.async_client(), clock=clock)


async def reason_of(verifier: Verifier, sent: str) -> Reason | None:
    try:
        await verifier.verify(sent)
    except TokenRejected as rejected:
        return rejected.reason
    return None
