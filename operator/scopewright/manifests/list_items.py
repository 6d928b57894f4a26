"""Which mappings of a document are objects, and which of those are wanted: as kubectl finds them, or more.

To kubectl whatever has `items` is a List, of whatever kind; a merge key may give `apiVersion`, `kind` and `items`; and
of a key that stands twice the last counts. So all that these may be is looked at, and nothing is left out for a doubt.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final

import yaml

from scopewright.manifests.nodes import MERGE, TEXT, YAML_TAG, ManifestError, ParseBudget, line_of

KindFilter = Callable[[str, str], bool]
"""Whether an apiVersion and a kind are."""

_NULL: Final = YAML_TAG + "null"
_CLEAR: Final = (*TEXT, _NULL, *(YAML_TAG + kind for kind in ("bool", "int", "float", "merge")))
"""Tags of scalars that say by their looks what they are; another, such as `!!binary`, may hide a text."""


@dataclass(slots=True)
class _Head:
    """All that `apiVersion`, `kind` and `items` may be. Not `clear`: they may be something else as well."""

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
    def whole(self) -> bool:
        return all(known and all(known) for known in (self.api_versions, self.kinds))

    @property
    def listed(self) -> bool:
        return any(kind.endswith("List") for kind in self.kinds)

    def of_items(self) -> "_Head":
        """What kubectl takes an item for that does not say both itself."""
        return _Head(self.api_versions, {kind.removesuffix("List") for kind in self.kinds}, [], self.clear)


def objects(root: yaml.MappingNode, wanted: KindFilter, budget: ParseBudget) -> Iterator[yaml.Node]:
    """The nodes of what may be wanted, and of what stands in a List and is no object. Each node comes once."""
    seen: set[tuple[int, bool]] = set()
    waiting: list[tuple[yaml.Node, bool]] = [(root, False)]
    while waiting:
        node, typed = waiting.pop()
        if (id(node), typed) in seen:
            continue
        seen.add((id(node), typed))
        head = _head(node, budget)
        if typed and not head.whole:
            fix = "write both: kubectl would take them from the List"
            raise ManifestError(line_of(node), "an item of a List without apiVersion or kind", fix)
        if not isinstance(node, yaml.MappingNode) or (head.may_be(wanted) and not (head.listed and head.items)):
            yield node
        inherits = bool(head.items) and head.of_items().may_be(wanted)
        waiting += [(item, inherits) for item in reversed(list(_items(head)))]


def _items(head: _Head) -> Iterator[yaml.Node]:
    for items in head.items:
        if isinstance(items, yaml.SequenceNode):
            yield from (item for item in items.value if head.listed or isinstance(item, yaml.MappingNode))
        elif head.listed:
            raise ManifestError(line_of(items), "a List without a list of items", "put the objects under items")


def _head(root: yaml.Node, budget: ParseBudget) -> _Head:
    head = _Head()
    seen: set[int] = set()
    waiting = [root] if isinstance(root, yaml.MappingNode) else []
    while waiting:
        node = waiting.pop()
        if id(node) in seen or isinstance(node, yaml.ScalarNode):
            continue
        seen.add(id(node))
        if node is not root:
            budget.spend(node, len(node.value))
        if isinstance(node, yaml.SequenceNode):
            waiting += node.value
            continue
        for key, value in node.value:
            if key.tag == MERGE:
                waiting.append(value)
            elif isinstance(key, yaml.ScalarNode):
                _take(head, key, value)
    return head


def _take(head: _Head, key: yaml.ScalarNode, value: yaml.Node) -> None:
    if key.tag not in _CLEAR:
        head.clear = False
    elif key.value == "items" and value.tag != _NULL:
        head.items.append(value)
    elif key.value in ("apiVersion", "kind"):
        known = head.kinds if key.value == "kind" else head.api_versions
        if value.tag in _CLEAR:
            known.add(value.value if isinstance(value, yaml.ScalarNode) else "")
        else:
            head.clear = head.clear and not isinstance(value, yaml.ScalarNode)
