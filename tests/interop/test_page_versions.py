"""The versions of libraries on the pages are those that the tests pin."""

import json
import re
from pathlib import Path
from typing import Final

import pytest

from tests.documents import ROOT
from tests.interop.keycloak import VERSION

_HERE: Final = Path(__file__).parent
_GO: Final = re.compile(r"^go get (\S+?)(?:/oidc)?@(v\S+)$", re.MULTILINE)
_NPM: Final = re.compile(r"^npm install (\S+)@(\d+)$", re.MULTILINE)
_MAVEN: Final = re.compile(r"<artifactId>([\w-]+)</artifactId>\s*<version>(\d[\w.]+)</version>")


def text_of(page: str) -> str:
    return (ROOT / "docs" / page).read_text()


@pytest.mark.parametrize("page", ["call/go.md", "protect/go.md"])
def test_go_modules(page: str) -> None:
    [(module, version)] = _GO.findall(text_of(page))
    assert f"{module} {version}\n" in (_HERE / "go" / "go.mod").read_text()


@pytest.mark.parametrize("page", ["call/node.md", "protect/node.md"])
def test_npm_packages(page: str) -> None:
    [(package, major)] = _NPM.findall(text_of(page))
    pinned = json.loads((_HERE / "node" / "package.json").read_text())["dependencies"][package]
    assert pinned.split(".")[0] == major


@pytest.mark.parametrize(
    ("page", "program"), [("call/java.md", "java"), ("protect/java.md", "java"), ("protect/spring.md", "spring")]
)
def test_maven_artifacts(page: str, program: str) -> None:
    pinned = set(_MAVEN.findall((_HERE / program / "pom.xml").read_text()))
    on_the_page = set(_MAVEN.findall(text_of(page)))
    assert on_the_page
    assert on_the_page <= pinned


def test_keycloak() -> None:
    assert f"Keycloak {VERSION.split('.')[0]} " in text_of("protect/keycloak.md")
