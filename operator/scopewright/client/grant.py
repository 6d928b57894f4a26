"""Client credentials (RFC 6749 §4.4) and token exchange (RFC 8693), step by step.

No I/O: the generator yields requests and waits, and receives responses.
"""

import email.utils
import json
from collections.abc import Callable, Collection, Generator
from dataclasses import dataclass, field
from typing import Final, Self
from urllib.parse import urlencode

import httpx

from scopewright.client.authentication import ClientAuthentication, authenticate
from scopewright.client.dpop import Prover
from scopewright.client.errors import TokenError, invalid_request, printable
from scopewright.client.mounted import MountedCredentials
from scopewright.client.token import AccessToken, invalid, token_from
from scopewright.http_flow import HttpResponse
from scopewright.origins import Hosts, advice, is_secure, origin

TIMEOUT_SECONDS = 5.0  # for one step of one request
MAX_BYTES = 256 * 1024
MAX_WAIT_SECONDS = 10.0  # in total, that one fetch waits for Retry-After of the endpoint
_MAX_ATTEMPTS = 4
_MAX_NONCES = 2  # retries of one fetch with a new nonce: the issuer's key may be replaced before the first is used

CLIENT_CREDENTIALS: Final = "client_credentials"
TOKEN_EXCHANGE: Final = "urn:ietf:params:oauth:grant-type:token-exchange"  # noqa: S105  # a grant type
ACCESS_TOKEN: Final = "urn:ietf:params:oauth:token-type:access_token"  # noqa: S105  # a token type


@dataclass(frozen=True, slots=True)
class TokenParameters:
    """The parameters of a token request. None: as in the Secret. `subject_token` is that of the caller to act for."""

    resource: str | None = None
    scope: str | None = None
    subject_token: str | None = field(default=None, repr=False)

    @classmethod
    def from_arguments(
        cls, resource: str | None, scope: str | Collection[str] | None, subject_token: str | None
    ) -> Self:
        """Several scopes may be names, or one space-delimited string. Raises TypeError for anything else."""
        if resource is not None and not isinstance(resource, str):
            raise TypeError(f"resource= takes the audience of one API, as a string, not {type(resource).__name__}")
        if scope is None or isinstance(scope, str):
            return cls(resource, scope, subject_token)
        if not isinstance(scope, Collection) or not all(isinstance(name, str) for name in scope):
            raise TypeError('scope= takes a string such as "payroll.read payroll.write", or a list of such names')
        return cls(resource, " ".join(scope), subject_token)

    @property
    def grant_type(self) -> str:
        return TOKEN_EXCHANGE if self.subject_token else CLIENT_CREDENTIALS

    def of(self, credentials: MountedCredentials) -> "TokenParameters":
        resource = self.resource or credentials.audience
        same_api = self.resource in (None, credentials.audience)
        return TokenParameters(resource, self.scope or (credentials.scope if same_api else None), self.subject_token)


@dataclass(frozen=True, slots=True)
class Wait:
    """A step of the flow: wait for `seconds` before the next request."""

    seconds: float


Granted = tuple[AccessToken, MountedCredentials]  # with the credentials of the request
Flow = Generator[httpx.Request | Wait, HttpResponse | None, Granted]
Read = Callable[[bool], MountedCredentials]


def fetch_token(
    read: Read,
    parameters: TokenParameters,
    now: Callable[[], float],
    jitter: Callable[[], float],
    prover: Prover | None = None,
    allow_http: Hosts = frozenset(),
) -> Flow:
    """Fetches a token. Raises `TokenError`. `read(True)` reads the Secret again; `jitter()` is in [0, 1).

    With a `prover` the token is bound to its key (RFC 9449 §5). `allow_http` are hosts that may be called without TLS.
    """
    credentials = read(False)
    waited = 0.0
    reread, renewed = False, 0
    for attempt in range(1, _MAX_ATTEMPTS + 1):
        wanted = parameters.of(credentials)
        requested_at = now()
        authentication = authenticate(credentials, requested_at)
        request = token_request(credentials, wanted, authentication, allow_http)
        if prover is not None:
            request.headers["DPoP"] = prover.proof(request.method, request.url, requested_at)
        response = yield request
        assert response is not None  # noqa: S101  # a request is answered with a response
        nonce = prover is not None and prover.keep_nonce(request.url, response.headers.get("dpop-nonce", ""))
        if response.status == 200:
            return token_from(response.body, requested_at, wanted.scope, "DPoP" if prover else "Bearer"), credentials
        refusal = _refusal(response, credentials, wanted, now(), *authentication.hidden, wanted.subject_token or "")
        if refusal.error == "invalid_client" and not reread and attempt < _MAX_ATTEMPTS:
            # The Secret may have been rotated since the last read. The same value would be refused again.
            reread, used = True, credentials
            credentials = read(True)
            if credentials != used:
                continue
        if refusal.error == "use_dpop_nonce" and nonce and renewed < _MAX_NONCES and attempt < _MAX_ATTEMPTS:
            renewed += 1
            continue
        if refusal.retry_after is None or attempt == _MAX_ATTEMPTS:
            raise refusal
        pause = refusal.retry_after * (1 + 0.2 * jitter())
        if waited + pause > MAX_WAIT_SECONDS:
            raise refusal
        waited += pause
        yield Wait(pause)
    raise AssertionError("the last attempt returns or raises")


def token_request(
    credentials: MountedCredentials,
    parameters: TokenParameters,
    authentication: ClientAuthentication,
    allow_http: Hosts = frozenset(),
) -> httpx.Request:
    """The token request, with `resource` of RFC 8707. Raises `TokenError` for an unusable endpoint."""
    url = _endpoint(credentials, allow_http)
    form = {
        "grant_type": parameters.grant_type,
        "resource": parameters.resource,
        "scope": parameters.scope,
        **authentication.form,
    }
    if parameters.subject_token:
        form |= {"subject_token": parameters.subject_token, "subject_token_type": ACCESS_TOKEN}
    return httpx.Request(
        "POST",
        url,
        headers={
            **authentication.headers,
            "Content-Type": "application/x-www-form-urlencoded",
            "Accept": "application/json",
            "User-Agent": "scopewright-client",
        },
        content=urlencode({name: value for name, value in form.items() if value}),
        extensions={"timeout": httpx.Timeout(TIMEOUT_SECONDS).as_dict(), "max_bytes": MAX_BYTES},
    )


def _endpoint(credentials: MountedCredentials, allow_http: Hosts) -> httpx.URL:
    """The token endpoint. It must be at the issuer's origin, and use HTTPS except on loopback and for `allow_http`."""
    endpoint, issuer = _url("token_endpoint", credentials.token_endpoint), _url("issuer", credentials.issuer)
    if not is_secure(endpoint, allow_http):
        raise invalid_request(f"the token_endpoint must be https and is {endpoint}: {advice(endpoint, allow_http)}")
    if origin(endpoint) != origin(issuer):
        raise TokenError(
            "invalid_request",
            printable(
                f"the token_endpoint {endpoint} is not of the same scheme, host and port as the issuer {issuer}; "
            )
            + "no credential is sent there: mount the Secret as the operator writes it",
        )
    return endpoint


def _url(entry: str, text: str) -> httpx.URL:
    try:
        url = httpx.URL(text)
    except httpx.InvalidURL:
        url = httpx.URL("")
    if url.scheme not in ("http", "https") or not url.host or url.userinfo:
        raise invalid_request(f"the {entry} must be https, a URL without a user, and is {text}")
    return url


def _refusal(
    response: HttpResponse, credentials: MountedCredentials, parameters: TokenParameters, now: float, *hidden: str
) -> TokenError:
    endpoint = credentials.token_endpoint
    if response.status is None:
        why = printable(response.body.decode("utf-8", "replace"), *hidden)
        return TokenError("temporarily_unavailable", f"no answer from {endpoint}: {why}", retry_after=1.0)
    if response.status in (429, 502, 503, 504):
        after = _retry_after(response.headers, now)
        description = f"{endpoint} answered {response.status}; try again in {after:.0f} s"
        return TokenError("temporarily_unavailable", description, response.status, retry_after=after)
    error, issuer_text = _oauth_error(response.body)
    if not error:
        raise invalid(f"has status {response.status} and no OAuth error code", response.status)
    quoted = f" (the issuer says: {printable(issuer_text, *hidden)})" if issuer_text else ""
    advice = _advice_on(error, issuer_text, credentials, parameters)
    return TokenError(printable(error, *hidden), advice + quoted, response.status)


def _advice_on(error: str, issuer_text: str, credentials: MountedCredentials, parameters: TokenParameters) -> str:
    client = printable(f"OAuthClient {credentials.client_id}")
    match error:
        case "invalid_client" if credentials.service_account_token:
            return (
                f"the issuer refuses {client} with the ServiceAccount's token; see that the OAuthClient is Ready and "
                f"names the ServiceAccount that the Pod runs as, and that the token's audience is {credentials.issuer}"
            )
        case "invalid_client":
            return (
                f"the issuer refuses {client} with the mounted credential; a rotated Secret takes up to two minutes "
                "to reach the mount, otherwise see that the OAuthClient is Ready and not disabled"
            )
        case "invalid_scope":
            return f"{client} may not have all of: {parameters.scope or 'no scope'}; see its condition AccessGranted"
        case "invalid_target" if parameters.resource is None:
            return (
                f"{client} named no resource: pass resource= with the audience of the API to call (status.access lists "
                "them); if it asks for one API only, see its condition AccessGranted"
            )
        case "invalid_target":
            return f"{client} may not ask for {parameters.resource or 'no resource'}; see its condition AccessGranted"
        case "unauthorized_client" | "unsupported_grant_type":
            return f"{client} may not use {parameters.grant_type}; add it to spec.grantTypes"
        case "invalid_dpop_proof" | "use_dpop_nonce":
            return f"the issuer refuses the DPoP proof of {client}; are the clocks of both sides right?"
        case "invalid_request" if "DPoP proof" in issuer_text:
            return f"the API takes only tokens that are bound to a key (DPoP): pass dpop=True for {client}"
        case "invalid_request" if parameters.subject_token:
            return (
                f"the issuer does not exchange the caller's token; is {client} in servedBy of the API it was sent to?"
            )
        case _:
            return f"the issuer refuses the token request of {client}"


def _oauth_error(body: bytes) -> tuple[str, str]:
    """`error` and `error_description` of an error response (RFC 6749 §5.2); empty strings if they are missing."""
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError):
        return "", ""
    if not isinstance(answer, dict):
        return "", ""
    error, description = answer.get("error"), answer.get("error_description")
    return (error if isinstance(error, str) else ""), (description if isinstance(description, str) else "")


def _retry_after(headers: httpx.Headers, now: float) -> float:
    """Seconds from a number or a date (RFC 9110 §10.2.3); at least 0.5; 1.0 without a header."""
    value = headers.get("retry-after", "1").strip()
    if value.isascii() and value.isdigit():
        return max(0.5, float(value[:9]))
    try:
        return max(0.5, email.utils.parsedate_to_datetime(value).timestamp() - now)
    except (ValueError, TypeError, OverflowError):
        return 1.0
