"""Client credentials (RFC 6749 §4.4) and token exchange (RFC 8693), step by step.

No I/O: requests and waits out, pages in.
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
from scopewright.client.errors import TokenError, printable
from scopewright.client.mounted import MountedCredentials
from scopewright.client.token import AccessToken, invalid, token_from
from scopewright.origins import Hosts, advice, is_secure, origin
from scopewright.singleflight import HttpResponse

TIMEOUT = 5.0  # seconds, for one step of one request
MAX_BYTES = 256 * 1024
MAX_WAIT = 10.0  # seconds in all that one fetch waits because the endpoint says Retry-After
_ATTEMPTS = 4
_NONCES = 2  # that one fetch takes from refusals: the key behind them may be replaced between the first and its use

CLIENT_CREDENTIALS: Final = "client_credentials"
TOKEN_EXCHANGE: Final = "urn:ietf:params:oauth:grant-type:token-exchange"  # noqa: S105  # a grant type
ACCESS_TOKEN: Final = "urn:ietf:params:oauth:token-type:access_token"  # noqa: S105  # a token type


@dataclass(frozen=True, slots=True)
class TokenParameters:
    """What a token is asked for; None means: as the Secret says. `subject_token`: that of a caller to act for."""

    resource: str | None = None
    scope: str | None = None
    subject_token: str | None = field(default=None, repr=False)

    @classmethod
    def from_arguments(
        cls, resource: str | None, scope: str | Collection[str] | None, subject_token: str | None
    ) -> Self:
        """Several scopes may be names, or one space-delimited string. Raises TypeError for anything else."""
        if resource is not None and not isinstance(resource, str):
            raise TypeError(f"resource= takes the audience of one API, as a string, and not {type(resource).__name__}")
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
    """A step of the flow: nothing is sent for so many seconds."""

    seconds: float


Granted = tuple[AccessToken, MountedCredentials]  # the credentials are those that got it
Flow = Generator[httpx.Request | Wait, HttpResponse | None, Granted]
Read = Callable[[bool], MountedCredentials]


def fetch_token(
    read: Read,
    ask: TokenParameters,
    now: Callable[[], float],
    jitter: Callable[[], float],
    prover: Prover | None = None,
    allow_http: Hosts = frozenset(),
) -> Flow:
    """A token, or `TokenError`. `read(True)` looks at the Secret afresh; `jitter()` is in [0, 1).

    With a `prover` the token is bound to its key (RFC 9449 §5). `allow_http` are hosts of an issuer without TLS.
    """
    credentials = read(False)
    waited = 0.0
    reread, renewed = False, 0
    for attempt in range(1, _ATTEMPTS + 1):
        wanted = ask.of(credentials)
        asked_at = now()
        who = authenticate(credentials, asked_at)
        request = token_request(credentials, wanted, who, allow_http)
        if prover is not None:
            request.headers["DPoP"] = prover.proof(request.method, request.url, asked_at)
        page = yield request
        assert page is not None  # noqa: S101  # a request is answered with a page
        nonce = prover is not None and prover.heard(request.url, page.headers)
        if page.status == 200:
            return token_from(page.body, asked_at, wanted.scope, "DPoP" if prover else "Bearer"), credentials
        refusal = _refusal(page, credentials, wanted, who, now())
        if refusal.error == "invalid_client" and not reread and attempt < _ATTEMPTS:
            # Rotated, and this process had not looked yet. The same value again would only be refused again.
            reread, used = True, credentials
            credentials = read(True)
            if credentials != used:
                continue
        if refusal.error == "use_dpop_nonce" and nonce and renewed < _NONCES and attempt < _ATTEMPTS:
            renewed += 1
            continue
        if refusal.retry_after is None or attempt == _ATTEMPTS:
            raise refusal
        pause = refusal.retry_after * (1 + 0.2 * jitter())
        if waited + pause > MAX_WAIT:
            raise refusal
        waited += pause
        yield Wait(pause)
    raise AssertionError("the last attempt returns or raises")


def token_request(
    credentials: MountedCredentials, ask: TokenParameters, who: ClientAuthentication, allow_http: Hosts = frozenset()
) -> httpx.Request:
    """With `resource` of RFC 8707."""
    url = _endpoint(credentials, allow_http)
    form = {"grant_type": ask.grant_type, "resource": ask.resource, "scope": ask.scope, **who.form}
    if ask.subject_token:
        form |= {"subject_token": ask.subject_token, "subject_token_type": ACCESS_TOKEN}
    return httpx.Request(
        "POST",
        url,
        headers={
            **who.headers,
            "Content-Type": "application/x-www-form-urlencoded",
            "Accept": "application/json",
            "User-Agent": "scopewright-client",
        },
        content=urlencode({name: value for name, value in form.items() if value}),
        extensions={"timeout": httpx.Timeout(TIMEOUT).as_dict()},
    )


def _endpoint(credentials: MountedCredentials, allow_http: Hosts) -> httpx.URL:
    """What proves who asks goes to the issuer, over HTTPS, or HTTP on loopback and to hosts of `allow_http`."""
    endpoint, issuer = _url("token_endpoint", credentials.token_endpoint), _url("issuer", credentials.issuer)
    if not is_secure(endpoint, allow_http):
        said = f"the token_endpoint must be https and is {endpoint}: {advice(endpoint, allow_http)}"
        raise TokenError("invalid_request", printable(said))
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
        raise TokenError(
            "invalid_request", printable(f"the {entry} must be https, a URL without a user, and is {text}")
        )
    return url


def _refusal(
    page: HttpResponse, credentials: MountedCredentials, ask: TokenParameters, who: ClientAuthentication, now: float
) -> TokenError:
    endpoint = credentials.token_endpoint
    if page.status is None:
        why = printable(page.body.decode("utf-8", "replace"), *who.hidden)
        return TokenError("temporarily_unavailable", f"no answer from {endpoint}: {why}", retry_after=1.0)
    if page.status in (429, 502, 503, 504):
        after = _retry_after(page.headers, now)
        description = f"{endpoint} answered {page.status}; try again in {after:.0f} s"
        return TokenError("temporarily_unavailable", description, page.status, retry_after=after)
    error, said = _said(page.body)
    if not error:
        raise invalid(f"has status {page.status} and no OAuth error code", page.status)
    hidden = (*who.hidden, ask.subject_token or "")
    theirs = f" (the issuer says: {printable(said, *hidden)})" if said else ""
    advice = _advice_on(error, said, credentials, ask)
    return TokenError(printable(error, *hidden), advice + theirs, page.status)


def _advice_on(error: str, said: str, credentials: MountedCredentials, ask: TokenParameters) -> str:
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
            return f"{client} may not have all of: {ask.scope or 'no scope'}; see its condition AccessGranted"
        case "invalid_target" if ask.resource is None:
            return (
                f"{client} named no resource: pass resource= with the audience of the API to call (status.access lists "
                "them); if it asks for one API only, see its condition AccessGranted"
            )
        case "invalid_target":
            return f"{client} may not ask for {ask.resource or 'no resource'}; see its condition AccessGranted"
        case "unauthorized_client" | "unsupported_grant_type":
            return f"{client} may not use {ask.grant_type}; add it to spec.grantTypes"
        case "invalid_dpop_proof" | "use_dpop_nonce":
            return f"the issuer refuses the DPoP proof of {client}; are the clocks of both sides right?"
        case "invalid_request" if "DPoP proof" in said:
            return f"the API takes only tokens that are bound to a key (DPoP): pass dpop=True for {client}"
        case "invalid_request" if ask.subject_token:
            return (
                f"the issuer does not exchange the caller's token; is {client} in servedBy of the API it was sent to?"
            )
        case _:
            return f"the issuer refuses the token request of {client}"


def _said(body: bytes) -> tuple[str, str]:
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError):
        return "", ""
    if not isinstance(answer, dict):
        return "", ""
    error, description = answer.get("error"), answer.get("error_description")
    return (error if isinstance(error, str) else ""), (description if isinstance(description, str) else "")


def _retry_after(headers: httpx.Headers, now: float) -> float:
    """Seconds from a number or a date (RFC 9110 §10.2.3); at least half a second, one where nothing is said."""
    said = headers.get("retry-after", "1").strip()
    if said.isascii() and said.isdigit():
        return max(0.5, float(said[:9]))
    try:
        return max(0.5, email.utils.parsedate_to_datetime(said).timestamp() - now)
    except (ValueError, TypeError, OverflowError):
        return 1.0
