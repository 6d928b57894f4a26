"""Text to documents that know the line of each field: bounded, and never an exception but `Unreadable`.

It reads what kubectl reads: YAML 1.1 with merge keys, JSON as a part of it, and instants as the text they are.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Final

import yaml
from yaml.constructor import SafeConstructor

MAX_DEPTH: Final = 100
MAX_VALUES: Final = 100_000
"""Values in one document after its aliases are expanded: what stops a 'billion laughs'."""

Path = tuple[str | int, ...]
Wanted = Callable[[Mapping[str, str]], bool]
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_MERGE: Final = "tag:yaml.org,2002:merge"
_TEXT: Final = ("tag:yaml.org,2002:str", "tag:yaml.org,2002:timestamp", "tag:yaml.org,2002:value")
_SURROGATES: Final = re.compile(r"\\u([dD][89abAB][0-9a-fA-F]{2})\\u([dD][c-fC-F][0-9a-fA-F]{2})")
_SEPARATOR: Final = re.compile(r"^---(?=\s|$)", re.MULTILINE)
_PREAMBLE: Final = re.compile(r"(?:[ \t]*(?:[#%][^\n]*)?(?:\n|$))*")


class Unreadable(Exception):
    """What cannot be read, at which line, and what to do."""

    def __init__(self, line: int, message: str, fix: str = "") -> None:
        super().__init__(message)
        self.line = line
        self.message = message
        self.fix = fix


@dataclass(frozen=True, slots=True)
class Document:
    """One value, and the line of each of its fields by path."""

    value: Any
    line: int
    lines: Mapping[Path, int] = field(default_factory=dict)
    base: Path = ()

    def line_of(self, path: Path) -> int:
        """Of the field at `path`, or of the nearest one that contains it."""
        whole = (*self.base, *path)
        for length in range(len(whole), len(self.base), -1):
            if whole[:length] in self.lines:
                return self.lines[whole[:length]]
        return self.line

    def part(self, path: Path) -> "Document":
        """What stands at `path`, as a document of its own."""
        value = self.value
        for step in path:
            value = value[step]
        return Document(value, self.line_of(path), self.lines, (*self.base, *path))


def documents(text: str, wanted: Wanted) -> Iterator[Document | Unreadable]:
    """The documents of a file, or in its place what is wrong with one: each is parsed by itself, as kubectl does.

    `wanted` sees the texts at the top of a mapping; what it refuses is read no further. Empty documents are left out.
    """
    start = 0
    for chunk in _chunks(_surrogates_joined(text)):
        yield from _chunk(chunk, start, wanted)
        start += chunk.count("\n")


def _chunks(text: str) -> Iterator[str]:
    starts = [0, *(mark.start() for mark in _SEPARATOR.finditer(text) if mark.start()), len(text)]
    for begin, end in pairwise(starts):
        yield text[begin:end]


def _chunk(text: str, start: int, wanted: Wanted) -> Iterator[Document | Unreadable]:
    if _PREAMBLE.fullmatch(text):
        return
    try:
        _bounded(text)
        for node in yaml.compose_all(text, Loader=_Loader):
            if node is not None and (not isinstance(node, yaml.MappingNode) or wanted(_head(node))):
                yield _document(node, start)
    except Unreadable as error:
        yield Unreadable(error.line + start, error.message, error.fix)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        broken = _explained(error, text)
        yield Unreadable(broken.line + start, broken.message, broken.fix)


def _surrogates_joined(text: str) -> str:
    """JSON writes 😀 as two escapes, which YAML does not know."""
    return _SURROGATES.sub(_joined, text) if "\\u" in text else text


def _joined(pair: re.Match[str]) -> str:
    high, low = int(pair[1], 16), int(pair[2], 16)
    return f"\\U{0x10000 + ((high - 0xD800) << 10) + (low - 0xDC00):08x}"


def _bounded(text: str) -> None:
    """Nodes are made by recursion, so the depth is measured on the events first."""
    depth = 0
    for event in yaml.parse(text, Loader=_Loader):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > MAX_DEPTH:
                line = event.start_mark.line + 1 if event.start_mark else 1
                raise Unreadable(line, f"nested deeper than {MAX_DEPTH} levels", "flatten it")
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1


def _explained(error: Exception, text: str) -> Unreadable:
    if isinstance(error, yaml.MarkedYAMLError):
        return _marked(error)
    if isinstance(error, yaml.reader.ReaderError):
        line = text.count("\n", 0, error.position) + 1
        return Unreadable(line, "a character that YAML does not allow", "remove the control character")
    return Unreadable(1, f"not YAML: {type(error).__name__}", "write it as plain YAML")


def _marked(error: yaml.MarkedYAMLError) -> Unreadable:
    mark = error.problem_mark or error.context_mark
    problem = error.problem or error.context or "cannot be parsed"
    return Unreadable(mark.line + 1 if mark else 1, f"not YAML: {problem}", _cure(problem))


def _cure(problem: str) -> str:
    if "cannot start any token" in problem:
        return "indent with spaces, never tabs, and quote values that begin with @, ` or %"
    if "undefined alias" in problem:
        return "define the anchor (&name) before its alias (*name)"
    return "correct the indentation or the quotes at this line, or just above it"


def _head(node: yaml.MappingNode) -> dict[str, str]:
    return {
        key.value: value.value if isinstance(value, yaml.ScalarNode) else ""
        for key, value in node.value
        if isinstance(key, yaml.ScalarNode)
    }


def _document(node: yaml.Node, start: int) -> Document:
    reading = _Reading()
    value = reading.value(node, (), 0)
    return Document(value, _line(node) + start, {path: line + start for path, line in reading.lines.items()})


class _Reading:
    """One document on its way from nodes to values."""

    def __init__(self) -> None:
        self.lines: dict[Path, int] = {}
        self._count = 0
        self._constructor = SafeConstructor()

    def value(self, node: yaml.Node, path: Path, depth: int) -> Any:
        self._count += 1
        if self._count > MAX_VALUES or depth > MAX_DEPTH:
            raise Unreadable(
                _line(node), "too large once its aliases are expanded", "write the values out without aliases"
            )
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, path, depth)
        if isinstance(node, yaml.SequenceNode):
            return [self._item(item, (*path, i), depth) for i, item in enumerate(node.value)]
        return self._scalar(node)

    def _item(self, node: yaml.Node, path: Path, depth: int) -> Any:
        self.lines[path] = _line(node)
        return self.value(node, path, depth + 1)

    def _mapping(self, node: yaml.MappingNode, path: Path, depth: int) -> dict[str, Any]:
        merged: dict[str, Any] = {}
        own: dict[str, Any] = {}
        for key_node, value_node in node.value:
            if key_node.tag == _MERGE:
                merged = {**self._merged(value_node, path, depth), **merged}
                continue
            key = self._key(key_node)
            if key in own:
                raise Unreadable(_line(key_node), f"the key {key!r} stands twice in one mapping", "keep one of them")
            self.lines[(*path, key)] = _line(key_node)
            own[key] = self.value(value_node, (*path, key), depth + 1)
        return {**merged, **own}

    def _merged(self, node: yaml.Node, path: Path, depth: int) -> dict[str, Any]:
        value = self.value(node, path, depth + 1)
        parts = value if isinstance(value, list) else [value]
        if not all(isinstance(part, dict) for part in parts):
            raise Unreadable(_line(node), "`<<` merges a mapping or a list of mappings", "name an anchor of a mapping")
        return {key: part[key] for part in reversed(parts) for key in part}

    def _key(self, node: yaml.Node) -> str:
        if not isinstance(node, yaml.ScalarNode):
            raise Unreadable(
                _line(node), "a key that is not text", "quote it; a template such as {{ … }} is not a manifest"
            )
        return str(node.value)

    def _scalar(self, node: yaml.Node) -> Any:
        if node.tag in _TEXT:
            return str(node.value)
        if not str(node.tag).startswith("tag:yaml.org,2002:"):
            raise Unreadable(_line(node), f"the YAML tag {str(node.tag)[:80]!r} is not allowed", "remove the tag")
        try:
            return _plain(self._constructor.construct_object(node))
        except (yaml.YAMLError, ValueError, KeyError, OverflowError, IndexError) as error:
            detail = str(error).splitlines()[0][:120] if str(error) else type(error).__name__
            raise Unreadable(_line(node), f"a value that cannot be read: {detail}", "quote it if it is text") from None


def _plain(value: Any) -> Any:
    """What JSON knows. Anything else (binary, sets) has no place in a manifest."""
    if value is None or isinstance(value, str | bool | int | float):
        return value
    raise ValueError(f"{type(value).__name__} is not a JSON value")


def _line(node: yaml.Node) -> int:
    return int(node.start_mark.line) + 1
