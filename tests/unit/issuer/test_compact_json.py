"""`compact_json.json_object` accepts what its slow twin `strict_json.json_object` accepts, with the same value."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scopewright import strict_json
from scopewright.issuer.protocol import compact_json

TEXTS = [
    b"",
    b"{}",
    b" {}",
    b"{} ",
    b"[]",
    b"1",
    b"null",
    b'{"a":1,"a":1}',
    b'{"a":1,"\\u0061":2}',
    b'{"a":{"b":1,"b":2}}',
    b'[{"a":1,"a":2}]',
    b'{"a":NaN}',
    b'{"a":Infinity}',
    b'{"a":1e400}',
    b'{"a":-0}',
    b'{"a":-0.0}',
    b'{"a":1.0}',
    b'{"a":1E2}',
    b'{"a":0.1e1}',
    b'{"a":18446744073709551615}',
    b'{"a":18446744073709551616}',
    b'{"a":-9223372036854775809}',
    b'{"a":123456789012345678901234567890}',
    b'{"a":0.30000000000000004}',
    b'{"a":5e-324}',
    b'{"a":"\\ud800"}',
    b'{"a":"\\ud83d\\ude00"}',
    b'{"a":"\xed\xa0\x80"}',
    b'{"a":"\xff"}',
    b'{"a":"\\/"}',
    b'{"a":"\x7f\xe2\x80\xa8"}',
    b'{"a":"\x01"}',
    b'{"a":"\\u0001\\n"}',
    b'{"":""}',
    b"\xef\xbb\xbf{}",
    b'{"a":' + b"[" * 200 + b"]" * 200 + b"}",
    b'{"a":' + b"[" * 300 + b"]" * 300 + b"}",
    b'{"a":' + b"[" * 3000 + b"]" * 3000 + b"}",
    b'{"a":1}x',
    b'{"a":1,}',
]
VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text()),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=3), inner, max_size=3)),
    max_leaves=8,
)


def result(read: Callable[[bytes], dict[str, Any]], data: bytes) -> str:
    """With types: 1 and 1.0 differ, and so do 0.0 and -0.0."""
    try:
        return repr(read(data))
    except ValueError:
        return "refused"


def same(data: bytes) -> None:
    assert result(compact_json.json_object, data) == result(strict_json.json_object, data)


@pytest.mark.parametrize("data", TEXTS)
def test_unusual_json_is_read_as_by_the_slow_twin(data: bytes) -> None:
    same(data)


@given(st.dictionaries(st.text(), VALUES), st.booleans(), st.booleans())
def test_json_is_read_as_by_the_slow_twin(value: dict[str, Any], is_ascii: bool, is_compact: bool) -> None:
    separators = (",", ":") if is_compact else None
    same(json.dumps(value, ensure_ascii=is_ascii, separators=separators).encode("utf-8", "surrogatepass"))


@given(st.text(alphabet='{}[]":,\\ub01.eE-+ a\n'))
def test_text_is_read_as_by_the_slow_twin(text: str) -> None:
    same(text.encode())
    same(b'{"a":' + text.encode() + b"}")
