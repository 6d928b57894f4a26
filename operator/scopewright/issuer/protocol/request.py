"""Parses an HTTP request into a ClientRequest, or refuses it as malformed (RFC 6749 §2.3.1, §3.2)."""

import binascii
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Final, Literal
from urllib.parse import unquote_to_bytes

from scopewright.issuer.protocol.compact_json import json_object
from scopewright.issuer.protocol.errors import invalid_client, invalid_request, no_credential
from scopewright.issuer.protocol.responses import HttpRequest
from scopewright.verifier import jws
from scopewright.verifier.jws import Signed
from scopewright.verifier.refusals import TokenRejected as MalformedToken

JWT_BEARER: Final = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
MAX_BODY_BYTES: Final = 16 * 1024
MAX_AUTHORIZATION_BYTES: Final = 4 * 1024
MAX_ASSERTION_BYTES: Final = 8 * 1024

SERVICE_ACCOUNT_PREFIX: Final = "system:serviceaccount:"

_NOT_REPEATABLE: Final = frozenset((b"authorization", b"content-type"))
FORM_TYPE: Final = "application/x-www-form-urlencoded"
_FORM_TYPE: Final = FORM_TYPE.encode()
_REPEATABLE: Final = frozenset(("resource", "audience"))
_BODY_WITHOUT_SECRETS: Final = re.compile(rb"(?:(?:grant_type|resource|scope)=[^&]{0,200}(?:&|$)){1,8}")
_FREQUENT: Final = frozenset((b"grant_type", b"resource", b"audience", b"scope", b"client_assertion_type"))
"""Parameters without a secret, of which many requests have the same values."""
_MOST_FREQUENT_BYTES: Final = 200
_CREDENTIAL_PARAMETERS: Final = ("client_id", "client_secret", "client_assertion", "client_assertion_type")

Form = Mapping[str, Sequence[str]]


@dataclass(slots=True)
class ServiceAccountSubject:
    """The ServiceAccount that is the `sub` of a token, not yet verified."""

    namespace: str
    name: str


@dataclass(slots=True)
class PresentedSecret:
    """A client id and its secret, not yet verified."""

    client_id: str
    secret: str = field(repr=False)
    method: Literal["client_secret_basic", "client_secret_post"]

    @property
    def challenge(self) -> bool:
        return self.method == "client_secret_basic"


@dataclass(slots=True)
class PresentedAssertion:
    """A client assertion, parsed and not yet verified.

    `client_id` may be empty where `service_account` is set: the authenticator then looks the client up, and sets
    `looked_up`.
    """

    client_id: str
    jwt: str = field(repr=False)
    signed: Signed = field(repr=False)
    service_account: ServiceAccountSubject | None = None
    looked_up: bool = False
    checked: Any = field(default=None, repr=False)
    """What the authenticator has found out, so that it verifies at most one signature."""
    method: Literal["private_key_jwt"] = "private_key_jwt"
    challenge: Literal[False] = False


@dataclass(slots=True)
class PresentedNothing:
    """The id of a client that sends no credential: a public one (RFC 6749 §2.1), or one that has to be refused."""

    client_id: str
    method: Literal["none"] = "none"
    challenge: Literal[True] = True


PresentedCredential = PresentedSecret | PresentedAssertion | PresentedNothing

AdmitsPublic = Callable[[Form], bool]
"""Whether a request with this form may come from a client without a credential."""


@dataclass(slots=True)
class ClientRequest:
    """A form and its proofs; the credential is in the form or in a header."""

    form: Form
    proofs: tuple[bytes, ...] = field(default=(), repr=False)
    """All values of the header DPoP."""
    peer: str = ""
    """The address of the caller."""
    body: bytes = field(default=b"", repr=False)


def parse(http: HttpRequest) -> ClientRequest:
    """Raises OAuthError."""
    check(http)
    headers = http.headers
    proofs = tuple(headers[b"dpop"].split(b",")) if b"dpop" in headers else ()
    return ClientRequest(parse_form(http.body), proofs, http.peer, http.body)


def check(http: HttpRequest) -> None:
    """Check what a request has beside its form and its credential. Raises OAuthError."""
    if http.method != "POST":
        raise invalid_request("use POST", reason="method", status=405, headers=((b"allow", b"POST"),))
    if http.repeated and not _NOT_REPEATABLE.isdisjoint(http.repeated):
        raise invalid_request("a header is repeated", reason="repeated_header")
    if len(http.body) > MAX_BODY_BYTES:
        raise invalid_request("the body is too large", reason="body_size", status=413)
    content_type = http.headers.get(b"content-type", b"")
    if content_type != _FORM_TYPE and not is_form(content_type):
        raise invalid_request("send the parameters as application/x-www-form-urlencoded", reason="content_type")
    if http.query:
        _refuse_credentials_in(http.query)


def is_form(content_type: bytes) -> bool:
    return content_type.partition(b";")[0].strip().lower() == _FORM_TYPE


def has_no_secrets(body: bytes) -> bool:
    """Whether the form is small and has only parameters that are never secrets."""
    return _BODY_WITHOUT_SECRETS.fullmatch(body) is not None


def parse_form(body: bytes) -> Form:
    """The parameters by name, without the empty ones (RFC 6749 §3.1); raises OAuthError if one is repeated."""
    form = decode_form(body)
    if repeated_parameters(form):
        raise invalid_request("a parameter is repeated", reason="repeated_parameter")
    return form


def decode_form(body: bytes) -> Form:
    """As `parse_form`, with repeated parameters. The body may be a query too."""
    form: dict[str, list[str]] = {}
    try:
        for pair in body.split(b"&"):
            key, _, value = pair.partition(b"=")
            if value:
                known = key in _FREQUENT and len(value) <= _MOST_FREQUENT_BYTES
                form.setdefault(_decode(key), []).append(_known(value) if known else _decode(value))
    except UnicodeDecodeError:
        raise invalid_request("the parameters are not UTF-8", reason="encoding") from None
    return form


def repeated_parameters(form: Form) -> frozenset[str]:
    """The names of repeated parameters, without those that may repeat: `resource` and `audience`."""
    return frozenset(name for name, values in form.items() if len(values) > 1 and name not in _REPEATABLE)


def _decode(value: bytes) -> str:
    if b"+" in value:
        value = value.replace(b"+", b" ")
    if b"%" in value:
        value = unquote_to_bytes(value)
    return value.decode()


_known = lru_cache(maxsize=512)(_decode)
"""Values that are no secrets, of which there are few: decoding `%3A` takes 3 µs."""


def _refuse_credentials_in(query: bytes) -> None:
    try:
        names = {_decode(pair.partition(b"=")[0]) for pair in query.split(b"&")}
    except UnicodeDecodeError:
        raise invalid_request("the query is not UTF-8", reason="encoding") from None
    if not names.isdisjoint(_CREDENTIAL_PARAMETERS):
        raise invalid_request(
            "credentials must not be in the URL; send them in the body or the Authorization header, "
            "and rotate the ones in the URL",
            reason="credentials_in_query",
        )


def parameter(form: Form, name: str) -> str:
    """The value of a parameter that must not repeat; empty if it is absent."""
    values = form.get(name)
    return values[0] if values else ""


def presented_credential(
    form: Form, authorization: bytes | None, *, accepts_secrets: bool, admits_public: AdmitsPublic | None = None
) -> PresentedCredential:
    """The credential of a request, of which `authorization` is that header; raises OAuthError."""
    _require_one_method(form, in_header=authorization is not None)
    client_id, secret = parameter(form, "client_id"), parameter(form, "client_secret")
    if authorization is not None:
        basic = _basic(authorization)
        _require_client(form, basic.client_id)
        return basic
    if _has_assertion(form):
        return _assertion(form, client_id)
    if not client_id or not secret:
        if client_id and accepts_secrets and admits_public is not None and admits_public(form):
            return PresentedNothing(client_id)
        raise no_credential(accepts_secrets=accepts_secrets)
    return PresentedSecret(client_id, secret, "client_secret_post")


def require_only_header(form: Form, client_id: str) -> None:
    """The form of a request whose header has the credential of this client; raises OAuthError if it has one too."""
    _require_one_method(form, in_header=True)
    _require_client(form, client_id)


def _require_one_method(form: Form, *, in_header: bool) -> None:
    if in_header + bool(parameter(form, "client_secret")) + _has_assertion(form) > 1:
        raise invalid_request("use one client authentication method, not several", reason="two_methods")


def _require_client(form: Form, client_id: str) -> None:
    if form.get("client_id", (client_id,))[0] != client_id:
        raise invalid_request("client_id must be the client of the Authorization header", reason="two_clients")


def _has_assertion(form: Form) -> bool:
    return "client_assertion" in form or "client_assertion_type" in form


def _assertion(form: Form, client_id: str) -> PresentedAssertion:
    """RFC 7521 §4.2. The claims only select the client; they are verified later."""
    jwt = parameter(form, "client_assertion")
    if parameter(form, "client_assertion_type") != JWT_BEARER or not jwt:
        raise invalid_request(
            f"send client_assertion together with client_assertion_type={JWT_BEARER}", reason="assertion_type"
        )
    try:
        signed = jws.parse(jwt, MAX_ASSERTION_BYTES, json_object)
    except MalformedToken:
        raise invalid_client(
            "client_assertion must be a signed JWT in compact form", reason="assertion_malformed", challenge=False
        ) from None
    subject = signed.claims.get("sub")
    if isinstance(subject, str) and subject.startswith(SERVICE_ACCOUNT_PREFIX):
        namespace, _, name = subject.removeprefix(SERVICE_ACCOUNT_PREFIX).partition(":")
        return PresentedAssertion(client_id, jwt, signed, ServiceAccountSubject(namespace, name))
    if not isinstance(subject, str) or not subject:
        raise invalid_client("sub of client_assertion must be a client_id", reason="assertion_client", challenge=False)
    if client_id and client_id != subject:
        raise invalid_request("client_id must be the client of the assertion", reason="two_clients")
    return PresentedAssertion(subject, jwt, signed)


def _basic(authorization: bytes) -> PresentedSecret:
    """Split at the first colon, then form-decode both halves (RFC 6749 §2.3.1)."""
    scheme, _, encoded = authorization.partition(b" ")
    if scheme.lower() != b"basic" or len(encoded) > MAX_AUTHORIZATION_BYTES:
        raise invalid_client("authenticate with HTTP Basic", reason="authorization_scheme", challenge=True)
    try:
        user, colon, password = binascii.a2b_base64(encoded.strip(), strict_mode=True).partition(b":")
        presented = PresentedSecret(_decode(user), _decode(password), "client_secret_basic")
    except (binascii.Error, UnicodeDecodeError):
        colon, presented = b"", None
    if not colon or presented is None:
        raise invalid_client("the Basic credentials are malformed", reason="malformed_basic", challenge=True)
    return presented
