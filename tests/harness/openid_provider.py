"""An OpenID provider on loopback whose answers a test changes. None of Scopewright's code is in it.

    with OpenIDProvider() as provider:
        provider.users["ada"] = {"name": "Ada Lovelace", "groups": ["hr-staff"]}
        provider.user = "ada"                          # who logs in at the next visit; None: the user refuses
        provider.id_token = {"aud": "another-client"}  # changes of the claims; None removes a claim
        provider.replies["userinfo"] = reply_slowly(30)

Without such changes it is strict: it checks the client's authentication, PKCE, the redirect URI and that codes are used
once. A browser visits it over HTTP, or a test calls `visit` with the URL.
"""

import base64
import hashlib
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Final, Self
from urllib.parse import parse_qsl, unquote_plus, urlencode, urlsplit

from joserfc import jws
from joserfc.jwk import ECKey, KeyParameters, RSAKey

from tests.harness.openid_replies import Behaviour, Received, Reply, reply_json, to_json
from tests.harness.scripted_server import ScriptedServer

CLIENT_ID: Final = "scopewright"
CLIENT_SECRET: Final = "s3cret: of/scopewright+%"
"""With characters that HTTP Basic needs encoded (RFC 6749 §2.3.1)."""

Sign = Callable[[dict[str, Any], dict[str, Any]], str]
"""Header and claims to a token."""


@dataclass
class Grant:
    """What a user has granted at one visit."""

    user: str
    parameters: Mapping[str, str]
    """Of the authorization request."""
    auth_time: int
    is_redeemed: bool = False


@dataclass
class Tokens:
    """Grants by code, access token and refresh token."""

    codes: dict[str, Grant] = field(default_factory=dict)
    access: dict[str, Grant] = field(default_factory=dict)
    refresh: dict[str, Grant] = field(default_factory=dict)


class OpenIDProvider:
    """A context manager. `path` is that of the issuer, such as `/realms/hr`. With `certificate`, a PEM certificate and
    its key, it serves https.
    """

    def __init__(
        self,
        *,
        algorithm: str = "ES256",
        path: str = "",
        host: str = "127.0.0.1",
        certificate: tuple[bytes, bytes] | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.algorithm = algorithm
        self.clock = clock
        self.client_id = CLIENT_ID
        self.client_secret = CLIENT_SECRET
        """Empty: the client is public."""
        self.users: dict[str, dict[str, Any]] = {"ada": {"name": "Ada Lovelace", "preferred_username": "ada"}}
        """Claims by `sub`."""
        self.user: str | None = "ada"
        self.auth_time: int | None = None
        """Of the next logins; None: the time of the visit."""
        self.with_refresh_token = True
        self.claims_in_id_token = True
        """Whether the user's claims are in ID tokens; they are at userinfo always."""
        self.metadata: dict[str, Any] = {}
        self.response: dict[str, Any] = {}
        """Changes of the authorization response."""
        self.token: dict[str, Any] = {}
        """Changes of the token response."""
        self.id_token: dict[str, Any] = {}
        self.header: dict[str, Any] = {}
        """Changes of the ID token's header."""
        self.userinfo: dict[str, Any] = {}
        self.sign: Sign = self.signed
        self.replies: dict[str, Behaviour] = {}
        """What answers instead of an endpoint: `metadata`, `jwks`, `authorize`, `token`, `userinfo`."""
        self.requests: list[Received] = []
        self.keys: list[RSAKey | ECKey] = []
        self.tokens = Tokens()
        self.rotate()
        self._path = path
        self._server = ScriptedServer(self.respond, host, certificate)
        self.origin = self._server.origin
        self.issuer = self.origin + path

    def __enter__(self) -> Self:
        self._server.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._server.__exit__(kind, error, at)

    def visit(self, url: str) -> str:
        """Log `user` in as a browser at the authorization URL does. Return where the browser is sent then."""
        return self.respond(Received("GET", urlsplit(url).path, dict(parse_qsl(urlsplit(url).query)), {})).headers[
            "Location"
        ]

    def answer(self, url: str) -> dict[str, str]:
        """Return the parameters of the authorization response."""
        return dict(parse_qsl(urlsplit(self.visit(url)).query))

    @property
    def jwks(self) -> dict[str, Any]:
        """The keys that are published."""
        return {"keys": [key.as_dict(private=False) for key in self.keys]}

    def rotate(self, *, keep: bool = False) -> None:
        """Sign with a new key. Without `keep`, the earlier ones are not published any more."""
        kid = f"key-{secrets.token_hex(4)}"
        parameters: KeyParameters = {"kid": kid, "alg": self.algorithm, "use": "sig"}
        new: RSAKey | ECKey
        if self.algorithm.startswith("ES"):
            new = ECKey.generate_key("P-256", parameters, private=True)
        else:
            new = RSAKey.generate_key(2048, parameters, private=True)
        self.keys = [new, *(self.keys if keep else [])]

    def end_grants(self) -> None:
        """Every refresh token and access token is invalid from now on."""
        self.tokens = Tokens()

    def count(self, endpoint: str) -> int:
        """Return the number of requests that an endpoint has received."""
        return sum(self._endpoint(request.path) == endpoint for request in self.requests)

    def last(self, endpoint: str) -> Received:
        return next(request for request in reversed(self.requests) if self._endpoint(request.path) == endpoint)

    def signed(self, header: dict[str, Any], claims: dict[str, Any]) -> str:
        return jws.serialize_compact(header, to_json(claims), self.keys[0], algorithms=[header["alg"]])

    def respond(self, request: Received) -> Reply:
        self.requests.append(request)
        endpoint = self._endpoint(request.path)
        behaviour = self.replies.get(endpoint) or self._behaviours().get(endpoint)
        return behaviour(request) if behaviour is not None else Reply(404)

    def _behaviours(self) -> dict[str, Behaviour]:
        return {
            "metadata": self._metadata,
            "jwks": self._jwks,
            "authorize": self._authorize,
            "token": self._token,
            "userinfo": self._userinfo,
        }

    def _endpoint(self, path: str) -> str:
        below = path.removeprefix(self._path)
        return {"/.well-known/openid-configuration": "metadata"}.get(below, below.strip("/"))

    def _metadata(self, request: Received) -> Reply:
        document = {
            "issuer": self.issuer,
            "authorization_endpoint": f"{self.issuer}/authorize",
            "token_endpoint": f"{self.issuer}/token",
            "userinfo_endpoint": f"{self.issuer}/userinfo",
            "end_session_endpoint": f"{self.issuer}/logout",
            "jwks_uri": f"{self.issuer}/jwks",
            "response_types_supported": ["code"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": [self.algorithm],
            "code_challenge_methods_supported": ["S256"],
            "token_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post", "none"],
            "authorization_response_iss_parameter_supported": True,
        }
        return reply_json(_changed(document, self.metadata))

    def _jwks(self, request: Received) -> Reply:
        return reply_json(self.jwks)

    def _authorize(self, request: Received) -> Reply:
        asked = request.parameters
        assert asked["client_id"] == self.client_id
        assert asked["response_type"] == "code"
        answer: dict[str, Any] = {"state": asked["state"], "iss": self.issuer}
        if self.user is None:
            answer["error"] = "access_denied"
        else:
            code = answer["code"] = secrets.token_urlsafe(16)
            auth_time = int(self.clock()) if self.auth_time is None else self.auth_time
            self.tokens.codes[code] = Grant(self.user, asked, auth_time)
        return Reply(302, headers={"Location": f"{asked['redirect_uri']}?{urlencode(_changed(answer, self.response))}"})

    def _token(self, request: Received) -> Reply:
        if not self._authenticates(request):
            return reply_json({"error": "invalid_client"}, 401)
        form = request.parameters
        if form.get("grant_type") == "authorization_code":
            grant = self.tokens.codes.get(form.get("code", ""))
            if grant is None or grant.is_redeemed or not _proves(grant, form):
                return reply_json({"error": "invalid_grant"}, 400)
            grant.is_redeemed = True
            nonce = grant.parameters.get("nonce")
        else:
            grant = self.tokens.refresh.pop(form.get("refresh_token", ""), None)
            nonce = None
            if grant is None or form.get("grant_type") != "refresh_token":
                return reply_json({"error": "invalid_grant"}, 400)
        access_token = secrets.token_urlsafe(16)
        self.tokens.access[access_token] = grant
        body = {
            "access_token": access_token,
            "token_type": "Bearer",
            "expires_in": 300,
            "id_token": self._id_token(grant, nonce, access_token),
        }
        if self.with_refresh_token:
            body["refresh_token"] = secrets.token_urlsafe(16)
            self.tokens.refresh[str(body["refresh_token"])] = grant
        return reply_json(_changed(body, self.token))

    def _authenticates(self, request: Received) -> bool:
        kind, _, encoded = request.headers.get("authorization", "").partition(" ")
        if kind == "Basic":
            client_id, _, secret = base64.b64decode(encoded).decode().partition(":")
            presented = unquote_plus(client_id), unquote_plus(secret)
        else:
            presented = request.parameters.get("client_id", ""), request.parameters.get("client_secret", "")
        return presented == (self.client_id, self.client_secret)

    def _id_token(self, grant: Grant, nonce: str | None, access_token: str) -> str:
        now = int(self.clock())
        claims: dict[str, Any] = {
            "iss": self.issuer,
            "sub": grant.user,
            "aud": self.client_id,
            "iat": now,
            "exp": now + 300,
            "auth_time": grant.auth_time,
            "at_hash": base64.urlsafe_b64encode(hashlib.sha256(access_token.encode()).digest()[:16]).decode()[:22],
        }
        if nonce is not None:
            claims["nonce"] = nonce
        if self.claims_in_id_token:
            claims |= self.users[grant.user]
        header = _changed({"alg": self.algorithm, "kid": self.keys[0].kid}, self.header)
        return self.sign(header, _changed(claims, self.id_token))

    def _userinfo(self, request: Received) -> Reply:
        grant = self.tokens.access.get(request.headers.get("authorization", "").removeprefix("Bearer "))
        if grant is None:
            return Reply(401, headers={"WWW-Authenticate": 'Bearer error="invalid_token"'})
        return reply_json(_changed({"sub": grant.user, **self.users[grant.user]}, self.userinfo))


def _changed(original: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in {**original, **changes}.items() if value is not None}


def _proves(grant: Grant, form: Mapping[str, str]) -> bool:
    """PKCE and the redirect URI (RFC 7636 §4.6, RFC 6749 §4.1.3)."""
    digest = hashlib.sha256(form.get("code_verifier", "").encode()).digest()
    challenge = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
    asked = grant.parameters
    return challenge == asked.get("code_challenge") and form.get("redirect_uri") == asked.get("redirect_uri")
