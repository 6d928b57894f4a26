"""Turn a document into declared objects: which are managed by Scopewright, and what is wrong with them."""

import difflib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from scopewright.api import API_VERSION, GROUP, KINDS
from scopewright.api.names import is_label
from scopewright.api.validation import validate
from scopewright.core.objects import Ref
from scopewright.manifests.data import DataManifest
from scopewright.manifests.nodes import Document, ManifestError, ParseBudget, Path
from scopewright.manifests.yaml import documents

NAMESPACE: Final = "Namespace"
_NAMESPACE_LABEL: Final = "kubernetes.io/metadata.name"
_TOP: Final = ("apiVersion", "kind", "metadata", "spec", "status")
_SERVER_SET: Final = ("uid", "resourceVersion", "generation", "creationTimestamp", "managedFields", "selfLink")
_METADATA: Final = (
    *("name", "namespace", "labels", "annotations", "generateName", "finalizers", "ownerReferences"),
    *("deletionTimestamp", "deletionGracePeriodSeconds", *_SERVER_SET),
)


@dataclass(frozen=True, slots=True, order=True)
class Diagnostic:
    """What is wrong, at which line (from 1) of which file, and what to do about it.

    `unread`: the declarations there are unknown, and other programs may read them.
    """

    file: str
    line: int
    message: str
    fix: str = ""
    unread: bool = False

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.message}" + (f": {self.fix}" if self.fix else "")


@dataclass(frozen=True, slots=True)
class SourceLocation:
    """Where an object is declared: the file, relative to the directory, and its first line."""

    file: str
    line: int
    document: Document | None = field(default=None, compare=False, repr=False)

    def line_of(self, path: Path) -> int:
        """Return the line of the field at `path`, or of the nearest one that contains it."""
        return self.document.line_of(path) if self.document else self.line


@dataclass(frozen=True, slots=True)
class DataSource:
    """A Secret or ConfigMap, its file relative to the directory, and what is wrong if an IdentityProvider names it."""

    file: str
    manifest: DataManifest
    problems: tuple[Diagnostic, ...] = ()


@dataclass(frozen=True, slots=True)
class Manifests:
    """What a directory declares at one moment.

    `broken` objects are declared but invalid. The files in `incomplete` may declare more; a name that ends in `/` is a
    directory, and the empty name is the whole directory. If `readable` is false, nothing is known. `templates` are
    files from which other programs generate manifests. `data` are Secrets and ConfigMaps, which others may own.
    """

    objects: Mapping[Ref, dict[str, Any]]
    problems: tuple[Diagnostic, ...] = ()
    sources: Mapping[Ref, SourceLocation] = field(default_factory=dict)
    broken: frozenset[Ref] = frozenset()
    incomplete: frozenset[str] = frozenset()
    readable: bool = True
    templates: tuple[str, ...] = ()
    data: Mapping[Ref, DataSource] = field(default_factory=dict, repr=False)

    def is_incomplete(self, file: str) -> bool:
        return file in self.incomplete or any(file.startswith(o) for o in self.incomplete if not o or o.endswith("/"))


@dataclass(frozen=True, slots=True)
class DeclaredObject:
    """One declaration in a file; `manifest` is None if it is invalid."""

    ref: Ref
    document: Document = field(compare=False, repr=False)
    manifest: dict[str, Any] | None


@dataclass(frozen=True, slots=True)
class Content:
    """What one file declares, what is wrong with that, and what could not be read.

    `incomplete`: a part of it could not be read, or not be identified.
    """

    declared: tuple[DeclaredObject, ...] = ()
    problems: tuple[ManifestError, ...] = ()
    unread: tuple[ManifestError, ...] = ()
    incomplete: bool = False
    data: tuple[DataManifest, ...] = ()


def content(text: str, budget: ParseBudget) -> Content:
    """Return everything that a file declares, and everything wrong with it."""
    declared: list[DeclaredObject] = []
    problems: list[ManifestError] = []
    unread: list[ManifestError] = []
    data: list[DataManifest] = []
    incomplete = False
    for item in documents(text, _wanted, budget):
        if isinstance(item, ManifestError):
            unread.append(item)
            continue
        if isinstance(item, DataManifest):
            data.append(item)
            continue
        one, wrong = _declared(item)
        problems.extend(wrong)
        declared.extend([one] if one else [])
        incomplete = incomplete or (one is None and bool(wrong))
    return Content(tuple(declared), tuple(problems), tuple(unread), incomplete or bool(unread), tuple(data))


def _wanted(api_version: str, kind: str) -> bool:
    if api_version == "v1" and kind == NAMESPACE:
        return True
    group = api_version.partition("/")[0] if "/" in api_version else ""
    if group == GROUP or group.endswith("." + GROUP):
        return True
    return kind in KINDS and (not group or bool(difflib.get_close_matches(group[:100], [GROUP], cutoff=0.8)))


def _declared(document: Document) -> tuple[DeclaredObject | None, list[ManifestError]]:
    value = document.value
    if not isinstance(value, dict):
        fix = "begin with apiVersion, kind and metadata; move other files elsewhere"
        wrong = [ManifestError(document.line, f"not a manifest but a {_json_type(value)}", fix)]
        return None, wrong if value is not None else []
    if not _wanted(*(str(value.get(key) or "") for key in ("apiVersion", "kind"))):
        return None, []
    problems = [*_identity(document), *_fields(document)]
    ref = _ref(document.value)
    if ref and not problems and ref.kind in KINDS:
        problems = _violations(document, ref)
    if ref is None:
        return None, problems or [ManifestError(document.line, "not a manifest", "give it a kind and a metadata.name")]
    if problems:
        return DeclaredObject(ref, Document(None, document.line), None), problems
    return DeclaredObject(ref, document, _without_nulls(_normalised(document.value, ref))), []


def _identity(document: Document) -> Iterator[ManifestError]:
    """Yield what is wrong with apiVersion and kind."""
    api_version, kind = document.value.get("apiVersion"), document.value.get("kind")
    if kind == NAMESPACE and api_version == "v1":
        return
    if not isinstance(kind, str) or kind not in KINDS:
        close = difflib.get_close_matches(str(kind)[:100], KINDS, n=1)
        fix = f"did you mean {close[0]}?" if close else f"write one of {', '.join(KINDS)}"
        named = f"unknown kind {_short(kind)}" if kind is not None else "kind is missing"
        yield ManifestError(document.line_of(("kind",)), named, fix)
    if api_version != API_VERSION:
        named = f"unknown apiVersion {_short(api_version)}" if api_version is not None else "apiVersion is missing"
        yield ManifestError(document.line_of(("apiVersion",)), named, f"write apiVersion: {API_VERSION}")


def _fields(document: Document) -> Iterator[ManifestError]:
    """Yield what is wrong with the top-level fields and the metadata."""
    value = document.value
    if value.get("kind") != NAMESPACE:
        yield from _unknown(document, (), value, _TOP)
    metadata = value.get("metadata")
    if not isinstance(metadata, dict):
        yield ManifestError(document.line_of(("metadata",)), "metadata must be a mapping", "give it at least a name")
        return
    yield from _unknown(document, ("metadata",), metadata, _METADATA)
    yield from _names(document, metadata)
    for field_name in ("labels", "annotations"):
        yield from _texts(document, field_name, metadata.get(field_name))


def _unknown(document: Document, path: Path, given: Iterable[str], known: Iterable[str]) -> Iterator[ManifestError]:
    for key in given:
        if key not in known:
            where = (*path, key)
            yield ManifestError(document.line_of(where), f"unknown field {_dotted(where)}", _did_you_mean(key, known))


def _names(document: Document, metadata: Mapping[str, Any]) -> Iterator[ManifestError]:
    for key in ("name", "namespace"):
        name = metadata.get(key)
        if name is None and key == "namespace":
            continue
        line = document.line_of(("metadata", key))
        if name is None:
            yield ManifestError(line, "metadata.name is missing", "name the object")
        elif not isinstance(name, str):
            yield ManifestError(line, f"metadata.{key} must be text, not {_json_type(name)}", "quote it")
        elif not is_label(name):
            rule = "at most 63 lower-case letters, digits and '-', beginning and ending with a letter or digit"
            yield ManifestError(line, f"metadata.{key} {_short(name)} is not a DNS label", f"rename it: {rule}")


def _texts(document: Document, key: str, value: Any) -> Iterator[ManifestError]:
    if value is None:
        return
    if not isinstance(value, dict):
        yield ManifestError(
            document.line_of(("metadata", key)), f"metadata.{key} must be a mapping", "write key: value"
        )
        return
    for name, text in value.items():
        if not isinstance(text, str):
            path = ("metadata", key, name)
            yield ManifestError(
                document.line_of(path), f"{_dotted(path)} must be text, not {_json_type(text)}", "quote it"
            )


def _violations(document: Document, ref: Ref) -> list[ManifestError]:
    """Return violations of the rules of the kind; their messages are `what is wrong; what to do`."""
    problems = []
    for violation in validate(_normalised(document.value, ref)):
        message, _, fix = violation.message.partition("; ")
        where = f"{_dotted(violation.path)}: " if violation.path else ""
        problems.append(ManifestError(document.line_of(violation.path), where + message, fix or "correct the value"))
    return problems


def _did_you_mean(key: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(key[:100], known, n=1)
    return f"did you mean {close[0]}?" if close else f"remove it; known here: {', '.join(known)}"


def _ref(value: Mapping[str, Any]) -> Ref | None:
    kind, metadata = value.get("kind"), value.get("metadata")
    if kind not in (*KINDS, NAMESPACE) or not isinstance(metadata, dict):
        return None
    name, namespace = metadata.get("name"), metadata.get("namespace")
    namespace = "default" if namespace is None else namespace
    if not all(isinstance(n, str) and is_label(n) for n in (name, namespace)):
        return None
    return Ref(str(kind), "" if kind == NAMESPACE else str(namespace), str(name))


def _normalised(value: Mapping[str, Any], ref: Ref) -> dict[str, Any]:
    """Return the manifest as an API server stores it: without its own fields and the status, with a namespace."""
    metadata = {k: v for k, v in value["metadata"].items() if k not in _SERVER_SET and v is not None}
    metadata.pop("namespace", None)
    if ref.namespace:
        metadata["namespace"] = ref.namespace
    return {**{k: v for k, v in value.items() if k != "status"}, "metadata": metadata}


def _without_nulls(value: Any) -> Any:
    """Remove null fields: `validate` accepts null only where the field may be omitted."""
    if isinstance(value, dict):
        return {name: _without_nulls(child) for name, child in value.items() if child is not None}
    return [_without_nulls(item) for item in value] if isinstance(value, list) else value


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:60]}… ({len(text)} characters)"


def _dotted(path: Path) -> str:
    whole = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path).removeprefix(".")
    return whole if len(whole) <= 160 else f"{whole[:140]}…"


def _json_type(value: Any) -> str:
    names = {bool: "true or false", int: "number", float: "number", str: "text", list: "list", dict: "mapping"}
    return names.get(type(value), "nothing")


def namespaces_of(objects: Mapping[Ref, Mapping[str, Any]]) -> dict[str, dict[str, str]]:
    """Return labels by name of the declared namespaces and those of objects, with the label Kubernetes adds."""
    names: dict[str, dict[str, str]] = {}
    for ref, declared in objects.items():
        if ref.kind == NAMESPACE:
            names[ref.name] = {**(declared["metadata"].get("labels") or {}), _NAMESPACE_LABEL: ref.name}
        else:
            names.setdefault(ref.namespace, {_NAMESPACE_LABEL: ref.namespace})
    return dict(sorted(names.items()))


def manifest_ref(manifest: Mapping[str, Any]) -> Ref:
    metadata = manifest["metadata"]
    return Ref(str(manifest["kind"]), str(metadata.get("namespace", "")), str(metadata["name"]))
