"""A plan for programs. While `version` is 1, fields may be added but never change their meaning."""

from collections.abc import Iterable
from typing import Any

from scopewright.core.objects import Ref
from scopewright.core.records.fields import rfc3339
from scopewright.plan.changes import (
    AccessChange,
    Caller,
    EffectiveScope,
    Finding,
    GrantedUsers,
    ObjectChange,
    PlanResult,
    RequestChange,
)
from scopewright.plan.output.lines import SECTIONS, json_text


def as_json(result: PlanResult) -> str:
    return json_text(document(result))


def document(result: PlanResult) -> dict[str, Any]:
    return {
        "version": 1,
        "refused": bool(result.refusals),
        "refusals": [_finding(f) for f in result.refusals],
        "access": _changes_of(c for c in result.access if not c.access.users and not c.access.is_role),
        "roles": _changes_of(c for c in result.access if not c.access.users and c.access.is_role),
        "userAccess": _changes_of(c for c in result.access if c.access.users),
        "unauthenticated": _requests_of(c for c in result.requests if c.is_anyone),
        "requests": _requests_of(c for c in result.requests if not c.is_anyone),
        **{of: [_change(c) for c in getattr(result, of)] for _, of in SECTIONS},
        "warnings": [_finding(f) for f in result.warnings],
        "ignored": result.ignored,
    }


def _finding(finding: Finding) -> dict[str, Any]:
    return {
        **({"file": finding.location.file, "line": finding.location.line} if finding.location else {}),
        **(_ref(finding.subject) if finding.subject else {}),
        "reason": finding.reason,
        "message": finding.message,
        "new": finding.new,
    }


def _changes_of(changes: Iterable[AccessChange]) -> dict[str, Any]:
    all_changes = list(changes)
    return {
        "gained": [_access(c.after) for c in all_changes if c.after and not c.before],
        "lost": [_access(c.before) | {"because": c.because} for c in all_changes if c.before and not c.after],
        "changed": [_changed(c) for c in all_changes if c.before and c.after],
    }


def _access(access: EffectiveScope) -> dict[str, Any]:
    return {
        **(_users(access.users) if access.users else {}),
        "through" if access.users else "client": access.client,
        "resourceServer": access.server,
        "role" if access.is_role else "scope": access.scope,
        "grantedBy": list(access.via),
        **({"until": rfc3339(access.until)} if access.until else {}),
    }


def _users(users: GrantedUsers) -> dict[str, Any]:
    """As in an entry of `toUsers`, with one group or subject."""
    if users.group or users.subject:
        return {"group": users.group} if users.group else {"subject": users.subject}
    return {"allUsers": True}


def _requests_of(changes: Iterable[RequestChange]) -> dict[str, Any]:
    all_changes = list(changes)
    return {
        "gained": [_request(c) for c in all_changes if c.gained],
        "lost": [_request(c) for c in all_changes if not c.gained],
    }


def _request(change: RequestChange) -> dict[str, Any]:
    return {
        "resourceServer": change.server,
        "rule": change.rule,
        "site": change.site,
        "paths": list(change.paths),
        **({"methods": list(change.methods)} if change.methods else {}),
        **({"exceptMethods": list(change.except_methods)} if change.except_methods else {}),
        **({"callers": [_caller(caller) for caller in change.callers]} if change.callers else {}),
    }


def _caller(caller: Caller) -> dict[str, Any]:
    if caller.several:
        return {"severalGroups": True, "through": caller.client}
    return {**_users(caller.users), "through": caller.client} if caller.users else {"client": caller.client}


def _changed(change: AccessChange) -> dict[str, Any]:
    before = change.before.until if change.before else None
    return _access(change.access) | ({"untilBefore": rfc3339(before)} if before else {})


def _change(change: ObjectChange) -> dict[str, Any]:
    return {**_ref(change.subject), "action": change.action, "detail": change.detail}


def _ref(ref: Ref) -> dict[str, str]:
    return {"kind": ref.kind, **({"namespace": ref.namespace} if ref.namespace else {}), "name": ref.name}
