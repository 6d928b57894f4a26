"""A seal verifies only the sealed values; a harmful configuration is rejected."""

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from scopewright.core.client.seal import seal, verifies
from scopewright.core.config import API_SERVER_AUDIENCES, Config
from scopewright.core.records.issuer import Cluster

KEY = b"k" * 32
ENTRIES = st.dictionaries(st.text(max_size=4), st.text(max_size=4), max_size=3)


@given(ENTRIES, ENTRIES)
def test_a_seal_verifies_only_for_its_entries(sealed: dict[str, str], found: dict[str, str]) -> None:
    stated = seal(KEY, "https://i", "a.b", "t", sealed)
    assert verifies(stated, seal(KEY, "https://i", "a.b", "t", found)) == (sealed == found)


@pytest.mark.parametrize(
    ("key", "issuer", "client", "issued"),
    [(b"x" * 32, "i", "a.b", "t"), (KEY, "j", "a.b", "t"), (KEY, "i", "a.c", "t"), (KEY, "i", "a.b", "u"),
     (KEY, "ia", ".b", "t")],
)  # fmt: skip
def test_a_seal_binds_key_issuer_client_and_time(key: bytes, issuer: str, client: str, issued: str) -> None:
    assert not verifies(seal(KEY, "i", "a.b", "t", {}), seal(key, issuer, client, issued, {}))


def test_an_empty_or_malformed_seal_does_not_verify() -> None:
    assert not verifies("", seal(KEY, "i", "a.b", "t", {}))
    assert not verifies("ä", seal(KEY, "i", "a.b", "t", {}))


@pytest.mark.parametrize(
    "url",
    ["https://issuer.example.org", "https://issuer.example.org/tenant", "http://127.0.0.1:8080", "http://[::1]:8"],
)
def test_an_issuer_url_is_used_unchanged(url: str) -> None:
    assert Config(issuer=url).issuer == url


@pytest.mark.parametrize(
    "url",
    ["http://issuer.example.org", "https://issuer.example.org/", "https://issuer.example.org?x", "issuer.example.org",
     "https://issuer.example.org#x", "https://u@issuer.example.org", "https://", "ftp://x", "", "https://[::1",
     "https://issuer.example.org/?", "https://issuer.example.org#"],
)  # fmt: skip
def test_a_malformed_issuer_url_is_rejected(url: str) -> None:
    with pytest.raises(ValidationError):
        Config(issuer=url)


@pytest.mark.parametrize(
    "given", [{"resync": "11m"}, {"resync": "0s"}, {"maxTokenLifetime": "1ms"}, {"resync": "soon"}, {"mispelt": 1},
              {"audiences": [{"prefix": "https://x", "namespaces": []}]}, {"audiences": [{"namespaces": ["a"]}]},
              {"name": "Prod"}, {"name": ""}],
)  # fmt: skip
def test_a_contradictory_configuration_is_rejected(given: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Config.model_validate({"issuer": "https://issuer.example.org", **given})


def test_durations_have_the_syntax_of_manifests() -> None:
    config = Config.model_validate({"issuer": "https://i.example", "maxTokenLifetime": "30m", "jwksMaxAge": "1h30m"})
    assert config.max_token_lifetime == timedelta(minutes=30)
    assert config.min_lead_time == timedelta(hours=1, minutes=40)
    record = config.issuer_record()
    assert (record.max_token_lifetime, record.jwks_max_age, record.clock_skew) == (1800, 5400, 60)


_RSA = {"kty": "RSA", "n": "n" * 342, "e": "AQAB", "kid": "a", "alg": "RS256", "use": "sig"}


def test_the_issuer_record_has_the_clusters_and_the_reserved_audiences() -> None:
    clusters = [
        {"name": "in-cluster", "tokenReview": True},
        {"name": "eu-1", "issuer": "https://oidc.example/eu-1"},
        {"name": "eu-2", "issuer": "https://kubernetes.default.svc", "jwksURI": "https://eu-2.example/openid/v1/jwks"},
        {
            "name": "edge",
            "issuer": "kubernetes/serviceaccount",
            "keys": [{**_RSA, "key_ops": ["verify"], "x5c": ["MII"]}],
        },
    ]
    record = Config.model_validate(
        {"issuer": "https://i.example", "clusters": clusters, "reservedAudiences": ["https://api.eu-1.example"]}
    ).issuer_record()
    assert record.clusters == (
        Cluster("in-cluster", token_review=True),
        Cluster("eu-1", "https://oidc.example/eu-1"),
        Cluster("eu-2", "https://kubernetes.default.svc", jwks_uri="https://eu-2.example/openid/v1/jwks"),
        Cluster("edge", "kubernetes/serviceaccount", keys=(_RSA,)),
    )
    assert record.reserved_audiences == ("https://api.eu-1.example",)


def test_by_default_the_issuer_record_has_this_cluster_and_the_audiences_of_api_servers() -> None:
    record = Config(issuer="https://i.example").issuer_record()
    assert record.clusters == (Cluster("in-cluster"),)
    assert record.reserved_audiences == API_SERVER_AUDIENCES


@pytest.mark.parametrize(
    ("cluster", "advice"),
    [
        ({"name": "eu-1"}, "needs issuer"),
        ({"name": "eu-1", "issuer": "https://a", "jwksURI": "https://b", "keys": [_RSA]}, "remove one of them"),
        ({"name": "eu-1", "issuer": "https://a", "jwksURI": "http://b"}, "must be an https URL"),
        ({"name": "eu-1", "issuer": "kubernetes/serviceaccount"}, "needs jwksURI or keys"),
        ({"name": "eu-1", "issuer": "https://[::1"}, "needs jwksURI or keys"),
        ({"name": "eu-1", "issuer": "https://a", "tokenReview": True}, "remove it from cluster eu-1"),
        ({"name": "eu-1", "issuer": "https://a", "keys": [_RSA | {"d": "secret"}]}, "private or secret key"),
        ({"name": "eu-1", "issuer": "https://a", "keys": [{"kty": "RSA"}]}, "must have the modulus n"),
        ({"name": "eu-1", "issuer": "https://a", "keys": "all"}, "must be a list"),
    ],
)
def test_a_malformed_cluster_is_rejected_with_the_remedy(cluster: dict[str, Any], advice: str) -> None:
    with pytest.raises(ValidationError, match=advice):
        Config.model_validate({"issuer": "https://i.example", "clusters": [cluster]})


def test_two_clusters_with_one_name_are_rejected() -> None:
    with pytest.raises(ValidationError, match="one cluster twice"):
        Config.model_validate({"issuer": "https://i.example", "clusters": [{"name": "in-cluster"}] * 2})
