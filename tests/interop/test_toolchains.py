"""A missing toolchain is reported."""

import pytest

from tests.interop import toolchains


def test_missing_toolchain_is_named_and_skipped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match="the java programs need java, javac, mvn on PATH"):
        toolchains.run("java", {})


def test_missing_toolchain_fails_in_ci(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="the node programs need node, npm on PATH"):
        toolchains.run("node", {})
