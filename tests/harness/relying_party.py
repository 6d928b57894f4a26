"""An application that logs users in, by httpx and joserfc: none of Scopewright's code checks what the issuer sends."""

import hashlib
import secrets
import time
from base64 import urlsafe_b64encode
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import count
from typing import Any, Final
from urllib.parse import parse_qs, urlencode, urlsplit

import httpx
from joserfc import jwt
from joserfc.jwk import Key, KeySet
from joserfc.jws import extract_compact

from tests.harness.browser import Away

JWT_BEARER: Final = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
ID_TOKEN_ALGORITHMS: Final = ("RS256", "ES256", "PS256")
_SERIAL: Final = count()


@dataclass(frozen=True)
class AuthorizationRequest:
    url: str
    parameters: dict[str, str]
    verifier: str
    """PKCE; empty if the request has no code challenge."""


@dataclass(frozen=True)
class TokenResponse:
    body: dict[str, Any]
    header: dict[str, Any]
    claims: dict[str, Any]
    """Of the ID token, which was checked; empty if there is none."""

    @property
    def access_token(self) -> str:
        return str(self.body["access_token"])

    @property
    def id_token(self) -> str:
        return str(self.body["id_token"])

    @property
    def refresh_token(self) -> str:
        return str(self.body["refresh_token"])


@dataclass(frozen=True)
class RelyingParty:
    """One of `secret` with `method`, `key`, or neither for a public client."""

    issuer: str
    client_id: str
    redirect_uri: str
    secret: str = ""
    method: str = "client_secret_basic"
    key: Key | None = None
    pkce: bool = True
    token_type: str = "Bearer"
    """That of its access tokens."""
    clock: Callable[[], float] = time.time

    def request(self, **changes: str | None) -> AuthorizationRequest:
        """An authorization request for `openid`. Parameters in `changes` replace or, if None, remove its own."""
        verifier = secrets.token_urlsafe(32) if self.pkce else ""
        parameters = {
            "response_type": "code",
            "client_id": self.client_id,
            "redirect_uri": self.redirect_uri,
            "scope": "openid",
            "state": secrets.token_urlsafe(16),
            "nonce": secrets.token_urlsafe(16),
            **({"code_challenge": _s256(verifier), "code_challenge_method": "S256"} if verifier else {}),
            **changes,
        }
        sent = {name: value for name, value in parameters.items() if value is not None}
        return AuthorizationRequest(self.url_of(sent), sent, verifier)

    def url_of(self, parameters: Mapping[str, str]) -> str:
        return f"{self.issuer}/authorize?{urlencode(parameters)}"

    def code(self, request: AuthorizationRequest, away: Away) -> str:
        """The code of a successful response (RFC 6749 §4.1.2, RFC 9207), of at least 128 bits."""
        answer = self._answer(request, away)
        assert set(answer) == {"code"}, away
        assert len(answer["code"]) >= 22, "a code of 128 bits has at least 22 characters"
        return answer["code"]

    def error(self, request: AuthorizationRequest, away: Away) -> str:
        """The error of an error response (RFC 6749 §4.1.2.1)."""
        answer = self._answer(request, away)
        assert set(answer) <= {"error", "error_description", "error_uri"}, away
        return answer["error"]

    def _answer(self, request: AuthorizationRequest, away: Away) -> dict[str, str]:
        """The parameters of the response, without those of the redirect URI, `state` and `iss`, which were checked."""
        assert away.target == self.redirect_uri.partition("?")[0], away
        answer = away.parameters
        for name, [value] in parse_qs(urlsplit(self.redirect_uri).query).items():
            assert answer.pop(name) == value, away
        assert answer.pop("state", None) == request.parameters.get("state"), away
        assert answer.pop("iss") == self.issuer, away
        return answer

    def redeem(self, request: AuthorizationRequest, code: str, **changes: str) -> httpx.Response:
        form = {"grant_type": "authorization_code", "code": code, "redirect_uri": self.redirect_uri}
        if request.verifier:
            form["code_verifier"] = request.verifier
        return self.post("/token", form | changes)

    def tokens(self, request: AuthorizationRequest, away: Away, **changes: str) -> TokenResponse:
        response = self.redeem(request, self.code(request, away), **changes)
        return self.checked(response, request.parameters.get("nonce"))

    def refresh(self, token: str, **changes: str) -> httpx.Response:
        return self.post("/token", {"grant_type": "refresh_token", "refresh_token": token, **changes})

    def checked(self, response: httpx.Response, nonce: str | None = None) -> TokenResponse:
        """A successful token response and its ID token, checked (OpenID Connect Core §3.1.3.3 and §3.1.3.7)."""
        tokens = self._checked(response)
        assert tokens.claims.get("nonce") == nonce
        return tokens

    def refreshed(self, first: TokenResponse, response: httpx.Response) -> TokenResponse:
        """The same for a refresh: the ID token is about the same login (§12.2)."""
        tokens = self._checked(response)
        for claim in ("iss", "sub", "aud", "auth_time"):
            assert tokens.claims[claim] == first.claims[claim]
        assert tokens.claims.get("nonce") in (None, first.claims.get("nonce"))
        return tokens

    def _checked(self, response: httpx.Response) -> TokenResponse:
        assert response.status_code == 200, response.text
        assert response.headers["Cache-Control"] == "no-store"
        body = response.json()
        assert body["token_type"] == self.token_type
        assert isinstance(body["expires_in"], int)
        if "id_token" not in body:
            return TokenResponse(body, {}, {})
        header, claims = self._id_token(body["id_token"])
        if "at_hash" in claims:
            assert claims["at_hash"] == _half_hash(body["access_token"])
        assert "c_hash" not in claims
        return TokenResponse(body, header, claims)

    def _id_token(self, token: str) -> tuple[dict[str, Any], dict[str, Any]]:
        header = extract_compact(token.encode()).headers()
        published = httpx.get(self.metadata()["jwks_uri"]).json()["keys"]
        assert header["kid"] in [key["kid"] for key in published]
        assert header["alg"] in self.metadata()["id_token_signing_alg_values_supported"]
        decoded = jwt.decode(token, KeySet.import_key_set({"keys": published}), algorithms=list(ID_TOKEN_ALGORITHMS))
        jwt.JWTClaimsRegistry(
            now=lambda: int(self.clock()),
            leeway=0,
            iss={"essential": True, "value": self.issuer},
            aud={"essential": True, "value": self.client_id},
            sub={"essential": True},
            exp={"essential": True},
            iat={"essential": True},
        ).validate(decoded.claims)
        assert abs(decoded.claims["iat"] - self.clock()) < 60
        return header, decoded.claims

    def userinfo(self, token: str, method: str = "GET") -> httpx.Response:
        return httpx.request(method, self.metadata()["userinfo_endpoint"], headers={"Authorization": f"Bearer {token}"})

    def metadata(self) -> dict[str, Any]:
        return httpx.get(f"{self.issuer}/.well-known/openid-configuration").raise_for_status().json()  # type: ignore[no-any-return]

    def post(self, path: str, form: dict[str, str]) -> httpx.Response:
        """A request with the client's authentication."""
        if self.key is not None:
            form = {**form, "client_assertion_type": JWT_BEARER, "client_assertion": self._assertion(self.key)}
        elif not self.secret:
            form = {**form, "client_id": self.client_id}
        elif self.method == "client_secret_post":
            form = {**form, "client_id": self.client_id, "client_secret": self.secret}
        else:
            return httpx.post(f"{self.issuer}{path}", data=form, auth=(self.client_id, self.secret))
        return httpx.post(f"{self.issuer}{path}", data=form)

    def _assertion(self, key: Key) -> str:
        now = int(time.time())
        times = {"iat": now, "exp": now + 60, "jti": f"assertion-{next(_SERIAL)}"}
        claims = {"iss": self.client_id, "sub": self.client_id, "aud": self.issuer, **times}
        return jwt.encode({"alg": str(key["alg"]), "kid": key.kid}, claims, key)


def _s256(verifier: str) -> str:
    return urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()


def _half_hash(value: str) -> str:
    """`at_hash` (OpenID Connect Core §3.1.3.6) of a token response whose ID token is signed with a SHA-256."""
    return urlsafe_b64encode(hashlib.sha256(value.encode()).digest()[:16]).rstrip(b"=").decode()
