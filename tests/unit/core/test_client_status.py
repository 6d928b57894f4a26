"""The manifest in a status message is valid YAML with the same scopes."""

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from scopewright.core.client.status import yaml_scalar


@pytest.mark.parametrize("name", ["payroll.read", "payroll:read", "a/b-c_d", "urn:x:y"])
def test_a_plain_scope_is_printed_unquoted(name: str) -> None:
    assert yaml_scalar(name) == name


@pytest.mark.parametrize("name", ["vault[/read]", "a,b", "a:", "#a", "null", "Yes", "1", "1.5", "~", "*a", "{a}", "@a"])
def test_a_scope_with_special_characters_is_quoted(name: str) -> None:
    assert yaml.safe_load(f"[{yaml_scalar(name)}]") == [name]


@given(st.from_regex(r"[\x21\x23-\x5b\x5d-\x7e]{1,12}", fullmatch=True))
def test_each_printed_scope_can_be_read_back(name: str) -> None:
    assert yaml.safe_load(f"[{yaml_scalar(name)}, {yaml_scalar(name)}]") == [name, name]
