"""Hypothesis strategies for requests of clients, proxies and attackers."""

import base64
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote_plus

from hypothesis import strategies as st

from tests.fuzz.target import RESOURCE

FORM: Final = b"application/x-www-form-urlencoded"
_PARAMETERS: Final = (
    "grant_type",
    "scope",
    "resource",
    "audience",
    "client_id",
    "client_secret",
    "client_assertion",
    "client_assertion_type",
    "subject_token",
    "subject_token_type",
    "actor_token",
    "actor_token_type",
    "requested_token_type",
    "token",
    "token_type_hint",
)
_STRANGE_PATHS: Final = (
    "/.well-known/openid-configuration",
    "/token/",
    "/%00",
    "//token",
    "/..%2ftoken",
    "/TOKEN",
    "*",
)
_URN: Final = "urn:ietf:params:oauth"


@dataclass(frozen=True)
class Sent:
    method: bytes
    path: bytes
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes

    def written(self) -> bytes:
        """The bytes of the HTTP/1.1 request, with Content-Length."""
        lines = [b"%s %s HTTP/1.1" % (self.method, self.path), b"host: issuer"]
        lines += [b"%s: %s" % header for header in self.headers]
        lines += [b"content-length: %d" % len(self.body), b"", b""]
        return b"\r\n".join(lines) + self.body


def _jwts() -> st.SearchStrategy[str]:
    """Texts in the form of a JWT, some with header and claims of an assertion."""
    segment = st.one_of(
        st.sampled_from(['{"alg":"none"}', '{"alg":"ES256","kid":"a","typ":"JWT"}', '{"alg":"HS256"}', "{}", "[]", ""]),
        st.sampled_from(['{"iss":"leave.worker","sub":"leave.worker","exp":9999999999}', '{"exp":1e999}', "[" * 500]),
        st.text(max_size=20),
    ).map(lambda text: base64.urlsafe_b64encode(text.encode("utf-8", "surrogatepass")).rstrip(b"=").decode())
    return st.lists(segment, min_size=1, max_size=6).map(".".join)


def _values(worker: tuple[str, str]) -> st.SearchStrategy[str]:
    known = [
        "client_credentials",
        f"{_URN}:grant-type:token-exchange",
        f"{_URN}:client-assertion-type:jwt-bearer",
        f"{_URN}:token-type:access_token",
        "payroll.read",
        "payroll.read payroll.read",
        RESOURCE,
        RESOURCE + "/",
        *worker,
        "leave.other",
        "x" * 3000,
    ]
    broken = st.sampled_from(["%", "%f", "%ff", "%zz", "%00", "+", "%2b", "\N{PILE OF POO}", "../..", "' OR 1=1 --"])
    return st.one_of(st.sampled_from(known).map(quote_plus), broken, st.text(max_size=30), _jwts())


def _forms(worker: tuple[str, str], first: tuple[str, ...] = ("",)) -> st.SearchStrategy[bytes]:
    """Up to six parameters, after one of `first`."""
    names = st.one_of(st.sampled_from(_PARAMETERS), st.sampled_from(["", "%00", "%ff", "GRANT_TYPE", "x[]"]))
    pairs = st.lists(st.tuples(names, _values(worker)), max_size=6)
    return st.tuples(st.sampled_from(first), pairs).map(
        lambda form: (form[0] + "&".join(f"{n}={v}" for n, v in form[1])).encode("utf-8", "surrogatepass")
    )


def _correct_basic(worker: tuple[str, str]) -> bytes:
    return b"Basic " + base64.b64encode(":".join(map(quote_plus, worker)).encode())


def _basics(worker: tuple[str, str]) -> st.SearchStrategy[bytes]:
    halves = st.one_of(
        st.tuples(_values(worker), _values(worker)).map(":".join),
        st.text(max_size=20),
        st.sampled_from([":", "::", f"{worker[0]}:", f":{worker[1]}", f"{worker[0]}:{worker[1]}:"]),
    )
    made = halves.map(lambda text: b"Basic " + base64.b64encode(text.encode("utf-8", "surrogatepass")))
    odd = [
        b"Basic",
        b"Basic ",
        b"Basic ====",
        b"bASIC " + _correct_basic(worker)[6:],
        b"Bearer x",
        b"Basic " + b"A" * 6000,
    ]
    return st.one_of(made, st.sampled_from(odd), _field_values())


def _field_values() -> st.SearchStrategy[bytes]:
    """Octets that are allowed in a header value (RFC 9110 §5.5)."""
    return st.binary(max_size=40).map(lambda value: bytes(b for b in value if b >= 32 and b != 127).strip())


def _nearly_valid(worker: tuple[str, str]) -> st.SearchStrategy[Sent]:
    """The correct client, in the header or in parameters, with additional parameters."""
    grants = ("grant_type=client_credentials&", f"grant_type={quote_plus(_URN)}%3Agrant-type%3Atoken-exchange&")
    posted = f"client_id={quote_plus(worker[0])}&client_secret={quote_plus(worker[1])}&"
    content_type = (b"content-type", FORM)
    by_header = _forms(worker, grants).map(
        lambda form: Sent(b"POST", b"/token", (content_type, (b"authorization", _correct_basic(worker))), form)
    )
    by_form = _forms(worker, (grants[0] + posted,)).map(lambda form: Sent(b"POST", b"/token", (content_type,), form))
    scopes = ("scope=payroll.read&", f"resource={quote_plus(RESOURCE)}&", "scope=payroll.destroy&", "")
    plain = st.tuples(st.sampled_from(grants), st.sampled_from(scopes), _jwts()).map(
        lambda part: Sent(
            b"POST",
            b"/token",
            (content_type, (b"authorization", _correct_basic(worker)), (b"dpop", part[2].encode())),
            f"{part[0]}{part[1]}".encode(),
        )
    )
    return st.one_of(by_header, by_form, plain)


def _strange_credentials(worker: tuple[str, str]) -> st.SearchStrategy[Sent]:
    """A valid request with any credentials."""
    return _basics(worker).map(
        lambda basic: Sent(
            b"POST",
            b"/token",
            ((b"content-type", FORM), (b"authorization", basic)),
            b"grant_type=client_credentials",
        )
    )


def _any_request(worker: tuple[str, str]) -> st.SearchStrategy[Sent]:
    """Any HTTP request."""
    types = [FORM, FORM, FORM + b"; charset=UTF-8", b"application/json", b"", b"\xff"]
    names = [b"dpop", b"cookie", b"x-forwarded-for", b"accept", b"if-none-match", b"content-type", b"x-\x7e"]
    headers = st.tuples(
        st.lists(st.sampled_from(types).map(lambda v: (b"content-type", v)), min_size=1, max_size=1),
        st.lists(_basics(worker).map(lambda v: (b"authorization", v)), max_size=2),
        st.lists(st.tuples(st.sampled_from(names), _field_values()), max_size=2),
    ).map(lambda groups: tuple(header for group in groups for header in group))
    paths = [
        b"/token",
        b"/token",
        b"/introspect",
        b"/revoke",
        b"/jwks.json",
        b"/healthz",
        *map(str.encode, _STRANGE_PATHS),
    ]
    queries = st.one_of(st.just(b""), _forms(worker).map(lambda query: b"?" + _printable(query)))
    return st.builds(
        Sent,
        st.sampled_from([b"POST", b"POST", b"POST", b"GET", b"PUT", b"DELETE", b"OPTIONS", b"PATCH"]),
        st.tuples(st.sampled_from(paths), queries).map(b"".join),
        headers,
        st.one_of(_forms(worker), st.binary(max_size=60), st.just(b"grant_type=client_credentials&x=" + b"y" * 17_000)),
    )


def requests(worker: tuple[str, str]) -> st.SearchStrategy[Sent]:
    return st.one_of(_nearly_valid(worker), _nearly_valid(worker), _strange_credentials(worker), _any_request(worker))


def _printable(query: bytes) -> bytes:
    return bytes(b for b in query if 32 < b < 127 and b != ord("#"))
