"""One rule for the issuer's URL: what the operator accepts, the verifier accepts, and it fetches what is served."""

from urllib.parse import unquote, urlsplit

import httpx
import pytest

from scopewright.core.config import Config
from scopewright.issuer.endpoints.metadata import paths
from scopewright.verifier import Verifier
from scopewright.verifier.discovery import KeySource, metadata_urls
from tests.cases.issuer_urls import BAD, GOOD


@pytest.mark.parametrize("url", GOOD)
def test_what_the_operator_accepts_the_verifier_accepts_and_finds(url: str) -> None:
    assert Config(issuer=url).issuer == url
    Verifier(url, "https://api.example")
    served = paths(url)
    for found, path in zip(metadata_urls(KeySource(url)), (served.oauth_metadata, served.openid_metadata), strict=True):
        assert unquote(urlsplit(found).path) == path
        assert httpx.URL(found).host == httpx.URL(url).host


@pytest.mark.parametrize("url", BAD)
def test_what_the_verifier_refuses_the_operator_refuses(url: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        Verifier(url, "https://api.example")
    with pytest.raises(ValueError, match="issuer"):
        Config(issuer=url)


def test_the_operator_refuses_a_closing_slash_that_other_issuers_have() -> None:
    Verifier("https://tenant.auth.example/", "https://api.example")
    with pytest.raises(ValueError, match="trailing slash"):
        Config(issuer="https://tenant.auth.example/")
