"""Secrets and ConfigMaps that IdentityProviders of a directory name: `scopewright dev` reads them from its manifests.

They stay in memory. As with every object, the last valid version counts while the manifest is broken or cannot be read.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from scopewright.core.objects import Existing, Ref, digest
from scopewright.manifests.data import DataManifest
from scopewright.manifests.validate import Diagnostic, Manifests
from scopewright.stores import Entries


@dataclass(frozen=True, slots=True)
class _Stored:
    existing: Existing
    entries: Entries = field(repr=False)
    file: str


class NamedData:
    """The objects by reference. `read` may be called while another thread calls `apply`."""

    def __init__(self, new_uid: Callable[[], str], next_version: Callable[[], str]) -> None:
        self._new_uid = new_uid
        self._next_version = next_version
        self._stored: Mapping[Ref, _Stored] = {}

    def read(self, ref: Ref) -> tuple[Existing, Entries] | None:
        stored = self._stored.get(ref)
        return (stored.existing, stored.entries) if stored else None

    def apply(self, manifests: Manifests, named: Iterable[Ref]) -> tuple[frozenset[Ref], tuple[Diagnostic, ...]]:
        """Take the `named` objects from the manifests. Return those that changed, and what is wrong with any."""
        stored: dict[Ref, _Stored] = {}
        problems: list[Diagnostic] = []
        for ref in sorted(set(named)):
            source, before = manifests.data.get(ref), self._stored.get(ref)
            problems += source.problems if source else ()
            if source and not source.manifest.problem:
                stored[ref] = self._version(source.file, source.manifest, before)
            elif before and (source or not manifests.readable or manifests.is_incomplete(before.file)):
                stored[ref] = before
        changed = {ref for ref in stored.keys() | self._stored.keys() if stored.get(ref) != self._stored.get(ref)}
        self._stored = stored
        return frozenset(changed), tuple(problems)

    def _version(self, file: str, manifest: DataManifest, before: _Stored | None) -> _Stored:
        entries = {name: digest(value) for name, value in manifest.entries.items()}
        if before and (before.existing.type, before.existing.entries) == (manifest.type, entries):
            return before if before.file == file else _Stored(before.existing, before.entries, file)
        uid = before.existing.uid if before else self._new_uid()
        existing = Existing(manifest.ref, uid, self._next_version(), manifest.type, entries=entries)
        return _Stored(existing, manifest.entries, file)
