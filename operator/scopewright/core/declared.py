"""Declared objects: the five kinds, read from their manifests."""

from collections.abc import Mapping
from typing import Any, Final

from pydantic import BaseModel, ValidationError

from scopewright.api import API_VERSION, KINDS, IdentityProvider, OAuthClient, ResourceServer, ScopeGrant, SigningKey
from scopewright.api.identityprovider import IdentityProviderStatus
from scopewright.api.meta import ObjectMeta, Status
from scopewright.api.names import MAX_SCOPES
from scopewright.api.oauthclient import AccessRequest, AccessStatus, OAuthClientStatus
from scopewright.api.resourceserver import ResourceServerStatus
from scopewright.api.scopegrant import ScopeGrantStatus
from scopewright.api.signingkey import SigningKeyStatus
from scopewright.bounded import RecentDict
from scopewright.core.client.restrictions import too_many_scopes
from scopewright.core.failures import Rejected
from scopewright.core.lifecycle import MAX_FINALIZERS
from scopewright.core.objects import PAUSED_ANNOTATION, ROTATE_ANNOTATION, Ref, is_paused, requested_rotation
from scopewright.core.shared_strings import shared, shared_items

Declared = OAuthClient | ResourceServer | ScopeGrant | SigningKey | IdentityProvider

_NO_FIELDS: Final[set[str]] = set()

_UNIQUE: Final = ("uid", "resource_version")
"""Fields whose strings no other object has."""

_MAX_SHARED_SCOPES: Final = 16
"""Of access that is kept for equal ones, so that no team fills the memory with many scopes."""
_kept_access: Final = RecentDict[tuple[type[BaseModel], tuple[Any, ...]], BaseModel](1024)
"""By kind and values, the first object that had them."""

_STATUSES: Final[dict[str, type[Status]]] = {
    "OAuthClient": OAuthClientStatus,
    "ResourceServer": ResourceServerStatus,
    "ScopeGrant": ScopeGrantStatus,
    "SigningKey": SigningKeyStatus,
    "IdentityProvider": IdentityProviderStatus,
}


def ref_of(obj: Declared) -> Ref:
    return Ref(obj.KIND, obj.namespace, obj.name)


def parse_watched(raw: Any, known: Declared | None = None) -> Declared:
    """`parse_declared` for what stays in memory: without labels, with the annotations that count and the finalizers
    that a status names, and without most of the scopes that a client has beyond the limit (one more shows that there
    are too many).

    Where the generation is that of the `known` object, its spec is used again: most versions differ in the status only.
    """
    if known is not None and _has_spec_of(raw, known):
        return _with_spec_of(known, raw)
    obj = parse_declared(raw)
    changes: dict[str, Any] = {"metadata": _kept(obj.metadata)}
    if isinstance(obj, OAuthClient) and too_many_scopes(obj):
        left, access = MAX_SCOPES + 1, []
        for entry in obj.spec.access:
            scopes = entry.scopes[:left]
            left -= len(scopes)
            access += [entry.model_copy(update={"scopes": scopes})] if scopes else []
        changes["spec"] = obj.spec.model_copy(update={"access": access})
    return _compact(obj.model_copy(update=changes))


def _has_spec_of(raw: Any, known: Declared) -> bool:
    """Whether this is a version of the known object with the same spec: each change of it increments the generation."""
    meta, old = raw.get("metadata") or {}, known.metadata
    generation = meta.get("generation")
    same = (raw.get("kind"), meta.get("uid"), generation) == (known.KIND, old.uid, old.generation)
    return same and generation is not None and raw.get("apiVersion", API_VERSION) == API_VERSION


def _with_spec_of(known: Declared, raw: Any) -> Declared:
    try:
        metadata = _kept(ObjectMeta.model_validate(raw["metadata"]), uid=known.metadata.uid, name=known.name)
        given = raw.get("status")
        status = None if given is None else _STATUSES[known.KIND].model_validate(given)
    except ValidationError:
        return parse_watched(raw)  # which says what is wrong
    return _compact(known.model_copy(update={"metadata": metadata, "status": status}))


def _compact(obj: Declared) -> Declared:
    """The same object in less memory: its models share one set of the names of set fields, which nothing reads, and
    strings with other objects. Otherwise each has its own.
    """
    models: list[BaseModel] = [obj]
    while models:
        model = models.pop()
        if model.__pydantic_fields_set__ is _NO_FIELDS and model is not obj:
            continue  # of an earlier version
        object.__setattr__(model, "__pydantic_fields_set__", _NO_FIELDS)
        fields = model.__dict__
        for name, value in fields.items():
            if isinstance(value, BaseModel):
                models.append(value)
            elif isinstance(value, list) and value and isinstance(value[0], BaseModel):
                if isinstance(value[0], AccessRequest | AccessStatus):
                    fields[name] = value = [_shared_access(item) for item in value]
                models += value
            elif name not in _UNIQUE:
                fields[name] = _shared(value)
    return obj


def _shared_access(access: AccessRequest | AccessStatus) -> BaseModel:
    """The same object for equal ones: many clients of a namespace have the same access."""
    values = tuple(tuple(value) if isinstance(value, list) else value for value in access.__dict__.values())
    if any(isinstance(value, tuple) and len(value) > _MAX_SHARED_SCOPES for value in values):
        return access
    return _kept_access.setdefault((type(access), values), access)


def _shared(value: Any) -> Any:
    """The value, with shared strings where it is one, or has them as items. All of a list are strings, or none is."""
    if type(value) is str:
        return shared(value)
    if isinstance(value, list) and value and type(value[0]) is str:
        return [shared(item) for item in value]
    if isinstance(value, dict) and all(type(item) is str for item in value.values()):
        return shared_items(value)
    return value


def _kept(given: ObjectMeta, **known: str | None) -> ObjectMeta:
    changes = {
        **known,
        "labels": {},
        "annotations": read_annotations(given.annotations),
        "finalizers": given.finalizers[:MAX_FINALIZERS],
        "more_finalizers": len(given.finalizers[MAX_FINALIZERS:]),
    }
    return given.model_copy(update=changes)


def read_annotations(given: Mapping[str, str]) -> dict[str, str]:
    """Those that are read, each in a form of few bytes that reads the same."""
    paused = {PAUSED_ANNOTATION: given[PAUSED_ANNOTATION]} if is_paused(given) else {}
    rotate = {ROTATE_ANNOTATION: rotation} if (rotation := requested_rotation(given)) else {}
    return paused | rotate


def parse_declared(raw: Any) -> Declared:
    """The object that a store holds. `Rejected` if it is none of the five kinds of this version."""
    kind = KINDS.get(raw.get("kind", ""))
    if kind is None:
        raise Rejected("UnknownKind", f"not one of {', '.join(KINDS)}")
    try:
        obj = kind.model_validate(raw)
    except ValidationError as error:
        first = error.errors(include_input=False)[0]
        where = ".".join(map(str, first["loc"]))
        message = first["msg"].removeprefix("Value error, ")
        raise Rejected("Invalid", f"{where}: {message} (is the CRD of this version installed?)") from None
    assert isinstance(obj, Declared)  # noqa: S101 (KINDS holds these five)
    return obj
