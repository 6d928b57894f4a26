"""Find the objects of a document that pass a filter: at least those that kubectl finds.

kubectl treats every object with `items` as a List, whatever its kind. A merge key may give `apiVersion`, `kind` and
`items`, and the last of duplicate keys wins. So every possible value is considered, and an ambiguous object is kept.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final

import yaml

from scopewright.manifests.nodes import MERGE, TEXT, YAML_TAG, ManifestError, ParseBudget, line_of

KindFilter = Callable[[str, str], bool]
"""Whether objects of an apiVersion and a kind are wanted."""

_NULL: Final = YAML_TAG + "null"
_CLEAR: Final = (*TEXT, _NULL, *(YAML_TAG + kind for kind in ("bool", "int", "float", "merge")))
"""Tags of scalars whose text is their value; another, such as `!!binary`, may encode a text."""


@dataclass(slots=True)
class _TypeMeta:
    """The possible values of `apiVersion`, `kind` and `items`. Not `clear`: there may be others."""

    api_versions: set[str] = field(default_factory=set)
    kinds: set[str] = field(default_factory=set)
    items: list[yaml.Node] = field(default_factory=list)
    clear: bool = True

    def may_be(self, wanted: KindFilter) -> bool:
        if not self.clear:
            return True
        if len(self.api_versions) < 2 and len(self.kinds) < 2:
            return wanted("".join(self.api_versions), "".join(self.kinds))
        return any(wanted(each, "") for each in self.api_versions) or any(
            wanted(core, each) for each in self.kinds for core in ("", "v1")
        )

    @property
    def is_complete(self) -> bool:
        return all(known and all(known) for known in (self.api_versions, self.kinds))

    @property
    def is_list(self) -> bool:
        return any(kind.endswith("List") for kind in self.kinds)

    def for_items(self) -> "_TypeMeta":
        """Return the type that kubectl gives to an item without its own apiVersion and kind."""
        return _TypeMeta(self.api_versions, {kind.removesuffix("List") for kind in self.kinds}, [], self.clear)


def objects(root: yaml.MappingNode, wanted: KindFilter, budget: ParseBudget) -> Iterator[yaml.Node]:
    """Yield the nodes that may be wanted, and items of a List that are not objects. Each node comes once."""
    visited: set[tuple[int, bool]] = set()
    pending: list[tuple[yaml.Node, bool]] = [(root, False)]
    while pending:
        node, typed = pending.pop()
        if (id(node), typed) in visited:
            continue
        visited.add((id(node), typed))
        meta = _type_meta(node, budget)
        if typed and not meta.is_complete:
            fix = "write both: kubectl would take them from the List"
            raise ManifestError(line_of(node), "an item of a List without apiVersion or kind", fix)
        if not isinstance(node, yaml.MappingNode) or (meta.may_be(wanted) and not (meta.is_list and meta.items)):
            yield node
        inherits = bool(meta.items) and meta.for_items().may_be(wanted)
        pending += [(item, inherits) for item in reversed(list(_items(meta)))]


def _items(meta: _TypeMeta) -> Iterator[yaml.Node]:
    for items in meta.items:
        if isinstance(items, yaml.SequenceNode):
            yield from (item for item in items.value if meta.is_list or isinstance(item, yaml.MappingNode))
        elif meta.is_list:
            raise ManifestError(line_of(items), "a List without a list of items", "put the objects under items")


def _type_meta(root: yaml.Node, budget: ParseBudget) -> _TypeMeta:
    meta = _TypeMeta()
    visited: set[int] = set()
    pending = [root] if isinstance(root, yaml.MappingNode) else []
    while pending:
        node = pending.pop()
        if id(node) in visited or isinstance(node, yaml.ScalarNode):
            continue
        visited.add(id(node))
        if node is not root:
            budget.spend(node, len(node.value))
        if isinstance(node, yaml.SequenceNode):
            pending += node.value
            continue
        for key, value in node.value:
            if key.tag == MERGE:
                pending.append(value)
            elif isinstance(key, yaml.ScalarNode):
                _collect(meta, key, value)
    return meta


def _collect(meta: _TypeMeta, key: yaml.ScalarNode, value: yaml.Node) -> None:
    if key.tag not in _CLEAR:
        meta.clear = False
    elif key.value == "items" and value.tag != _NULL:
        meta.items.append(value)
    elif key.value in ("apiVersion", "kind"):
        known = meta.kinds if key.value == "kind" else meta.api_versions
        if value.tag in _CLEAR:
            known.add(value.value if isinstance(value, yaml.ScalarNode) else "")
        else:
            meta.clear = meta.clear and not isinstance(value, yaml.ScalarNode)
