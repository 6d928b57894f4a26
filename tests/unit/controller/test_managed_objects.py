"""Secrets and ConfigMaps in the cache: records are decoded, and malformed ones are ignored."""

import logging
from dataclasses import replace
from typing import Any

import pytest

from scopewright.controller.managed_objects import ManagedObjects
from scopewright.core.objects import Existing, Ref
from scopewright.core.records.client import ClientRecord
from scopewright.core.records.codec import encode
from scopewright.core.records.names import (
    CLIENT_TYPE,
    ENTRY,
    PRIVATE_KEY_ENTRY,
    RECORD_LABEL,
    audience_claim_name,
    client_record_name,
    hostname_claim_name,
)
from scopewright.core.records.resource_server import AudienceClaim, HostnameClaim, HttpLocation
from tests.harness.samples import NAMESPACE, generated_key
from tests.unit.controller.cache_objects import WORKER, key_record_object


def managed_objects(ref: Ref, entries: dict[str, bytes], **more: Any) -> ManagedObjects:
    managed = ManagedObjects(NAMESPACE)
    managed.put(Existing(ref, "u", "5", **more), entries)
    return managed


@pytest.mark.parametrize(
    "data", [b"", b"{}", b"\xff", encode(ClientRecord("leave", "stranger", "x")), b'{"namespace":"leave"}']
)
def test_a_malformed_record_is_ignored_and_logged_without_its_content(
    data: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    at = Ref("Secret", NAMESPACE, client_record_name("leave", "worker"))
    with caplog.at_level(logging.WARNING):
        managed = managed_objects(at, {ENTRY: data}, type=CLIENT_TYPE)
    assert not managed.clients
    assert at in managed.objects
    assert "malformed" in caplog.text
    assert "stranger" not in caplog.text


def test_a_record_that_becomes_malformed_is_removed() -> None:
    existing, entries = key_record_object(1)
    managed = ManagedObjects(NAMESPACE)
    managed.put(existing, entries)
    assert managed.key_records()
    managed.put(replace(existing, resource_version="6"), {ENTRY: b"{"})
    assert not managed.key_records()


def test_a_key_is_intact_only_with_its_own_private_key() -> None:
    managed = ManagedObjects(NAMESPACE)
    for entries, has_private_key in (
        ({}, True),
        ({PRIVATE_KEY_ENTRY: generated_key(2).pem}, False),
        ({PRIVATE_KEY_ENTRY: b"x"}, False),
    ):
        existing, content = key_record_object(1)
        managed.put(existing, {**content, **entries})
        assert managed.keys[existing.ref].has_private_key is has_private_key


def test_an_audience_claim_ends_with_its_configmap() -> None:
    claim = AudienceClaim("https://a", "payroll", "payroll-api")
    at = Ref("ConfigMap", NAMESPACE, audience_claim_name("https://a"))
    managed = managed_objects(at, {ENTRY: encode(claim)}, labels={RECORD_LABEL: "audience"})
    assert managed.claims == {"https://a": "payroll/payroll-api"}
    managed.drop(at)
    assert managed.claims == {}


def test_an_audience_claim_under_another_name_is_ignored() -> None:
    claim = AudienceClaim("https://a", "payroll", "payroll-api")
    at = Ref("ConfigMap", NAMESPACE, audience_claim_name("https://b"))
    assert managed_objects(at, {ENTRY: encode(claim)}, labels={RECORD_LABEL: "audience"}).claims == {}


def test_a_hostname_claim_ends_with_its_configmap() -> None:
    claim = HostnameClaim("api.hr.example", "/payroll", "payroll", "payroll-api")
    at = Ref("ConfigMap", NAMESPACE, hostname_claim_name("api.hr.example", "/payroll"))
    managed = managed_objects(at, {ENTRY: encode(claim)}, labels={RECORD_LABEL: "hostname"})
    location = HttpLocation("api.hr.example", "/payroll")
    assert managed.hostname_claims == {"api.hr.example": {location: "payroll/payroll-api"}}
    managed.drop(at)
    assert managed.hostname_claims == {}


def test_a_hostname_claim_under_another_name_is_ignored() -> None:
    claim = HostnameClaim("api.hr.example", "/payroll", "payroll", "payroll-api")
    at = Ref("ConfigMap", NAMESPACE, hostname_claim_name("api.hr.example", "/"))
    assert managed_objects(at, {ENTRY: encode(claim)}, labels={RECORD_LABEL: "hostname"}).hostname_claims == {}


def test_a_record_name_yields_the_object_that_it_belongs_to() -> None:
    managed = ManagedObjects(NAMESPACE)
    assert managed.key_of(Ref("Secret", NAMESPACE, "client.leave.worker")) == WORKER
    assert managed.key_of(Ref("ConfigMap", NAMESPACE, "client.leave.worker")) is None
    assert managed.key_of(Ref("Secret", NAMESPACE, "client.leave")) is None
    assert managed.key_of(Ref("Secret", "leave", "client.leave.worker")) is None
    api = Ref("ConfigMap", NAMESPACE, "resourceserver.payroll.api")
    assert managed.key_of(api) == Ref("ResourceServer", "payroll", "api")
