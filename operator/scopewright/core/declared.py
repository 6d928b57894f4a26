"""Declared objects: the five kinds, read from their manifests."""

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from scopewright.api import KINDS, IdentityProvider, OAuthClient, ResourceServer, ScopeGrant, SigningKey
from scopewright.api.names import MAX_SCOPES
from scopewright.core.client.restrictions import too_many_scopes
from scopewright.core.failures import Rejected
from scopewright.core.lifecycle import MAX_FINALIZERS
from scopewright.core.objects import PAUSED_ANNOTATION, ROTATE_ANNOTATION, Ref, is_paused, requested_rotation

Declared = OAuthClient | ResourceServer | ScopeGrant | SigningKey | IdentityProvider


def ref_of(obj: Declared) -> Ref:
    return Ref(obj.KIND, obj.namespace, obj.name)


def parse_watched(raw: Any) -> Declared:
    """`parse_declared` for what stays in memory: without labels, with the annotations that count and the finalizers
    that a status names, and without most of the scopes that a client has beyond the limit (one more shows that there
    are too many).
    """
    obj = parse_declared(raw)
    metadata = obj.metadata.model_copy(
        update={
            "labels": {},
            "annotations": _annotations(obj.metadata.annotations),
            "finalizers": obj.metadata.finalizers[:MAX_FINALIZERS],
            "more_finalizers": len(obj.metadata.finalizers[MAX_FINALIZERS:]),
        }
    )
    changes: dict[str, Any] = {"metadata": metadata}
    if isinstance(obj, OAuthClient) and too_many_scopes(obj):
        left, access = MAX_SCOPES + 1, []
        for entry in obj.spec.access:
            scopes = entry.scopes[:left]
            left -= len(scopes)
            access += [entry.model_copy(update={"scopes": scopes})] if scopes else []
        changes["spec"] = obj.spec.model_copy(update={"access": access})
    return obj.model_copy(update=changes)


def _annotations(given: Mapping[str, str]) -> dict[str, str]:
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
