"""The API server: resourceVersions, watches with a history, garbage collector. Faults are injected by `network`."""

import functools
from bisect import bisect_right
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple

from scopewright.api import GROUP, KINDS
from scopewright.core.failures import Conflict, Rejected
from scopewright.stores.kubernetes.answers import NotFound
from tests.simulation.loop import RUNNING, VirtualLoop
from tests.simulation.process import START

Raw = dict[str, Any]
NamespacedName = tuple[str, str]
"""Namespace and name."""
USER: Final = "user"
GARBAGE_COLLECTOR: Final = "garbage collector"
KIND_OF: Final = {kind.PLURAL: name for name, kind in KINDS.items()} | {
    "secrets": "Secret", "configmaps": "ConfigMap", "namespaces": "Namespace", "leases": "Lease", "events": "Event",
}  # fmt: skip
DECLARED: Final = tuple(kind.PLURAL for kind in KINDS.values())
CRDS: Final = "customresourcedefinitions"


class Where(NamedTuple):
    plural: str
    namespace: str
    name: str
    sub: str


@functools.cache
def locate(path: str) -> Where:
    """The resource, namespace, name and subresource of an API path."""
    parts = path.strip("/").split("/")
    parts = parts[2:] if parts[0] == "api" else parts[3:]
    namespace = ""
    if parts[0] == "namespaces" and len(parts) > 2:
        namespace, parts = parts[1], parts[2:]
    plural, name, sub = (*parts, "", "", "")[:3]
    return Where(plural, namespace, name, sub)


@dataclass(frozen=True)
class Write:
    """A write that was carried out. `old` is None for a create, `new` for a delete."""

    actor: str
    verb: str
    where: Where
    old: Raw | None
    new: Raw | None
    body: Raw | None

    @property
    def at(self) -> NamespacedName:
        meta = (self.new or self.old or {})["metadata"]
        return meta.get("namespace", ""), meta["name"]


@dataclass
class Event:
    version: int
    type: str
    object: Raw
    old: Raw | None


@dataclass
class Server:
    loop: VirtualLoop
    on_write: Callable[[Write], None] = lambda write: None
    objects: dict[str, dict[NamespacedName, Raw]] = field(default_factory=dict)
    history: dict[str, list[Event]] = field(default_factory=dict)
    subscribers: list[tuple[str, Callable[[Event], None]]] = field(default_factory=list)
    compacted: int = 0
    version: int = 100
    collection_delay: Callable[[], float] = lambda: 1.0
    refusals: list[Any] = field(default_factory=list)
    """Writes that are refused now (`refusals.Refusal`); `Network` applies them to operators."""

    def now(self) -> datetime:
        return START + timedelta(seconds=self.loop.now)

    def all(self, plural: str) -> dict[NamespacedName, Raw]:
        return self.objects.setdefault(plural, {})

    def get(self, plural: str, namespace: str, name: str) -> Raw | None:
        return self.all(plural).get((namespace, name))

    def install(self) -> None:
        """The CRDs, as `kubectl apply -f crds/`."""
        for plural in DECLARED:
            self._stamp(CRDS, "", f"{plural}.{GROUP}", {"metadata": {}}, None)

    # Requests of clients

    def ask(self, actor: str, method: str, where: Where, query: Mapping[str, str], body: Raw | None) -> Raw:
        """The answer, or the error of the real API server."""
        if where.plural in DECLARED and not self.get(CRDS, "", f"{where.plural}.{GROUP}"):
            raise NotFound("the server could not find the requested resource", named=False)
        if method == "GET":
            return self._found(where) if where.name else self._list(where, query)
        if method == "POST":
            return self._create(actor, where, body or {})
        if method == "PUT":
            return self._replace(actor, where, body or {})
        assert method == "DELETE", method
        return self._delete(actor, where, body or {})

    def _found(self, where: Where) -> Raw:
        found = self.get(where.plural, where.namespace, where.name)
        if found is None:
            raise NotFound(f"{where.plural} {where.name!r} not found", named=True)
        return dict(found)

    def _list(self, where: Where, query: Mapping[str, str]) -> Raw:
        wanted = labels_of(query.get("labelSelector", ""))
        field_, _, value = query.get("fieldSelector", "").partition("=")
        type_, name = (value if field_ == of else "" for of in ("type", "metadata.name"))
        items = [
            {k: v for k, v in o.items() if k != "kind"}
            for o in self.all(where.plural).values()
            if selected(o, where.namespace, wanted)
            and (not type_ or o.get("type") == type_)
            and (not name or o["metadata"]["name"] == name)
        ]
        return {"metadata": {"resourceVersion": str(self.version)}, "items": items}

    def _create(self, actor: str, where: Where, body: Raw) -> Raw:
        if where.plural == "selfsubjectreviews":
            return {"status": {"userInfo": {"username": actor}}}
        meta = body["metadata"]
        if where.plural == "events":
            self.on_write(Write(actor, "POST", where, None, body, body))
            return body
        if self.get(where.plural, where.namespace, meta["name"]):
            raise Conflict(f"{where.plural} {meta['name']} already exists")
        if where.namespace and not self.get("namespaces", "", where.namespace):
            raise NotFound(f"namespaces {where.namespace} not found", named=True)
        new = self._stamp(where.plural, where.namespace, meta["name"], body, None)
        return self._commit(actor, "POST", where, None, new, body)

    def _replace(self, actor: str, where: Where, body: Raw) -> Raw:
        old, given = self._found(where), body["metadata"]
        if given.get("uid") not in (None, old["metadata"]["uid"]) or given.get("resourceVersion") not in (
            None,
            old["metadata"]["resourceVersion"],
        ):
            raise Conflict(f"{where.plural} {where.name}: the object has been modified")
        if where.sub == "status":
            body_ = {**old, "status": body["status"]}
        else:
            body_ = {**body, **({"status": old["status"]} if "status" in old else {})}
            if old.get("type") != body_.get("type"):
                raise Rejected("Refused", f"{where.plural} {where.name}: field is immutable")
        new = self._stamp(where.plural, where.namespace, where.name, body_, old)
        return self._commit(actor, "PUT", where, old, new, body)

    def _delete(self, actor: str, where: Where, body: Raw) -> Raw:
        old = self._found(where)
        wanted = body.get("preconditions") or {}
        if any(old["metadata"][k] != v for k, v in wanted.items()):
            raise Conflict(f"{where.plural} {where.name}: the precondition fails")
        self.remove(actor, where, body)
        return old

    # Writes of users

    def put(self, plural: str, namespace: str, name: str, content: Raw, *, actor: str = USER) -> Raw:
        """Create or replace without a precondition. Labels, annotations and owners are taken from `metadata`."""
        old = self.get(plural, namespace, name)
        new = self._stamp(plural, namespace, name, content, old)
        return self._commit(actor, "PUT", Where(plural, namespace, name, ""), old, new, None)

    def remove(self, actor: str, where: Where, body: Raw | None = None) -> None:
        old = self.all(where.plural).pop((where.namespace, where.name))
        self.version += 1
        deleted = {**old, "metadata": {**old["metadata"], "resourceVersion": str(self.version)}}
        self._publish(where.plural, Event(self.version, "DELETED", deleted, old))
        self.on_write(Write(actor, "DELETE", where, old, None, body))
        uid = old["metadata"]["uid"]
        token = RUNNING.set(None)
        self.loop.call_later(self.collection_delay(), self._collect, uid)
        RUNNING.reset(token)

    def _collect(self, uid: str) -> None:
        for plural in ("secrets", "configmaps"):
            for (namespace, name), raw in list(self.all(plural).items()):
                owners = raw["metadata"].get("ownerReferences") or ()
                if owners and all(o["uid"] == uid for o in owners):
                    self.remove(GARBAGE_COLLECTOR, Where(plural, namespace, name, ""))

    # Internal

    def _stamp(self, plural: str, namespace: str, name: str, content: Raw, old: Raw | None) -> Raw:
        self.version += 1
        meta = dict(content["metadata"])
        was = old["metadata"] if old else {}
        same = old is not None and old.get("spec") == content.get("spec")
        meta |= {
            "name": name,
            "uid": was.get("uid") or f"uid-{self.version:06d}",
            "creationTimestamp": was.get("creationTimestamp") or self.now().strftime("%Y-%m-%dT%H:%M:%SZ"),
            "resourceVersion": str(self.version),
            "generation": was.get("generation", 0) + (0 if same else 1),
        }
        if namespace:
            meta["namespace"] = namespace
        new = {**content, "kind": KIND_OF.get(plural, ""), "metadata": meta}
        self.all(plural)[namespace, name] = new
        return new

    def _commit(self, actor: str, verb: str, where: Where, old: Raw | None, new: Raw, body: Raw | None) -> Raw:
        self._publish(where.plural, Event(self.version, "MODIFIED" if old else "ADDED", new, old))
        self.on_write(Write(actor, verb, where, old, new, body))
        return dict(new)

    def _publish(self, plural: str, event: Event) -> None:
        if plural in ("leases", "events"):
            return
        self.history.setdefault(plural, []).append(event)
        for watched, deliver in self.subscribers:
            if watched == plural:
                deliver(event)

    def since(self, plural: str, version: int) -> list[Event]:
        events = self.history.get(plural, [])
        return events[bisect_right(events, version, key=lambda e: e.version) :]


def labels_of(selector: str) -> dict[str, str]:
    return dict(pair.split("=") for pair in selector.split(",") if pair)


def selected(raw: Mapping[str, Any], namespace: str, labels: Mapping[str, str]) -> bool:
    meta = raw["metadata"]
    return (not namespace or meta.get("namespace") == namespace) and labels.items() <= (
        meta.get("labels") or {}
    ).items()
