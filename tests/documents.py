"""The documents of the repository as GitHub shows them: links, anchors, code blocks and inline code."""

import io
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Final
from urllib.parse import unquote

from markdown_it import MarkdownIt
from markdown_it.token import Token

from tests.of_docs import of_docs

ROOT: Final = Path(__file__).resolve().parents[1]
_slug: Final = of_docs("hooks").slug
_OPERATORS: Final = "();<>|&\n"
_HEREDOC: Final = re.compile(r"<<-?\s*['\"]?(\w+)['\"]?(.*?)\n(.*?)^\s*\1$", re.MULTILINE | re.DOTALL)
_HTML_ANCHOR: Final = re.compile(r"""<[a-z]+ [^>]*\b(?:id|name)=["']([^"']+)""")
_HTML_LINK: Final = re.compile(r"""\b(?:href|src)=["']([^"']+)""")


@dataclass(frozen=True)
class Block:
    """A fenced block. `title` is from ```` ```python title="service.py" ````, else empty."""

    document: str
    line: int
    language: str
    text: str
    title: str = ""

    def __str__(self) -> str:
        return f"{self.document}:{self.line}"


@dataclass(frozen=True)
class Link:
    line: int
    path: str
    """Relative to the document; empty: the document itself."""
    anchor: str

    def __str__(self) -> str:
        return f"line {self.line}: {self.path}{'#' if self.anchor else ''}{self.anchor}"


class Document:
    def __init__(self, path: Path) -> None:
        self.path = path
        self.name = path.relative_to(ROOT).as_posix()

    def __str__(self) -> str:
        return self.name

    @cached_property
    def text(self) -> str:
        return self.path.read_text("utf-8")

    @cached_property
    def _tokens(self) -> list[Token]:
        return MarkdownIt("commonmark").enable("table").parse(self.text)

    def _inline(self) -> Iterator[tuple[int, Token]]:
        for token in self._tokens:
            for child in token.children or ():
                yield (token.map or [0])[0] + 1, child

    @cached_property
    def anchors(self) -> set[str]:
        """Anchors of headings and of HTML. Of several headings with the same text only the first has one here, because
        GitHub and the site number the others differently.
        """
        pairs = zip(self._tokens, self._tokens[1:], strict=False)
        headings = [content.children or () for token, content in pairs if token.type == "heading_open"]
        html = [token.content for _, token in self._inline() if token.type == "html_inline"]
        html += [token.content for token in self._tokens if token.type == "html_block"]
        return {
            *(_slug("".join(child.content for child in heading)) for heading in headings),
            *(anchor for each in html for anchor in _HTML_ANCHOR.findall(each)),
        }

    @cached_property
    def links(self) -> list[Link]:
        """Links within the repository."""
        found: list[tuple[int, str]] = []
        for line, token in self._inline():
            if token.type in {"link_open", "image"}:
                found.append((line, str(token.attrs.get("href") or token.attrs.get("src") or "")))
            elif token.type == "html_inline":
                found += [(line, target) for target in _HTML_LINK.findall(token.content)]
        for token in self._tokens:
            if token.type == "html_block":
                found += [((token.map or [0])[0] + 1, target) for target in _HTML_LINK.findall(token.content)]
        internal = [(line, target) for line, target in found if not re.match(r"[a-z]+:|//", target)]
        return [
            Link(line, unquote(path), anchor)
            for line, target in internal
            for path, _, anchor in [target.partition("#")]
        ]

    @cached_property
    def undefined_references(self) -> list[str]:
        """`[text][name]` without a definition of the name, which is shown with brackets."""
        text = "".join(token.content for _, token in self._inline() if token.type == "text")
        return re.findall(r"\[[^\[\]]+\]\[[^\[\]]*\]", text)

    @cached_property
    def code(self) -> list[tuple[int, str]]:
        """Inline code, with its line."""
        return [(line, token.content) for line, token in self._inline() if token.type == "code_inline"]

    @cached_property
    def blocks(self) -> list[Block]:
        fences = [token for token in self._tokens if token.type == "fence"]
        return [_block(self.name, fence) for fence in fences]


def _block(document: str, fence: Token) -> Block:
    language, _, options = fence.info.partition(" ")
    title = re.search(r'\btitle="([^"]+)"', options)
    return Block(document, (fence.map or [0])[0] + 1, language, fence.content, title[1] if title else "")


def documents() -> list[Document]:
    """All documents for readers, without the expected outputs of tests."""
    paths = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "examples").rglob("*.md")]
    readmes = [path for path in (ROOT / "tests").rglob("README.md") if ".site" not in path.parts]
    return [document(path) for path in sorted({*paths, *readmes})]


@cache
def document(path: Path) -> Document:
    """A parsed document, cached."""
    return Document(path)


def commands(script: str) -> list[list[str]]:
    """The simple commands of a script, as words, without variables set in front and without redirections."""
    script = _HEREDOC.sub(lambda found: found[2], script).replace("\\\n", " ")
    script = re.sub(r"^\$ ", "", script, flags=re.MULTILINE)
    words = shlex.shlex(_Script(script), posix=True, punctuation_chars=_OPERATORS)
    words.whitespace = " \t\r"
    words.whitespace_split = True
    found: list[list[str]] = [[]]
    for word in words:
        if word and set(word) <= set(_OPERATORS):
            found.append([])
        elif found[-1] or not re.match(r"\w+=", word):
            found[-1].append(word)
    return [command for command in found if command]


def heredocs(script: str, program: str) -> list[str]:
    """The here-documents that are passed to `program`."""
    return [found[3] for found in _HEREDOC.finditer(script) if program in script[: found.start()].rpartition("\n")[2]]


class _Script(io.StringIO):
    """shlex reads a comment by `readline`; the end of the line is the end of the command too."""

    def readline(self, size: int = -1, /) -> str:  # type: ignore[override]
        line = super().readline(size)
        if line.endswith("\n"):
            self.seek(self.tell() - 1)
        return line
