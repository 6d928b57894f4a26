"""The examples of docs/testing.md are tests that pass."""

import inspect
from collections.abc import Callable
from typing import Any

import pytest

from tests.documents import ROOT, document

EXAMPLES = [block.text for block in document(ROOT / "docs/testing.md").blocks if block.language == "python"]


def examples_in(text: str) -> list[Callable[[], Any]]:
    names: dict[str, Any] = {}
    exec(compile(text, "<docs/testing.md>", "exec"), names)
    return [value for name, value in names.items() if name.startswith("test_")]


@pytest.mark.parametrize("text", EXAMPLES, ids=["operator", "refusal", "issuer"])
async def test_the_example_passes(text: str) -> None:
    [example] = examples_in(text)
    result = example()
    if inspect.isawaitable(result):
        await result
