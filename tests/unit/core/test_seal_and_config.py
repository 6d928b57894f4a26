"""A seal verifies what was sealed and nothing else; a configuration that would do harm is refused."""

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from scopewright.core.config import Config
from scopewright.core.seal import seal, verifies

KEY = b"k" * 32
ENTRIES = st.dictionaries(st.text(max_size=4), st.text(max_size=4), max_size=3)


@given(ENTRIES, ENTRIES)
def test_a_seal_holds_for_exactly_these_entries(sealed: dict[str, str], found: dict[str, str]) -> None:
    stated = seal(KEY, "https://i", "a.b", "t", sealed)
    assert verifies(stated, seal(KEY, "https://i", "a.b", "t", found)) == (sealed == found)


@pytest.mark.parametrize(
    ("key", "issuer", "client", "issued"),
    [(b"x" * 32, "i", "a.b", "t"), (KEY, "j", "a.b", "t"), (KEY, "i", "a.c", "t"), (KEY, "i", "a.b", "u"),
     (KEY, "ia", ".b", "t")],
)  # fmt: skip
def test_a_seal_binds_key_issuer_client_and_time(key: bytes, issuer: str, client: str, issued: str) -> None:
    assert not verifies(seal(KEY, "i", "a.b", "t", {}), seal(key, issuer, client, issued, {}))


def test_no_seal_verifies_nothing() -> None:
    assert not verifies("", seal(KEY, "i", "a.b", "t", {}))
    assert not verifies("ä", seal(KEY, "i", "a.b", "t", {}))


@pytest.mark.parametrize(
    "url",
    ["https://issuer.example.org", "https://issuer.example.org/tenant", "http://127.0.0.1:8080", "http://[::1]:8"],
)
def test_an_issuer_is_taken_as_it_is(url: str) -> None:
    assert Config(issuer=url).issuer == url


@pytest.mark.parametrize(
    "url",
    ["http://issuer.example.org", "https://issuer.example.org/", "https://issuer.example.org?x", "issuer.example.org",
     "https://issuer.example.org#x", "https://u@issuer.example.org", "https://", "ftp://x", "", "https://[::1",
     "https://issuer.example.org/?", "https://issuer.example.org#"],
)  # fmt: skip
def test_an_issuer_that_is_no_issuer_is_refused(url: str) -> None:
    with pytest.raises(ValidationError):
        Config(issuer=url)


@pytest.mark.parametrize(
    "given", [{"resync": "11m"}, {"resync": "0s"}, {"maxTokenLifetime": "1ms"}, {"resync": "soon"}, {"mispelt": 1},
              {"audiences": [{"prefix": "https://x", "namespaces": []}]}, {"audiences": [{"namespaces": ["a"]}]}],
)  # fmt: skip
def test_a_configuration_that_cannot_be_meant_is_refused(given: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Config.model_validate({"issuer": "https://issuer.example.org", **given})


def test_durations_are_written_as_in_manifests() -> None:
    config = Config.model_validate({"issuer": "https://i.example", "maxTokenLifetime": "30m", "jwksMaxAge": "1h30m"})
    assert config.max_token_lifetime == timedelta(minutes=30)
    assert config.key_lead == timedelta(hours=1, minutes=40)
    record = config.issuer_record()
    assert (record.max_token_lifetime, record.jwks_max_age, record.clock_skew) == (1800, 5400, 60)
