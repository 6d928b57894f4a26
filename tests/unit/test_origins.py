"""`hosts=` and `allow_http=` accept host names only; URLs are those that every HTTP client parses alike."""

from urllib.parse import urlsplit

import httpx
import pytest

from scopewright.client import ClientCredentials
from scopewright.origins import HttpUrl, host_names, host_of, is_secure, port_of
from scopewright.verifier import Verifier


def test_host_names_are_lower_cased_and_may_have_a_port() -> None:
    assert host_names("hosts=", ["Payroll.svc", "leave.svc:8080", "[::1]"]) == {
        "payroll.svc",
        "leave.svc:8080",
        "[::1]",
    }
    assert host_names("hosts=", "payroll.svc") == {"payroll.svc"}


@pytest.mark.parametrize("name", ["http://payroll.svc", "payroll.svc/path", "*", "*.svc", "a b", "", 7])
def test_value_that_is_not_a_host_is_refused_with_an_example(name: object) -> None:
    with pytest.raises(ValueError, match=r"allow_http= takes hosts such as payroll\.payroll\.svc"):
        host_names("allow_http=", [name])  # type: ignore[list-item]


@pytest.mark.parametrize("value", [True, 1, None])
def test_value_that_is_not_a_collection_is_a_type_error_with_an_example(value: object) -> None:
    expected = r'takes host names, such as \("payroll\.payroll\.svc",\), and not'
    with pytest.raises(TypeError, match=f"allow_http= {expected}"):
        ClientCredentials("/secret", allow_http=value)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=f"hosts= {expected}"):
        ClientCredentials("/secret", hosts=value)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=f"allow_http= {expected}"):
        Verifier("https://issuer.example", "https://api.example", allow_http=value)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "text",
    [
        "https://issuer.example",
        "https://issuer.example/",
        "HTTPS://Issuer.Example:8443/tenant/jwks.json?a=b&c=%20",
        "http://localhost:8080/a/../b",
        "http://127.0.0.1:1/x",
        "https://[2001:db8::1]:443/keys",
        "https://issuer.svc.cluster.local./keys",
        "https://a_b.example/~x/(y);z=1,2:3@4",
    ],
)
def test_url_is_parsed_as_http_clients_parse_it(text: str) -> None:
    parsed, by_httpx, by_stdlib = HttpUrl.parse(text), httpx.URL(text), urlsplit(text)
    assert (parsed.scheme, parsed.host) == (by_httpx.scheme, by_httpx.host)
    assert (parsed.scheme, parsed.host) == (by_stdlib.scheme, by_stdlib.hostname)
    assert (host_of(parsed), port_of(parsed)) == (host_of(by_httpx), port_of(by_httpx))
    assert is_secure(parsed) == is_secure(by_httpx)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "issuer.example",
        "//issuer.example",
        "https:issuer.example",
        "https:///path",
        "ftp://issuer.example",
        "https://user@issuer.example",
        "https://user:word@issuer.example",
        "http://127.0.0.1\\@evil.example/",
        "http://127.0.0.1#@evil.example/",
        "http://localhost?@evil.example/#x",
        "https://issuer.example/a b",
        "https://issuer.example/\n",
        " https://issuer.example",
        "https://issuer.example:0",
        "https://issuer.example:65536",
        "https://issuer.example:x",
        "https://[::1",
        "https://[1:2]",
        "https://[::1]x/",
        "https://bücher.example",
        "https://issuer.example/ü",
        "https://%69ssuer.example",
    ],
)
def test_url_that_clients_could_parse_differently_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        HttpUrl.parse(text)
