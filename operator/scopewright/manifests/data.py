"""Secrets and ConfigMaps among the manifests: the data that an IdentityProvider may name.

Scopewright does not manage them, and most are for other programs: one that cannot be identified is ignored, and what is
wrong with one is reported only if an IdentityProvider names it. No message quotes a value.
"""

import base64
import binascii
import difflib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import yaml

from scopewright.api.names import DNS_SUBDOMAIN, is_label
from scopewright.core.objects import Ref
from scopewright.core.providers.secrets import PROVIDER_SECRET_TYPE
from scopewright.core.providers.static_users import STATIC_USERS_TYPE
from scopewright.manifests.list_items import objects
from scopewright.manifests.nodes import MERGE, Document, ManifestError, NodeReader, ParseBudget, Path

MAX_DATA: Final = 1 << 20
"""Bytes in all entries of one object, as in Kubernetes."""

_HEADER: Final = ("apiVersion", "kind", "metadata", "type")
_FIELDS: Final = {
    "Secret": (*_HEADER, "immutable", "data", "stringData"),
    "ConfigMap": (*_HEADER, "immutable", "binaryData", "data"),
}
"""The last two are the entries, as base64 and as text; text wins."""
_KEY: Final = re.compile(r"(?!\.\.)[-._a-zA-Z0-9]{1,253}")


@dataclass(frozen=True, slots=True)
class DataManifest:
    """One Secret or ConfigMap in a file; with a `problem`, its entries are unknown.

    `type` is that of a Secret. Of a type that no IdentityProvider may name, the entries are not read.
    """

    ref: Ref
    line: int
    type: str = ""
    entries: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    problem: ManifestError | None = None


def data_manifests(root: yaml.MappingNode, start: int) -> Iterator[DataManifest]:
    """Yield the Secrets and ConfigMaps of a document. `start` is the number of lines before it in its file."""
    budget = ParseBudget()
    try:
        nodes = list(objects(root, _is_data, budget))
    except ManifestError:
        return
    for node in nodes:
        if isinstance(node, yaml.MappingNode) and (found := _identified(node, start, budget)):
            yield found if found.problem or not _has_entries(found) else _with_entries(found, node, start, budget)


def _is_data(api_version: str, kind: str) -> bool:
    return api_version == "v1" and kind in _FIELDS


def _has_entries(found: DataManifest) -> bool:
    return found.ref.kind == "ConfigMap" or found.type in (PROVIDER_SECRET_TYPE, STATIC_USERS_TYPE)


def _identified(node: yaml.MappingNode, start: int, budget: ParseBudget) -> DataManifest | None:
    """Its reference and type, from the fields that all objects have."""
    header = [(key, value) for key, value in node.value if key.tag == MERGE or key.value in _HEADER]
    try:
        document = NodeReader(budget, start).document(
            yaml.MappingNode(node.tag, header, node.start_mark, node.end_mark, node.flow_style)
        )
    except ManifestError:
        return None
    value = document.value
    kind, metadata = value.get("kind"), value.get("metadata")
    if value.get("apiVersion") != "v1" or kind not in tuple(_FIELDS) or not isinstance(metadata, dict):
        return None
    name, namespace = metadata.get("name"), metadata.get("namespace") or "default"
    if not (isinstance(name, str) and len(name) <= 253 and re.fullmatch(DNS_SUBDOMAIN, name)):
        return None
    if not (isinstance(namespace, str) and is_label(namespace)):
        return None
    type_ = str(value.get("type") or "Opaque") if kind == "Secret" else ""
    return DataManifest(Ref(kind, namespace, name), document.line, type_)


def _with_entries(found: DataManifest, node: yaml.MappingNode, start: int, budget: ParseBudget) -> DataManifest:
    try:
        document = NodeReader(budget, start).document(node)
    except ManifestError as error:
        fix = "write each entry once, as text in quotes or after '|'"
        problem = ManifestError(error.line, f"the entries of {found.ref} cannot be read", fix)
        return DataManifest(found.ref, found.line, found.type, problem=problem)
    try:
        return DataManifest(found.ref, found.line, found.type, _entries(document, found.ref.kind))
    except ManifestError as problem:
        return DataManifest(found.ref, found.line, found.type, problem=problem)


def _entries(document: Document, kind: str) -> dict[str, bytes]:
    fields = _FIELDS[kind]
    for name in document.value:
        if name not in fields:
            close = difflib.get_close_matches(name[:100], fields, n=1)
            fix = f"did you mean {close[0]}?" if close else f"remove it; known here: {', '.join(fields)}"
            raise ManifestError(document.line_of((name,)), f"unknown field {name[:100]} of a {kind}", fix)
    encoded, text = fields[-2:]
    entries = {key: _decoded(document, (encoded, key), value) for key, value in _texts(document, encoded)}
    entries |= {key: value.encode(errors="surrogatepass") for key, value in _texts(document, text)}
    if sum(map(len, entries.values())) > MAX_DATA:
        raise ManifestError(document.line, f"the entries have more than {MAX_DATA >> 20} MiB", "remove some of them")
    return entries


def _texts(document: Document, name: str) -> Iterator[tuple[str, str]]:
    given: Any = document.value.get(name)
    if given is None:
        return
    if not isinstance(given, dict):
        raise ManifestError(document.line_of((name,)), f"{name} must be a mapping", "write key: value")
    for key, value in given.items():
        line = document.line_of((name, key))
        if not _KEY.fullmatch(key):
            fix = "use letters, digits, '-', '_' and '.', not '..' at the beginning"
            raise ManifestError(line, f"{name} has an entry whose name is not valid", fix)
        if not isinstance(value, str):
            raise ManifestError(line, f"{name}.{key} must be text", "put it in quotes, or after '|'")
        yield key, value


def _decoded(document: Document, path: Path, value: str) -> bytes:
    try:
        return base64.b64decode(re.sub(r"[\r\n]", "", value), validate=True)
    except (binascii.Error, ValueError):
        field_name = _FIELDS[document.value["kind"]][-1]
        fix = f"encode it with `base64`, or write it as text under {field_name}"
        raise ManifestError(document.line_of(path), f"{'.'.join(map(str, path))} is not base64", fix) from None
