"""The programs on the pages of docs/call and docs/protect, built from the blocks of the page."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from tests.documents import ROOT, document
from tests.interop.toolchains import JAVA, build_go, built, built_from, compile_java, sources
from tests.pages.page import Page

_SUFFIXES: Final = {"go": ".go", "node": ".mjs", "java": ".java", "spring": ".java"}


def files_of(page: str, suffix: str) -> dict[str, bytes]:
    """The titled blocks of a page below docs/ with this suffix, by the last part of the title."""
    titled = Page.of(document(ROOT / "docs" / page)).files
    return {Path(title).name: text.encode() for title, text in titled.items() if title.endswith(suffix)}


def command_of(toolchain: str, page: str, main: str, replaced: Mapping[str, bytes] | None = None) -> list[str]:
    """The command that starts `main` of the page, built once. `replaced` are files to add or to take instead."""
    files = files_of(page, _SUFFIXES[toolchain]) | dict(replaced or {})
    return _COMMANDS[toolchain](files, main)


def _go(files: dict[str, bytes], main: str) -> list[str]:
    home = built_from("go", files | sources("go", "go.mod", "go.sum"), build_go)
    return [str(home / "interop")]


def _node(files: dict[str, bytes], main: str) -> list[str]:
    packages = built("node") / "node_modules"
    home = built_from("node", files, lambda folder: (folder / "node_modules").symlink_to(packages))
    return ["node", str(home / f"{main}.mjs")]


def _jvm(toolchain: str) -> Callable[[dict[str, bytes], str], list[str]]:
    def command(files: dict[str, bytes], main: str) -> list[str]:
        lib = built(toolchain) / "lib"
        home = built_from(toolchain, files, lambda folder: compile_java(folder, lib))
        return [*JAVA, "-cp", f"{home / 'classes'}:{lib}/*", main]

    return command


_COMMANDS: Final[dict[str, Callable[[dict[str, bytes], str], list[str]]]] = {
    "go": _go,
    "node": _node,
    "java": _jvm("java"),
    "spring": _jvm("spring"),
}
