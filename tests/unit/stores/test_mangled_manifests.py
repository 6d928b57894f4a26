"""Generated files: the result is objects, problems, or nothing, and no exception."""

import json
from typing import Any

import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from scopewright.api import API_VERSION, KINDS
from scopewright.manifests.nodes import ParseBudget
from scopewright.manifests.validate import Content, content
from tests.unit.stores.test_manifests import CLIENT

SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=12,
)
FIELDS = st.sampled_from(
    [
        "access",
        "authentication",
        "credentials",
        "rotation",
        "scopes",
        "to",
        "jwks",
        "audience",
        "algorithm",
        "every",
        "x",
    ]
)
SPECS = st.dictionaries(FIELDS, VALUES, max_size=5)
MANIFESTS = st.fixed_dictionaries(
    {"apiVersion": st.just(API_VERSION), "kind": st.sampled_from(sorted(KINDS)) | st.text(max_size=5)},
    optional={"metadata": VALUES | st.just({"name": "x"}), "spec": VALUES | SPECS, "status": VALUES, "items": VALUES},
)
SPICE = st.sampled_from(
    [
        "&a ",
        "*a",
        "<<: ",
        "!!binary ",
        "!x ",
        "? ",
        "- ",
        "{",
        "]",
        "|\n",
        ">",
        "\t",
        "---\n",
        "...",
        '"',
        "'",
        "%",
        "@",
        "\\u",
        "\0",
        "\x85",
        "\ufeff",
        "1:1",
        "0x",
        ".inf",
        "2026-11-22",
    ]
)


def sound(seen: Content) -> None:
    """Every problem has line, message and fix, and no manifest is lost without one."""
    for problem in (*seen.problems, *seen.unread):
        assert problem.line >= 1
        assert problem.message
        assert problem.fix
    broken = any(found.manifest is None for found in seen.declared)
    assert bool(seen.problems or seen.unread) >= (broken or seen.incomplete)
    for found in seen.declared:
        assert found.manifest is None or json.dumps(found.manifest)


@settings(deadline=None)
@given(st.text())
def test_any_text_is_read_without_an_exception(text: str) -> None:
    sound(content(text, ParseBudget()))


@settings(deadline=None)
@given(st.integers(0, len(CLIENT)), st.integers(0, 30), st.lists(SPICE | st.text(max_size=3), max_size=4).map("".join))
def test_any_mutation_of_a_manifest_is_read_without_an_exception(at: int, length: int, spice: str) -> None:
    sound(content(CLIENT[:at] + spice + CLIENT[at + length :], ParseBudget()))


@settings(deadline=None)
@given(MANIFESTS)
def test_any_manifest_in_yaml_is_read_without_an_exception(value: dict[str, Any]) -> None:
    sound(content(yaml.safe_dump(value, allow_unicode=True), ParseBudget()))


@settings(deadline=None)
@given(MANIFESTS)
def test_any_manifest_in_json_is_read_without_an_exception(value: dict[str, Any]) -> None:
    sound(content(json.dumps(value, indent="\t"), ParseBudget()))
