"""`decode_canonical` looks at the last character; its slow twin encodes the bytes again."""

import string
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scopewright import base64url


def slow_twin(text: str) -> bytes:
    data = base64url.decode(text)
    if base64url.encode(data) != text:
        raise ValueError
    return data


def same(text: str) -> bool:
    """Whether it is canonical, by both."""
    try:
        expected = slow_twin(text)
    except ValueError:
        with pytest.raises(ValueError, match=r".*"):
            base64url.decode_canonical(text)
        return False
    assert base64url.decode_canonical(text) == expected
    return True


@pytest.mark.parametrize("before", ["", "ab", "abcd", "abcdAB"])
def test_each_last_character_is_canonical_or_not_as_by_encoding(before: str) -> None:
    characters = [*string.printable, "é", "=", "\0", "\ud800"]
    found = sum(same(before + "".join(end)) for end in product(characters, repeat=2))
    assert found == (64 * 4 if len(before) % 4 == 0 else 64 * 64)


@given(st.one_of(st.text(), st.text(alphabet=string.ascii_letters + string.digits + "-_=+/")))
def test_texts_are_decoded_as_by_encoding(text: str) -> None:
    same(text)


@given(st.binary())
def test_encoded_bytes_are_canonical(data: bytes) -> None:
    assert base64url.decode_canonical(base64url.encode(data)) == data
