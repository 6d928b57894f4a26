"""Parse text into documents with the line of each field: bounded, and the only exception is `ManifestError`.

It reads what kubectl reads: YAML 1.1 with merge keys, JSON as a subset, and timestamps as text.
"""

import re
from collections.abc import Iterator
from itertools import pairwise
from typing import Any, Final

import yaml

from scopewright.manifests.data import DataManifest, data_manifests
from scopewright.manifests.list_items import KindFilter, objects
from scopewright.manifests.nodes import MAX_DEPTH, Document, ManifestError, NodeReader, ParseBudget, line_of

MAX_NODES: Final = 500_000
"""Values in one document; each takes some hundred bytes and microseconds."""

_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_SURROGATES: Final = re.compile(r"\\u([dD][89abAB][0-9a-fA-F]{2})\\u([dD][c-fC-F][0-9a-fA-F]{2})")
_SEPARATOR: Final = re.compile(r"^---(?=\s|$)", re.MULTILINE)
_BREAKS: Final = "\n\r\x85\u2028\u2029"
"""Line breaks of YAML, which end a comment."""
_PREAMBLE: Final = re.compile(rf"(?:[ \t]*(?:[#%][^{_BREAKS}]*)?(?:[{_BREAKS}]|$))*")


def documents(text: str, wanted: KindFilter, budget: ParseBudget) -> Iterator[Document | DataManifest | ManifestError]:
    """Yield the objects of a file that may be wanted, or what is wrong with them. Each document is parsed by itself.

    Lists are split into items. Of other objects, Secrets and ConfigMaps are yielded; a document that is not a mapping
    is yielded.
    """
    if "\ufeff" in text:
        line = text.count("\n", 0, text.index("\ufeff")) + 1
        yield ManifestError(line, "a byte order mark inside the text", "remove it: it is allowed at the beginning only")
        return
    start = 0
    for chunk in _chunks(_surrogates_joined(text)):
        yield from _chunk(chunk, start, wanted, budget)
        start += chunk.count("\n")


def _chunks(text: str) -> Iterator[str]:
    starts = [0, *(mark.start() for mark in _SEPARATOR.finditer(text) if mark.start()), len(text)]
    for begin, end in pairwise(starts):
        yield text[begin:end]


def _chunk(
    text: str, start: int, wanted: KindFilter, budget: ParseBudget
) -> Iterator[Document | DataManifest | ManifestError]:
    if _PREAMBLE.fullmatch(text):
        return
    try:
        _check_limits(text)
        reader = NodeReader(budget, start)
        for root in yaml.compose_all(text, Loader=_Loader):
            if isinstance(root, yaml.MappingNode):
                yield from map(reader.document, objects(root, wanted, budget))
                yield from data_manifests(root, start)
            elif isinstance(root, yaml.SequenceNode):
                yield Document([], line_of(root) + start)
            elif root is not None:
                yield reader.document(root)
    except ManifestError as error:
        yield ManifestError(error.line + start, error.message, error.fix)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        broken = _explained(error, text)
        yield ManifestError(broken.line + start, broken.message, broken.fix)


def _surrogates_joined(text: str) -> str:
    """Join the two escapes that JSON writes for a character such as 😀; YAML does not support them."""
    return _SURROGATES.sub(_joined, text) if "\\u" in text else text


def _joined(pair: re.Match[str]) -> str:
    high, low = int(pair[1], 16), int(pair[2], 16)
    return f"\\U{0x10000 + ((high - 0xD800) << 10) + (low - 0xDC00):08x}"


def _check_limits(text: str) -> None:
    """Check size and depth on the events first, because nodes are composed by recursion."""
    depth = 0
    for number, event in enumerate(yaml.parse(text, Loader=_Loader)):
        if number > MAX_NODES:
            raise ManifestError(1, f"a document of more than {MAX_NODES} values", "split it")
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > MAX_DEPTH:
                line = event.start_mark.line + 1 if event.start_mark else 1
                raise ManifestError(line, f"nested deeper than {MAX_DEPTH} levels", "flatten it")
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1


def _explained(error: Exception, text: str) -> ManifestError:
    if isinstance(error, yaml.MarkedYAMLError):
        return _marked(error)
    if isinstance(error, yaml.reader.ReaderError):
        line = text.count("\n", 0, error.position) + 1
        return ManifestError(line, "a character that YAML does not allow", "remove the control character")
    return ManifestError(1, f"not YAML: {type(error).__name__}", "write it as plain YAML")


def _marked(error: yaml.MarkedYAMLError) -> ManifestError:
    mark = error.problem_mark or error.context_mark
    problem = error.problem or error.context or "cannot be parsed"
    return ManifestError(mark.line + 1 if mark else 1, f"not YAML: {problem}", _cure(problem))


def _cure(problem: str) -> str:
    if "cannot start any token" in problem:
        return "indent with spaces, never tabs, and quote values that begin with @, ` or %"
    if "undefined alias" in problem:
        return "define the anchor (&name) before its alias (*name)"
    return "correct the indentation or the quotes at this line, or just above it"
