"""An authenticated request to an endpoint of the issuer, step by step: repeated after a rotation and while it is busy.

No I/O: the generator yields requests and waits, and receives responses.
"""

from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from typing import Final, TypeVar
from urllib.parse import urlencode

import httpx

from scopewright.client.authentication import ClientAuthentication, authenticate
from scopewright.client.credentials import CredentialSource, MountedCredentials
from scopewright.client.dpop import Prover
from scopewright.client.endpoints import USER_AGENT, Endpoints
from scopewright.client.errors import TokenError
from scopewright.client.option_names import OptionNames
from scopewright.client.refusals import Advice, refusal, temporary
from scopewright.http_flow import HttpResponse

TIMEOUT_SECONDS: Final = 5.0  # for one step of one request
MAX_BYTES: Final = 256 * 1024
MAX_WAIT_SECONDS: Final = 10.0  # in total, that one flow waits for Retry-After of the endpoint
_MAX_ATTEMPTS: Final = 4
_MAX_NONCES: Final = 2  # retries with a new nonce: the issuer's key may be replaced before the first is used

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Wait:
    """A step of the flow: wait for `seconds` before the next request."""

    seconds: float


Step = httpx.Request | Wait
Flow = Generator[Step, HttpResponse, T]  # a Wait is answered with None


@dataclass(frozen=True, slots=True)
class IssuerContext:
    """What all requests to the issuer need. `now` returns seconds since 1970, and `jitter` a number in [0, 1).

    `names` are those of the options, for errors.
    """

    source: CredentialSource
    endpoints: Endpoints
    now: Callable[[], float]
    jitter: Callable[[], float]
    names: OptionNames


@dataclass(frozen=True, slots=True)
class EndpointRequest:
    """A form for one endpoint, such as `token_endpoint`. Fields that are None are omitted. `hidden` are the secrets in
    it. With a `prover`, the request has a DPoP proof (RFC 9449 §5).
    """

    endpoint: str
    form: Callable[[MountedCredentials], Mapping[str, str | None]]
    advice: Advice
    hidden: tuple[str, ...] = field(default=(), repr=False)
    prover: Prover | None = None


@dataclass(frozen=True, slots=True)
class EndpointAnswer:
    """The body of an answer with status 200, and the credentials and the time of its request."""

    body: bytes = field(repr=False)
    credentials: MountedCredentials
    requested_at: float


@dataclass(frozen=True, slots=True)
class _Failure:
    error: TokenError
    has_nonce: bool = False


def post(request: EndpointRequest, context: IssuerContext) -> Flow[EndpointAnswer]:
    """Raises `TokenError`."""
    credentials = context.source.read()
    waited = 0.0
    reread, renewed = False, 0
    for attempt in range(1, _MAX_ATTEMPTS + 1):
        answer = yield from _attempt(request, credentials, context)
        if isinstance(answer, EndpointAnswer):
            return answer
        error = answer.error
        if error.error == "invalid_client" and not reread and attempt < _MAX_ATTEMPTS:
            # The Secret may have been rotated since the last read. The same value would be refused again.
            reread, used = True, credentials
            credentials = context.source.read(now=True)
            if credentials != used:
                continue
        if error.error == "use_dpop_nonce" and answer.has_nonce and renewed < _MAX_NONCES and attempt < _MAX_ATTEMPTS:
            renewed += 1
            continue
        if error.retry_after is None or attempt == _MAX_ATTEMPTS:
            raise error
        pause = error.retry_after * (1 + 0.2 * context.jitter())
        if waited + pause > MAX_WAIT_SECONDS:
            raise error
        waited += pause
        yield Wait(pause)
    raise AssertionError("the last attempt returns or raises")


def _attempt(
    request: EndpointRequest, credentials: MountedCredentials, context: IssuerContext
) -> Flow[EndpointAnswer | _Failure]:
    try:
        url = yield from context.endpoints.locate(request.endpoint, credentials)
    except TokenError as not_located:
        return _Failure(not_located)
    requested_at = context.now()
    authentication = authenticate(credentials, requested_at)
    sent = form_request(url, request.form(credentials), authentication)
    if request.prover is not None:
        sent.headers["DPoP"] = request.prover.proof(sent.method, url, requested_at)
    response = yield sent
    has_nonce = request.prover is not None and request.prover.keep_nonce(url, response.headers.get("dpop-nonce", ""))
    if response.status == 200:
        return EndpointAnswer(response.body, credentials, requested_at)
    hidden = (*authentication.hidden, *request.hidden)
    error = temporary(response, url, context.now(), hidden) or refusal(
        response, request.endpoint, credentials, request.advice, hidden
    )
    if error.error == "invalid_response":
        context.endpoints.forget()
    return _Failure(error, has_nonce)


def form_request(url: httpx.URL, form: Mapping[str, str | None], authentication: ClientAuthentication) -> httpx.Request:
    return httpx.Request(
        "POST",
        url,
        headers={
            **authentication.headers,
            "Content-Type": "application/x-www-form-urlencoded",
            "Accept": "application/json",
            "Accept-Encoding": "identity",
            "User-Agent": USER_AGENT,
        },
        content=urlencode({name: value for name, value in {**form, **authentication.form}.items() if value}),
        extensions={"timeout": httpx.Timeout(TIMEOUT_SECONDS).as_dict(), "max_bytes": MAX_BYTES},
    )
