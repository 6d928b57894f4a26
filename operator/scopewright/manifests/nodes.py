"""Convert the nodes of a YAML document to values and the line of each field, as kubectl reads them.

YAML that programs read differently is refused, so that the reviewed and the applied object are the same: keys that are
not text, tags, a merge after the keys that it gives.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import yaml
from yaml.constructor import SafeConstructor
from yaml.resolver import Resolver

MAX_DEPTH: Final = 100
MAX_REPEATED: Final = 100_000
"""Values that aliases may repeat in everything read at once; stops a 'billion laughs' across several files."""

_CHARACTERS: Final = 64
"""Characters of a repeated text that cost as much as one value."""

YAML_TAG: Final = "tag:yaml.org,2002:"
MERGE: Final = YAML_TAG + "merge"
TEXT: Final = (YAML_TAG + "str", YAML_TAG + "timestamp", YAML_TAG + "value")
_NOT_TEXT_IN_GO: Final = re.compile(r"[yYnN]|[-+]?\.?[0-9][-+.0-9_a-fA-FoOxX]*")
"""Plain keys that YAML libraries of Go read as a boolean or a number, and write differently."""

Path = tuple[str | int, ...]


class ManifestError(Exception):
    """A manifest cannot be read: the line, what is wrong, and what to do."""

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

    def line_of(self, path: Path) -> int:
        """Return the line of the field at `path`, or of the nearest one that contains it."""
        for length in range(len(path), 0, -1):
            if path[:length] in self.lines:
                return self.lines[path[:length]]
        return self.line


class ParseBudget:
    """Counts the values repeated by aliases; one instance for everything that is read at once."""

    def __init__(self) -> None:
        self._left = MAX_REPEATED

    def spend(self, node: yaml.Node, values: int) -> None:
        self._left -= values
        if self._left < 0:
            message = f"aliases repeat more than {MAX_REPEATED} values, with those of the files read before"
            raise ManifestError(line_of(node), message, "write the values out without aliases")


class NodeReader:
    """Converts the nodes of one text to values. `start` is the number of lines before it in its file."""

    def __init__(self, budget: ParseBudget, start: int) -> None:
        self._budget = budget
        self._first_line = start
        self._read: set[int] = set()
        self._lines: dict[Path, int] = {}
        self._constructor = SafeConstructor()
        self._resolver: Any = Resolver()

    def document(self, node: yaml.Node) -> Document:
        self._lines = {}
        value = self._value(node, (), 0)
        return Document(value, line_of(node) + self._first_line, self._lines)

    def _value(self, node: yaml.Node, path: Path, depth: int) -> Any:
        if depth > MAX_DEPTH:
            raise ManifestError(line_of(node), f"nested deeper than {MAX_DEPTH} levels by aliases", "write it without")
        if id(node) in self._read:
            self._budget.spend(node, 1 + (len(node.value) // _CHARACTERS if isinstance(node, yaml.ScalarNode) else 0))
        self._read.add(id(node))
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node)
        if isinstance(node, yaml.MappingNode):
            self._refuse_tag(node, "map")
            return self._mapping(node, path, depth)
        self._refuse_tag(node, "seq")
        return [self._item(item, (*path, i), depth) for i, item in enumerate(node.value)]

    def _item(self, node: yaml.Node, path: Path, depth: int) -> Any:
        self._lines[path] = line_of(node) + self._first_line
        return self._value(node, path, depth + 1)

    def _mapping(self, node: yaml.MappingNode, path: Path, depth: int) -> dict[str, Any]:
        merged: dict[str, Any] | None = None
        own: dict[str, Any] = {}
        for key_node, value_node in node.value:
            if key_node.tag == MERGE:
                if merged is not None:
                    message = "`<<` is duplicated in one mapping"
                    raise ManifestError(line_of(key_node), message, "write it once, with a list")
                merged = self._merged(value_node, path, depth)
                self._require_merge_first(key_node, own, merged)
                continue
            key = self._key(key_node)
            if key in own:
                message = f"the key {key!r} is duplicated in one mapping"
                raise ManifestError(line_of(key_node), message, "keep one of them")
            self._lines[(*path, key)] = line_of(key_node) + self._first_line
            own[key] = self._value(value_node, (*path, key), depth + 1)
        return {**(merged or {}), **own}

    def _merged(self, node: yaml.Node, path: Path, depth: int) -> dict[str, Any]:
        value = self._value(node, path, depth + 1)
        parts = value if isinstance(value, list) else [value]
        if not all(isinstance(part, dict) for part in parts):
            message = "`<<` merges a mapping or a list of mappings"
            raise ManifestError(line_of(node), message, "name an anchor of a mapping")
        return {key: part[key] for part in reversed(parts) for key in part}

    def _require_merge_first(self, node: yaml.Node, own: Mapping[str, Any], merged: Mapping[str, Any]) -> None:
        """Refuse a merge after keys that it gives: the merged key wins in kubectl, the own key in other programs."""
        if twice := sorted(own.keys() & merged.keys()):
            message = f"`<<` gives the key {twice[0]!r}, which precedes it: programs differ in which of them they use"
            raise ManifestError(line_of(node), message, "put `<<` first in its mapping")
        if node.value != "<<":
            raise ManifestError(line_of(node), "the YAML tag '!!merge' is not allowed", "write `<<` without a tag")

    def _key(self, node: yaml.Node) -> str:
        plain = isinstance(node, yaml.ScalarNode) and not node.style
        if node.tag not in TEXT or (plain and _NOT_TEXT_IN_GO.fullmatch(node.value)):
            if plain:
                raise ManifestError(
                    line_of(node), f"the key {node.value[:40]} is not text to kubectl", f'quote it: "{node.value[:40]}"'
                )
            fix = "quote it; a template such as {{ … }} is not a manifest"
            raise ManifestError(line_of(node), "a key that is not text", fix)
        return str(node.value)

    def _scalar(self, node: yaml.ScalarNode) -> Any:
        if node.tag == TEXT[0]:
            return str(node.value)
        self._refuse_tag(node, self._implied(node))
        if node.tag in TEXT:
            return str(node.value)
        try:
            return _plain(self._constructor.construct_object(node))
        except (yaml.YAMLError, ValueError, KeyError, OverflowError, IndexError) as error:
            detail = str(error).splitlines()[0][:120] if str(error) else type(error).__name__
            raise ManifestError(
                line_of(node), f"a value that cannot be read: {detail}", "quote it if it is text"
            ) from None

    def _implied(self, node: yaml.ScalarNode) -> str:
        return str(self._resolver.resolve(yaml.ScalarNode, node.value, (not node.style, bool(node.style))))

    def _refuse_tag(self, node: yaml.Node, implied: str) -> None:
        """Refuse a tag that differs from the type that the value has without it."""
        if node.tag not in (implied, YAML_TAG + implied):
            raise ManifestError(line_of(node), f"the YAML tag {str(node.tag)[:80]!r} is not allowed", "remove the tag")


def _plain(value: Any) -> Any:
    """Return a JSON value unchanged; ValueError for any other (binary, sets)."""
    if value is None or isinstance(value, str | bool | int | float):
        return value
    raise ValueError(f"{type(value).__name__} is not a JSON value")


def line_of(node: yaml.Node) -> int:
    return int(node.start_mark.line) + 1
