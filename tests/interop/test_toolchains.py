"""A missing toolchain is never passed over in silence."""

import pytest

from tests.interop import toolchains


def test_where_a_toolchain_is_missing_the_suite_says_which_and_skips(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match="the java clients need java, javac, mvn on PATH"):
        toolchains.run("java", {})


def test_in_ci_it_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="the node clients need node, npm on PATH"):
        toolchains.run("node", {})
