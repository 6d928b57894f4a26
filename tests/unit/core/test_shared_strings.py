"""Strings that objects have in common: equal to what was read, and in memory once."""

import json
from typing import Any

from scopewright.api import OAuthClient
from scopewright.core.declared import parse_declared, parse_watched
from scopewright.core.shared_strings import shared, shared_items


def _copy(value: str) -> str:
    return value.encode().decode()


def client(name: str, version: str = "1") -> dict[str, Any]:
    """As read: no string is the same object as one of another client."""
    access = [{"resourceServer": "payroll", "namespace": "hr", "scopes": ["payroll.read", "payroll.write"]}]
    labels = {"team.example.org/name": "leave"}
    status = {
        "observedGeneration": 1,
        "clientId": f"leave.{name}",
        "conditions": [{"type": "Ready", "status": "True", "reason": "Provisioned", "message": "x" * 65}],
    }
    meta = {"name": name, "namespace": "leave", "uid": f"uid-{name}", "resourceVersion": version, "generation": 1}
    raw = {
        "apiVersion": "scopewright.dev/v1alpha1",
        "kind": "OAuthClient",
        "metadata": meta,
        "spec": {"access": access, "credentials": {"secretTemplate": {"labels": labels}}},
        "status": status,
    }
    return json.loads(json.dumps(raw))  # type: ignore[no-any-return]


def _parsed(name: str) -> OAuthClient:
    obj = parse_watched(client(name))
    assert isinstance(obj, OAuthClient)
    return obj


def test_equal_strings_are_one_object() -> None:
    first = shared(_copy("payroll.read"))
    assert shared(_copy("payroll.read")) is first
    items = shared_items({_copy("payroll.write"): _copy("payroll.read")})
    assert items == {"payroll.write": "payroll.read"}
    assert next(iter(items.values())) is first


def test_long_strings_and_a_flood_of_others_take_no_memory() -> None:
    long = "x" * 65
    assert shared(_copy(long)) is not shared(_copy(long))
    first = shared(_copy("flooded"))
    for n in range(10_000):
        shared(f"flood-{n}")
    assert shared(_copy("flooded")) is not first


def test_objects_with_shared_strings_equal_what_was_read() -> None:
    for name in ("worker", "reader"):
        assert parse_watched(client(name)) == parse_declared(client(name))
    known = parse_watched(client("worker"))
    assert parse_watched(client("worker", "2"), known) == parse_declared(client("worker", "2"))


def test_clients_share_their_strings() -> None:
    worker, reader = _parsed("worker"), _parsed("reader")
    assert worker.namespace is reader.namespace
    assert worker.spec.access[0] is reader.spec.access[0]
    other = client("other")
    other["spec"]["access"][0]["scopes"] = [_copy("payroll.write")]
    narrower = parse_watched(other)
    assert isinstance(narrower, OAuthClient)
    assert narrower == parse_declared(other)
    assert narrower.spec.access[0].scopes[0] is worker.spec.access[0].scopes[1]
    template, of_reader = worker.spec.credentials.secret_template, reader.spec.credentials.secret_template
    assert template.labels == of_reader.labels
    assert next(iter(template.labels.values())) is next(iter(of_reader.labels.values()))
    assert worker.status
    assert reader.status
    assert worker.status.conditions[0].reason is reader.status.conditions[0].reason


def test_a_later_version_has_the_name_and_uid_of_the_known_one() -> None:
    known = _parsed("worker")
    later = parse_watched(client("worker", "2"), known)
    assert later.metadata.uid is known.metadata.uid
    assert later.metadata.name is known.metadata.name
    assert later.spec is known.spec


def test_access_with_many_scopes_is_not_kept_for_others() -> None:
    many = client("worker")
    many["spec"]["access"][0]["scopes"] = [f"payroll.s{n}" for n in range(17)]
    first, second = parse_watched(many), parse_watched(many)
    assert isinstance(first, OAuthClient)
    assert isinstance(second, OAuthClient)
    assert first == second
    assert first.spec.access[0] is not second.spec.access[0]
