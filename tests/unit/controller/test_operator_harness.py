"""The example in the documentation of `OperatorHarness` runs."""

import doctest

from tests.harness import operator


def test_the_example_of_the_harness_prints_what_it_says() -> None:
    result = doctest.testmod(operator)
    assert result.attempted >= 8
    assert result.failed == 0
