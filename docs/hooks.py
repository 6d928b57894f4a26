"""Hooks of mkdocs: pages from outside docs/, GitHub's anchors, and an error for resources of other hosts.

A page of docs/ links to the repository as GitHub shows it (`../SECURITY.md`, `../examples/…`). In the site the
documents of PAGES are pages of their own, another file is a copy under `files/`, and a folder is text without a link;
a folder of docs/ is its newest page, beside which the navigation lists the others.
"""

import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import yaml

ROOT: Final = Path(__file__).resolve().parents[1]
DOCS: Final = ROOT / "docs"
PAGES: Final = {
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security.md",
    "README.md": "readme.md",
    "examples/compose/README.md": "examples/compose.md",
    "examples/gateway/README.md": "examples/gateway.md",
    "examples/hr/README.md": "examples/hr.md",
    "tests/simulation/README.md": "simulation.md",
}
"""Path in the repository → path in the site."""

_FENCED: Final = re.compile(r"^ *(```+|~~~+).*?^ *\1 *$", re.MULTILINE | re.DOTALL)
_LINK: Final = re.compile(r"(!?\[(?:[^\[\]]|\[[^\]]*\])*\])\(([^)\s]+)\)")
_FENCE: Final = re.compile(r" *(```+|~~~+)")
_ITEM: Final = re.compile(r" *(?:[-*+]|\d+\.) +")
_EXTERNAL: Final = re.compile(r"^[a-z]+:|^//|^#", re.IGNORECASE)
_LOADS: Final = re.compile(
    r"""<(?:script|img|iframe|source|audio|video|embed|object)\b[^>]*?\b(?:src|srcset|data)=["']?((?:https?:)?//[^"'\s>]+)"""
    r"""|<link\b[^>]*?\bhref=["']?((?:https?:)?//[^"'\s>]+)"""
    r"""|(?:url\(|@import\s+)["']?((?:https?:)?//[^"')\s]+)""",
    re.IGNORECASE,
)


def slug(heading: str, separator: str = "-") -> str:
    """The anchor that GitHub gives a heading, from its text without markup."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", separator)


def navigation(config: Path = ROOT / "mkdocs.yml") -> list[Any]:
    """`nav` of mkdocs.yml, with every file of a folder in place of the folder (`decisions/`), newest first."""
    nav = re.search(r"^nav:\n(?:[ -].*\n|\n)+", config.read_text(), re.MULTILINE)
    if not nav:
        raise ValueError("mkdocs.yml has no nav")
    return _expanded(yaml.safe_load(nav[0])["nav"])


def _expanded(nav: list[Any]) -> list[Any]:
    found: list[Any] = []
    for entry in nav:
        match entry:
            case str() if entry.endswith("/"):
                found += [f"{entry}{each.name}" for each in sorted((DOCS / entry).glob("*.md"), reverse=True)]
            case {**titled} if titled:
                found.append({k: _expanded(v) if isinstance(v, list) else v for k, v in titled.items()})
            case _:
                found.append(entry)
    return found


def pages(nav: list[Any]) -> Iterator[str]:
    """The pages of a navigation, as paths in the site."""
    for entry in nav:
        for item in entry.values() if isinstance(entry, dict) else [entry]:
            if isinstance(item, list):
                yield from pages(item)
            else:
                yield item


def source(page: str) -> Path:
    """The file that a page of the site is made from."""
    inside = DOCS / page
    return next((ROOT / path for path, place in PAGES.items() if place == page and not inside.exists()), inside)


def in_site(markdown: str, page: str, copied: Callable[[str], None]) -> str:
    """The text of `page` with links that hold in the site. Calls `copied` with each file that must be there as well."""
    parts, end = [], 0
    for block in _FENCED.finditer(markdown):
        parts += [_links(markdown[end : block.start()], page, copied), block[0]]
        end = block.end()
    return "".join([*parts, _links(markdown[end:], page, copied)])


def four_spaces(markdown: str) -> str:
    """Indent the content of list items as Python-Markdown needs it: four spaces a level, not two or three. An item of
    several paragraphs also gets an empty line before the next item.
    """
    lines: list[str] = []
    levels: list[int] = []
    """Column at which the content of each open item begins."""
    fence, paragraphs = "", False
    for line in markdown.splitlines(keepends=True):
        indent = len(line) - len(line.lstrip(" "))
        if not line.strip():
            paragraphs = paragraphs or bool(levels)
            lines.append(line)
            continue
        while levels and indent < levels[-1] and not fence:
            levels.pop()
        inside = levels[-1] if levels else 0
        item = None if fence or indent - inside > 3 else _ITEM.match(line)
        if item and paragraphs and lines[-1].strip():
            lines.append("\n")
        lines.append(" " * 4 * len(levels) + line[min(inside, indent) :])
        if item:
            levels.append(len(item[0]))
            paragraphs = False
        elif mark := _FENCE.match(line):
            fence = "" if fence == mark[1] else fence or mark[1]
    return "".join(lines)


def _links(text: str, page: str, copied: Callable[[str], None]) -> str:
    return _LINK.sub(lambda link: _link(link[1], link[2], page, copied), text)


def _link(text: str, target: str, page: str, copied: Callable[[str], None]) -> str:
    path, _, anchor = target.partition("#")
    if _EXTERNAL.match(target) or not path:
        return f"{text}({target})"
    there = (source(page).parent / path).resolve()
    if there.is_dir() and (there / "README.md").exists():
        there /= "README.md"
    try:
        name = there.relative_to(ROOT).as_posix()
    except ValueError:
        return f"{text}({target})"
    if name in PAGES:
        place = PAGES[name]
    elif there.is_relative_to(DOCS):
        page_there = max(there.glob("*.md"), default=there) if there.is_dir() else there
        place = page_there.relative_to(DOCS).as_posix()
    elif there.is_file():
        place = f"files/{name}"
        copied(name)
    elif there.is_dir():
        return text.removeprefix("[").removesuffix("]")
    else:
        return f"{text}({target})"  # not there: mkdocs reports it
    relative = os.path.relpath(place, Path(page).parent).replace(os.sep, "/")
    return f"{text}({relative}{'#' if anchor else ''}{anchor})"


def loads(text: str) -> list[str]:
    """The URLs of other hosts that a browser would load for this HTML, style sheet or picture."""
    return [next(filter(None, found)) for found in _LOADS.findall(text)]


# What follows is called by mkdocs, by name.


def on_config(config: Any) -> Any:
    config.nav = navigation(Path(config.config_file_path))
    config.mdx_configs.setdefault("toc", {})["slugify"] = slug
    return config


def on_files(files: Any, config: Any) -> Any:
    from mkdocs.structure.files import File

    copies: set[str] = set()
    for file in files.documentation_pages():
        in_site(Path(file.abs_src_path).read_text(), file.src_uri, copies.add)
    for path, place in PAGES.items():
        if files.get_file_from_path(place) is None:
            text = in_site((ROOT / path).read_text(), place, copies.add)
            files.append(File.generated(config, place, content=four_spaces(text)))
    for path in sorted(copies):
        files.append(File.generated(config, f"files/{path}", abs_src_path=str(ROOT / path)))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    if page.file.abs_src_path is None:  # made by on_files, with its links
        return markdown
    return four_spaces(in_site(markdown, page.file.src_uri, lambda _path: None))


def on_post_build(config: Any) -> None:
    from mkdocs.exceptions import PluginError

    site = Path(config.site_dir)
    for file in sorted(site.rglob("*")):
        if file.suffix in {".html", ".css", ".svg"} and (found := loads(file.read_text())):
            raise PluginError(f"{file.relative_to(site)} loads from elsewhere: {', '.join(found)}")
