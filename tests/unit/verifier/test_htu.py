"""Normalisation of URLs: equal for equivalent URLs, different for others."""

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scopewright.verifier.htu import LONGEST, normalised

UNRESERVED = "ABCXYZabcxyz0189-_~"  # the dot is left to the tests of dot segments
SEGMENT = st.text(UNRESERVED + "!$&'()*+,;=:@", min_size=1, max_size=8)
PATH = st.lists(SEGMENT, max_size=4).map(lambda segments: "/" + "/".join(segments))
HOST = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,8}[a-z0-9])?(\.[a-z]{2,5})?", fullmatch=True)
ORIGIN = st.builds("{}://{}{}".format, st.sampled_from(["http", "https"]), HOST, st.sampled_from(["", ":8443"]))
URL = st.builds("{}{}".format, ORIGIN, PATH)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("https://a.example", "https://a.example/"),
        ("HTTPS://A.Example:443/X", "https://a.example/X"),
        ("http://a:80/", "http://a/"),
        ("http://a:443/", "http://a:443/"),
        ("https://a:/x", "https://a/x"),
        ("https://a:0443/x", "https://a/x"),
        ("https://[2001:DB8::1]:8443/x", "https://[2001:db8::1]:8443/x"),
        ("https://a/x?y=1#z", "https://a/x"),
        ("https://a?y=/1", "https://a/"),
        ("https://a/%7Euser/%2f", "https://a/~user/%2F"),
        ("https://%41/", "https://a/"),
        ("https://a/b/./c/../d", "https://a/b/d"),
        ("https://a/b/%2E%2e/d", "https://a/d"),
        ("https://a/../..", "https://a/"),
        ("https://a/b/..", "https://a/"),
        ("https://a/b/.", "https://a/b/"),
        ("https://a//b//", "https://a//b//"),
        ("https://a/{x}|y", "https://a/%7Bx%7D%7Cy"),
    ],
)
def test_url_is_normalised_as_in_rfc_3986(given: str, expected: str) -> None:
    assert normalised(given) == expected


@pytest.mark.parametrize(
    "url",
    [
        "",
        "/x",
        "//a/x",
        "a/x",
        "ftp://a/",
        "https:",
        "https://",
        "https:///x",
        "https://u@a/",
        "https://u:p@a/x",
        "https://a b/",
        "https://a/x y",
        "https://a/\n",
        "https://a/x\n",
        "https://ä/",
        "https://a/ä",
        "https://a/%",
        "https://a/%4",
        "https://a/%zz",
        "https://a:port/",
        "https://a:123456/",
        "https://a\\@b/",
        "https://[x]/",
        "https://[::1/",
        "https://a/" + "x" * LONGEST,
    ],
)
def test_url_that_is_not_absolute_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match=r"URL|percent"):
        normalised(url)


@given(URL)
def test_normalisation_is_idempotent(url: str) -> None:
    assert normalised(normalised(url)) == normalised(url)


@given(ORIGIN, PATH, st.data())
def test_equivalent_urls_normalise_to_the_same_url(origin: str, path: str, data: st.DataObject) -> None:
    escaped = "".join(
        f"%{ord(char):02{data.draw(st.sampled_from('xX'))}}"
        if char in UNRESERVED and data.draw(st.booleans())
        else char
        for char in path
    )
    detour = data.draw(st.sampled_from(["", "/.", "/x/..", "/x/y/../.."]))
    port = ":443" if origin.startswith("https") and origin.count(":") == 1 else ""
    upper = origin.upper() if data.draw(st.booleans()) else origin
    suffix = data.draw(st.sampled_from(["", "?q=1", "#f", "?q#f", "?/../"]))
    assert normalised(f"{upper}{port}{detour}{escaped}{suffix}") == normalised(origin + path)


@given(URL, URL)
def test_different_urls_normalise_to_different_urls(one: str, other: str) -> None:
    plain = one.removesuffix("/") == other.removesuffix("/")
    assert plain or normalised(one) != normalised(other)


@given(st.text(max_size=40), st.sampled_from(["", "https://a/", "https://"]))
def test_any_text_is_normalised_or_raises_value_error(text: str, before: str) -> None:
    try:
        normal = normalised(before + text)
    except ValueError:
        return
    assert normal.isascii()
    assert normalised(normal) == normal


@given(URL)
def test_url_as_httpx_sends_it_normalises_to_the_same_url(url: str) -> None:
    assert normalised(str(httpx.URL(url))) == normalised(url)
