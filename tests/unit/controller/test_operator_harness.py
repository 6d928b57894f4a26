"""`OperatorHarness` itself: its example runs, and each of its checks can fail."""

import doctest
from dataclasses import replace

import pytest

from scopewright.core.objects import Existing, Ref
from scopewright.core.records.codec import encode
from scopewright.core.records.names import ENTRY, client_record_name
from tests.harness import operator
from tests.harness.invariants import (
    credentials_last,
    nothing_secret_is_published,
    secrets_are_accepted,
    signing_keys_are_published,
)
from tests.harness.operator import OperatorHarness
from tests.harness.samples import JWKS, NAMESPACE

RECORD = Ref("Secret", NAMESPACE, client_record_name("leave", "worker"))


@pytest.fixture
def harness() -> OperatorHarness:
    harness = OperatorHarness()
    harness.apply("SigningKey", NAMESPACE, "default")
    harness.apply("OAuthClient", "leave", "worker")
    harness.settle()
    return harness


def test_the_example_prints_what_it_says() -> None:
    result = doctest.testmod(operator)
    assert result.attempted >= 8
    assert result.failed == 0


def test_a_record_without_the_credential_of_the_secret_breaks_invariant_1(harness: OperatorHarness) -> None:
    record = harness.client_record("leave", "worker")
    assert record
    harness.store.edit(RECORD, **{ENTRY: encode(replace(record, credentials=()))})
    with pytest.raises(AssertionError, match="the credential in Secret leave/worker-oauth is in no record"):
        secrets_are_accepted(harness)


def test_a_credential_with_an_end_breaks_invariant_1_once_settled(harness: OperatorHarness) -> None:
    record = harness.client_record("leave", "worker")
    assert record
    ending = replace(record.credentials[0], expiration_time=harness.clock.now)
    harness.store.edit(RECORD, **{ENTRY: encode(replace(record, credentials=(ending,)))})
    with pytest.raises(AssertionError):
        credentials_last(harness)


def test_a_signing_key_that_is_not_in_the_jwks_breaks_invariant_2(harness: OperatorHarness) -> None:
    harness.store.edit(Ref("ConfigMap", NAMESPACE, JWKS), **{"jwks.json": b'{"keys":[]}'})
    with pytest.raises(AssertionError, match="a key signs and is not in the JWKS"):
        signing_keys_are_published(harness)


@pytest.mark.parametrize("secret", [b"secret1", b"-----BEGIN PRIVATE KEY-----", b'{"d":"x"}'])
def test_a_secret_in_a_configmap_breaks_invariant_9(harness: OperatorHarness, secret: bytes) -> None:
    harness.store.edit(Ref("ConfigMap", NAMESPACE, JWKS), note=secret)
    with pytest.raises(AssertionError):
        nothing_secret_is_published(harness)


def test_the_checks_run_after_each_write(harness: OperatorHarness) -> None:
    harness.store.put(Existing(Ref("ConfigMap", "leave", "notes"), "", ""), {"note": b"secret1"})
    harness.apply("OAuthClient", "leave", "another")
    with pytest.raises(AssertionError):
        harness.reconcile_all()
