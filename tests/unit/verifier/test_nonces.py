"""A nonce is accepted for minutes, by all holders of its key and for its purpose only."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scopewright.verifier.nonces import LIFETIME, STEP, Nonces
from tests.unit.verifier.support import NOW

KEY = b"k" * 32


@given(st.floats(0, 2e9), st.floats(0, LIFETIME - STEP, exclude_max=True))
def test_nonce_is_accepted_by_every_replica_during_its_lifetime(now: float, later: float) -> None:
    nonce = Nonces(KEY, "issuer").current(now)
    assert Nonces(KEY, "issuer").accepts(nonce, now + later, 0.0)


def test_nonce_expires_and_changes() -> None:
    nonces = Nonces(KEY, "issuer")
    nonce = nonces.current(NOW)
    assert nonces.current(NOW + STEP - 1) == nonce
    assert nonces.current(NOW + STEP) != nonce
    assert not nonces.accepts(nonce, NOW + LIFETIME, 0.0)
    assert nonces.accepts(nonce, NOW + LIFETIME, 60.0)
    assert not nonces.accepts(nonce, NOW + LIFETIME + 60, 60.0)


def test_nonce_of_a_replica_with_a_fast_clock_is_accepted_within_the_leeway() -> None:
    nonce = Nonces(KEY, "issuer").current(NOW + 50)
    assert Nonces(KEY, "issuer").accepts(nonce, NOW, 60.0)
    ahead = Nonces(KEY, "issuer").current(NOW + 130)
    assert not Nonces(KEY, "issuer").accepts(ahead, NOW, 60.0)


def test_nonce_of_another_key_or_purpose_is_refused() -> None:
    nonce = Nonces(KEY, "issuer").current(NOW)
    assert not Nonces(b"x" * 32, "issuer").accepts(nonce, NOW, 60.0)
    assert not Nonces(KEY, "payroll").accepts(nonce, NOW, 60.0)


def test_nonce_with_a_changed_time_is_refused() -> None:
    stated = bytearray(base64.urlsafe_b64decode(Nonces(KEY, "issuer").current(NOW)))
    stated[4] += 1
    assert not Nonces(KEY, "issuer").accepts(base64.urlsafe_b64encode(stated).decode(), NOW + STEP, 60.0)


@given(st.text(max_size=60))
def test_arbitrary_text_is_not_accepted_as_nonce(text: str) -> None:
    nonces = Nonces(KEY, "issuer")
    assert not nonces.accepts(text, NOW, 60.0)
    assert not nonces.accepts(nonces.current(NOW) + text, NOW, 60.0) or text == ""


def test_nonce_key_that_is_too_short_is_refused() -> None:
    with pytest.raises(ValueError, match="32 random bytes"):
        Nonces(b"k" * 31, "issuer")
