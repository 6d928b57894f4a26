"""The entry point of the package: `FakeIssuer().token("payroll.read")`."""

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, TypedDict, Unpack

import httpx

from scopewright.client import ClientCredentials, ClientOptions, Clock
from scopewright.testing.endpoints import TEST_CLIENT, FakeEndpoints
from scopewright.testing.server import serving
from scopewright.testing.tokens import LIFETIME_SECONDS, FakeTokens
from scopewright.verifier import Verifier
from scopewright.verifier.options import VerifierOptions

TokenEndpointError = Literal[
    "invalid_client", "invalid_request", "invalid_scope", "invalid_target", "server_error", "unauthorized_client"
]


class TokenOptions(TypedDict, total=False):
    """The options of `FakeIssuer.token`."""

    client: str
    subject: str | None
    roles: Collection[str]
    sid: str | None
    audience: str | Collection[str] | None
    expires_in: float
    on_behalf_of: str | None
    claims: Mapping[str, Any] | None
    header: Mapping[str, Any] | None


class FakeIssuer:
    """An issuer for tests. Not for production: it gives any client a token for anything.

    Its tokens, metadata and errors are those of the real issuer. Its keys are generated here and are in no JWKS of a
    real issuer, so a service accepts its tokens only if it uses `verifier()` or trusts the URL of `serve()`.

    `verifier()` and `credentials()` work without a network, in sync and in async code. They keep what they fetched, as
    in production, so make new ones for each test: that takes a millisecond.
    """

    def __init__(
        self,
        issuer: str = "https://issuer.test",
        audience: str = "https://api.test",
        *,
        algorithm: str = "ES256",
    ) -> None:
        if issuer.endswith("/"):
            raise ValueError("issuer must not have a trailing slash")
        self._tokens = FakeTokens(issuer, audience, algorithm)
        self._endpoints = FakeEndpoints(self._tokens)
        self._http = httpx.Client(transport=httpx.MockTransport(self._endpoints.answer), trust_env=False)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.issuer!r}, {self.audience!r})"

    @property
    def issuer(self) -> str:
        """The URL in `iss`. Within `serve()`, that of the server."""
        return self._tokens.issuer

    @property
    def audience(self) -> str:
        """The default audience of tokens and of `verifier()`."""
        return self._tokens.audience

    def token(
        self,
        *scopes: str,
        client: str = TEST_CLIENT,
        subject: str | None = None,
        roles: Collection[str] = (),
        sid: str | None = None,
        audience: str | Collection[str] | None = None,
        expires_in: float = LIFETIME_SECONDS,
        on_behalf_of: str | None = None,
        claims: Mapping[str, Any] | None = None,
        header: Mapping[str, Any] | None = None,
    ) -> str:
        """A signed access token. `subject` is by default the client.

        With `sid` it is the token of a user, `subject`, who has just logged in to the client: `sid` names the session.
        `expires_in` is in seconds. Verifiers tolerate a clock difference of 60 s, so an expired token has -60 or less.
        `on_behalf_of` is the token of a caller: the new one is what the client gets for it in a token exchange (RFC
        8693), with the subject of the caller and the client in `act`. Raises ValueError if it is not valid.
        `claims` and `header` replace or add members; None removes one. The signature is valid for any header.
        """
        for scope in scopes:
            if not isinstance(scope, str):
                given = type(scope).__name__
                raise TypeError(f'each scope is an argument: token("payroll.read", "payroll.write"), and not a {given}')
        return self._tokens.make(
            scopes,
            client=client,
            subject=subject,
            roles=roles,
            sid=sid,
            audience=audience,
            expires_in=expires_in,
            on_behalf_of=on_behalf_of,
            claims=claims,
            header=header,
        )

    def headers(self, *scopes: str, **options: Unpack[TokenOptions]) -> dict[str, str]:
        """The headers of a request with a token of these arguments."""
        return {"Authorization": f"Bearer {self.token(*scopes, **options)}"}

    def verifier(
        self, *, audience: str | Collection[str] | None = None, **options: Unpack[VerifierOptions]
    ) -> Verifier:
        """A verifier of this issuer's tokens, without a network."""
        defaults = VerifierOptions(http=self._http)
        return Verifier(self.issuer, audience or self.audience, **(defaults | options))

    def credentials(self, *, client: str = TEST_CLIENT, **options: Unpack[ClientOptions]) -> ClientCredentials:
        """Credentials that get tokens of this issuer, without a network.

        `resource` is by default the audience of the issuer. A client gets the scopes that it asks for. After a failure
        it tries again at once.
        """
        defaults = ClientOptions(resource=self.audience, http=self._http, clock=_ClockWithoutWaits())
        return ClientCredentials(
            client_id=client,
            client_secret=self.client_secret(client),
            issuer=self.issuer,
            token_endpoint=f"{self.issuer}/token",
            **(defaults | options),
        )

    def client_secret(self, client: str = TEST_CLIENT) -> str:
        """The secret with which `client` authenticates. Every client exists."""
        return self._endpoints.client_secret(client)

    def write_secret(
        self, directory: Path, *, client: str = TEST_CLIENT, scope: str | None = None, audience: str | None = None
    ) -> Path:
        """Write the files of a mounted Secret, for a client of a served issuer. Returns the directory.

        `audience` is by default that of the issuer. Without `scope`, the client has to ask for its scopes.
        """
        entries = {
            "type": "oauth2",
            "provider": "scopewright",
            "client_id": client,
            "client_secret": self.client_secret(client),
            "issuer": self.issuer,
            "token_endpoint": f"{self.issuer}/token",
            "jwks_uri": f"{self.issuer}/jwks.json",
            "audience": audience or self.audience,
        } | ({"scope": scope} if scope else {})
        directory.mkdir(parents=True, exist_ok=True)
        for name, text in entries.items():
            (directory / name).write_text(text)
        return directory

    @contextmanager
    def serve(self, port: int = 0) -> Iterator[str]:
        """Serve the issuer on loopback, for services in any language. The value of the context is its URL.

        Within the context the URL is also `issuer`: tokens, Secrets and verifiers that are made there have it. Without
        `port`, a free one is used.
        """
        offline = self._tokens.issuer
        try:
            with serving(self._endpoints.answer, port, self._prepare) as url:
                yield url
        finally:
            self._tokens.issuer = offline

    def _prepare(self, url: str) -> None:
        """Called when the URL is known and the port is not open yet."""
        self._tokens.issuer = url

    def rotate(self) -> None:
        """Sign with a new key. The former keys stay in the JWKS. A verifier looks for a new key once in 30 s."""
        self._tokens.rotate()

    def revoke(self, token: str) -> None:
        """Revoke a token. A verifier with `revocations=True` refuses it from its next poll on, a new one at once."""
        self._tokens.revoke(token)

    def end_session(self, token: str) -> None:
        """End the session of a user's token, as a logout does: all tokens with its `sid` are revoked."""
        self._tokens.end_session(token)

    @contextmanager
    def unavailable(self) -> Iterator[None]:
        """Within the context, every endpoint answers 503. A new verifier then raises `KeysUnavailable`; one that has
        the keys still verifies.
        """
        self._endpoints.is_unavailable = True
        try:
            yield
        finally:
            self._endpoints.is_unavailable = False

    @contextmanager
    def refusing(self, error: TokenEndpointError) -> Iterator[None]:
        """Within the context, the token endpoint answers with this error, such as `invalid_scope`."""
        self._endpoints.refused = error
        try:
            yield
        finally:
            self._endpoints.refused = None


class _ClockWithoutWaits(Clock):
    def wait(self, seconds: float) -> None:
        """Returns at once."""

    async def wait_async(self, seconds: float) -> None:
        """Returns at once."""
