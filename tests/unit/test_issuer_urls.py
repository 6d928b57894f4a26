"""Operator, issuer and verifier accept the same issuer URLs, and the verifier fetches the paths that are served."""

from urllib.parse import unquote, urlsplit

import httpx
import pytest

from scopewright.core.config import Config
from scopewright.issuer.endpoints.metadata import paths
from scopewright.issuer_metadata import metadata_urls
from scopewright.verifier import Verifier
from tests.cases.issuer_urls import BAD, GOOD


@pytest.mark.parametrize("url", GOOD)
def test_url_accepted_by_the_operator_is_accepted_and_discovered_by_the_verifier(url: str) -> None:
    assert Config(issuer=url).issuer == url
    Verifier(url, "https://api.example")
    served = paths(url)
    for found, path in zip(metadata_urls(url), (served.oauth_metadata, served.openid_metadata), strict=True):
        assert unquote(urlsplit(found).path) == path
        assert httpx.URL(found).host == httpx.URL(url).host


@pytest.mark.parametrize("url", BAD)
def test_url_refused_by_the_verifier_is_refused_by_the_operator(url: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        Verifier(url, "https://api.example")
    with pytest.raises(ValueError, match="issuer"):
        Config(issuer=url)


def test_trailing_slash_is_refused_by_the_operator_only() -> None:
    Verifier("https://tenant.auth.example/", "https://api.example")
    with pytest.raises(ValueError, match="trailing slash"):
        Config(issuer="https://tenant.auth.example/")
