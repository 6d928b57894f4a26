"""Scenarios of `test_crashes.py`: how each begins, what happens, and what must hold when the operator has settled."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from scopewright.core.config import AudiencePrefix, Config
from scopewright.core.objects import Ref, digest
from scopewright.core.records.client import ServiceAccount
from scopewright.core.records.names import audience_claim_name, client_record_name, hostname_claim_name
from tests.harness.invariants import generated_credential
from tests.harness.operator import OperatorHarness
from tests.harness.samples import ISSUER, NAMESPACE, generated_key

WORKER = Ref("OAuthClient", "leave", "worker")
KEY = Ref("SigningKey", NAMESPACE, "default")
SERVER = Ref("ResourceServer", "payroll", "payroll-api")
ASKS = {"access": [{"resourceServer": "payroll-api", "namespace": "payroll", "scopes": ["read"]}]}


def with_worker(spec: dict[str, Any]) -> OperatorHarness:
    harness = OperatorHarness()
    harness.apply("OAuthClient", "leave", "worker", spec)
    harness.settle()
    return harness


def with_client() -> OperatorHarness:
    return with_worker(ASKS)


def with_key() -> OperatorHarness:
    harness = OperatorHarness()
    harness.apply("SigningKey", NAMESPACE, "default")
    harness.settle()
    return harness


def an_hour_later(start: Callable[[], OperatorHarness]) -> Callable[[], OperatorHarness]:
    def started() -> OperatorHarness:
        harness = start()
        harness.clock.advance(hours=1)
        return harness

    return started


def with_everything() -> OperatorHarness:
    harness = with_key()
    harness.apply("ResourceServer", "payroll", "payroll-api", {"scopes": [{"name": "read"}]})
    harness.apply("ScopeGrant", "payroll", "grant", GRANT)
    harness.apply("OAuthClient", "leave", "worker", ASKS)
    harness.settle()
    return harness


GRANT = {"resourceServer": "payroll-api", "scopes": ["read"], "to": [{"namespace": "leave"}]}


@dataclass(frozen=True)
class Scenario:
    """`begin` returns a settled operator, `act` changes something, and `end` asserts what holds once it has settled."""

    begin: Callable[[], OperatorHarness]
    act: Callable[[OperatorHarness], object]
    end: Callable[[OperatorHarness], None]


def accepted(harness: OperatorHarness) -> set[str]:
    record = harness.client_record("leave", "worker")
    return {c.sha256 for c in record.credentials if c.accepted_at(harness.clock.now)} if record else set()


def assert_ready(harness: OperatorHarness) -> None:
    assert harness.condition(WORKER) == "True Provisioned"
    assert digest(harness.client_secret()) in accepted(harness)


def assert_rotated(harness: OperatorHarness) -> None:
    assert_ready(harness)
    assert harness.client_secret() != "secret1"
    assert digest("secret1") in accepted(harness), "the previous credential lost its overlap"
    record = harness.client_record("leave", "worker")
    assert record is not None
    first = next(c for c in record.credentials if c.sha256 == digest("secret1"))
    assert first.expiration_time is not None


def assert_revoked(harness: OperatorHarness) -> None:
    assert_ready(harness)
    assert digest("secret1") not in accepted(harness)


def assert_kept(harness: OperatorHarness) -> None:
    assert_ready(harness)
    assert harness.client_secret() == "secret1"


def assert_renamed(harness: OperatorHarness) -> None:
    assert harness.condition(WORKER) == "True Provisioned"
    elsewhere = harness.client_secret(harness.secret_ref(name="elsewhere"))
    assert {digest(elsewhere), digest("secret1")} <= accepted(harness)
    harness.clock.advance(hours=25)
    harness.settle()
    assert harness.secret_ref() not in harness.store.objects
    assert harness.client_secret(harness.secret_ref(name="elsewhere")) == elsewhere


def with_renamed_secret() -> OperatorHarness:
    harness = with_client()
    harness.apply("OAuthClient", "leave", "worker", {**ASKS, "credentials": {"secretName": "elsewhere"}})
    harness.settle()
    return harness


def replace_seal_key(harness: OperatorHarness) -> None:
    harness.seal_key = b"another seal key of the tests..."
    harness.reconciler.set_seal_key(harness.seal_key)


def assert_resealed(harness: OperatorHarness) -> None:
    """The Secret has a seal of the new key: without a record, its credential is adopted only by that seal."""
    assert_kept(harness)
    harness.store.delete_by_hand(Ref("Secret", NAMESPACE, client_record_name("leave", "worker")))
    harness.settle()
    assert_kept(harness)


def assert_resealed_without_credential(harness: OperatorHarness) -> None:
    assert_account("1")(harness)
    harness.store.delete_by_hand(Ref("Secret", NAMESPACE, client_record_name("leave", "worker")))
    harness.settle()
    assert_account("1")(harness)


def assert_record_deleted(harness: OperatorHarness) -> None:
    assert Ref("Secret", NAMESPACE, client_record_name("leave", "worker")) not in harness.store.objects


def assert_signing(harness: OperatorHarness) -> None:
    active = [r for r in harness.key_records() if r.signs_at(harness.clock.now)]
    assert active
    assert harness.condition(KEY) == "True Signing"
    assert {r.kid for r in harness.key_records() if r.published_at(harness.clock.now)} == harness.jwks()


def assert_successor(harness: OperatorHarness) -> None:
    assert_signing(harness)
    first, *others = harness.key_records()
    assert first.signs_at(harness.clock.now)
    assert others
    assert not any(r.signs_at(harness.clock.now) for r in others)
    harness.clock.advance(hours=25)
    harness.settle()
    assert any(r.signs_at(harness.clock.now) for r in others)


def assert_keys_revoked(harness: OperatorHarness) -> None:
    assert_signing(harness)
    assert harness.key_records()[0].revoked_time
    assert harness.key_records()[0].kid not in harness.jwks()


def assert_grant_withdrawn(harness: OperatorHarness) -> None:
    record = harness.server_record("payroll", "payroll-api")
    assert record is not None
    assert not record.grants
    assert harness.condition(WORKER, "AccessGranted") == "False NotGranted"


def assert_deleted_and_audience_claimed(harness: OperatorHarness) -> None:
    """The record is deleted, and the audience claim stays."""
    assert harness.server_record("payroll", "payroll-api") is None
    assert Ref("ConfigMap", NAMESPACE, audience_claim_name("https://hr.example/x")) in harness.store.objects


def with_audience_claim() -> OperatorHarness:
    prefix = AudiencePrefix(prefix="https://hr.example", namespaces=("payroll",))
    harness = OperatorHarness(Config(issuer=ISSUER, audiences=(prefix,)))
    harness.apply("ResourceServer", "payroll", "payroll-api", {"audience": "https://hr.example/x"})
    harness.settle()
    return harness


HOST = "payroll.hr.example"
RULES = {"hostnames": [HOST], "rules": [{"name": "read", "paths": ["/**"], "scopes": ["read"]}]}
HOSTNAME_CLAIM = Ref("ConfigMap", NAMESPACE, hostname_claim_name(HOST, "/"))


def with_hostname() -> OperatorHarness:
    gateway = {"hostnames": [{"hostname": HOST, "namespaces": ["payroll"]}]}
    harness = OperatorHarness(Config.model_validate({"issuer": ISSUER, "gateway": gateway}))
    harness.apply("SigningKey", NAMESPACE, "default")
    harness.apply("ResourceServer", "payroll", "payroll-api", {"scopes": [{"name": "read"}]})
    harness.settle()
    return harness


def with_rules() -> OperatorHarness:
    harness = with_hostname()
    apply_rules(harness)
    harness.settle()
    return harness


def apply_rules(harness: OperatorHarness) -> None:
    harness.apply("ResourceServer", "payroll", "payroll-api", {"scopes": [{"name": "read"}], "http": RULES})


def assert_rules_in_force(harness: OperatorHarness) -> None:
    assert harness.condition(SERVER) == "True Served"
    record = harness.server_record("payroll", "payroll-api")
    assert record
    assert record.http
    assert record.http.hostnames == (HOST,)
    assert HOSTNAME_CLAIM in harness.store.objects, "the hostname is in force without a claim"


def assert_deleted_and_hostname_claimed(harness: OperatorHarness) -> None:
    """The record is deleted, and the claim of the hostname stays."""
    assert harness.server_record("payroll", "payroll-api") is None
    assert HOSTNAME_CLAIM in harness.store.objects


def advance_a_month(harness: OperatorHarness) -> None:
    harness.clock.advance(hours=720)


def request_rotation(harness: OperatorHarness) -> None:
    harness.apply("OAuthClient", "leave", "worker", ASKS, rotate="now")


def change_spec(**spec: Any) -> Callable[[OperatorHarness], object]:
    return lambda harness: harness.apply("OAuthClient", "leave", "worker", {**ASKS, **spec})


def recreate(harness: OperatorHarness) -> None:
    harness.delete(WORKER)
    harness.apply("OAuthClient", "leave", "worker", ASKS)


def recreate_paused(harness: OperatorHarness) -> None:
    harness.delete(WORKER)
    harness.apply("OAuthClient", "leave", "worker", ASKS, paused="true")


def recreate_suspended(harness: OperatorHarness) -> None:
    harness.delete(WORKER)
    harness.apply("OAuthClient", "leave", "worker", {**ASKS, "rotation": {"suspend": True}})


def recreate_server_paused(harness: OperatorHarness) -> None:
    harness.delete(SERVER)
    harness.apply("ResourceServer", "payroll", "payroll-api", {"scopes": [{"name": "payroll.read"}]}, paused="true")


def assert_server_record_deleted(harness: OperatorHarness) -> None:
    assert harness.server_record("payroll", "payroll-api") is None


PAIR = {"authentication": {"method": "PrivateKeyJWT"}}
ACCOUNT = {"authentication": {"method": "ServiceAccount", "serviceAccount": {"name": "worker"}}}


PUBLIC = {
    "authentication": {"method": "None"},
    "grantTypes": ["authorization_code"],
    "login": {"redirectURIs": ["http://127.0.0.1/callback"]},
}


def with_pair() -> OperatorHarness:
    return with_worker(PAIR)


def with_public_client() -> OperatorHarness:
    return with_worker(PUBLIC)


def edit_secret_and_make_public(harness: OperatorHarness) -> None:
    harness.store.edit(harness.secret_ref(), issuer=b"another")
    change_spec(**PUBLIC)(harness)


def assert_public(harness: OperatorHarness) -> None:
    record = harness.client_record("leave", "worker")
    assert record is not None
    assert record.public
    assert record.credentials == ()
    assert record.login is not None
    assert harness.secret_ref() not in harness.store.objects
    assert harness.condition(WORKER) == "True Provisioned"


def with_account() -> OperatorHarness:
    harness = OperatorHarness()
    harness.service_accounts = {"leave/worker": "1"}
    harness.apply("OAuthClient", "leave", "worker", ACCOUNT)
    harness.settle()
    return harness


def with_client_and_account() -> OperatorHarness:
    harness = with_client()
    harness.service_accounts = {"leave/worker": "1"}
    return harness


def kid_in_secret(harness: OperatorHarness) -> str:
    """The kid of the private key in the Secret; the record must accept the public key of it, without an end."""
    assert harness.condition(WORKER) == "True Provisioned"
    private = harness.store.entry(harness.secret_ref(), "private_key.jwk")
    record = harness.client_record("leave", "worker")
    assert record is not None
    held = next(c for c in record.credentials if c.sha256 == digest(private))
    assert held.expiration_time is None
    assert held.jwk == {name: value for name, value in json.loads(private).items() if name != "d"}
    return held.jwk["kid"]


def assert_pair_ready(harness: OperatorHarness) -> None:
    assert kid_in_secret(harness)


def assert_pair_rotated(harness: OperatorHarness) -> None:
    first = generated_key(1).jwk
    assert kid_in_secret(harness) != first["kid"]
    record = harness.client_record("leave", "worker")
    assert record is not None
    assert [c.expiration_time is not None for c in record.credentials if c.jwk == first] == [True]


def assert_pair_kept(harness: OperatorHarness) -> None:
    assert kid_in_secret(harness) == generated_key(1).jwk["kid"]


def assert_pair_replaces_secret(harness: OperatorHarness) -> None:
    kid_in_secret(harness)
    assert_secret_ends_with_overlap(harness)
    assert "client_secret" not in harness.store.objects[harness.secret_ref()].entries


def assert_secret_ends_with_overlap(harness: OperatorHarness) -> None:
    """The former client secret works until its overlap ends."""
    assert digest("secret1") in accepted(harness)
    harness.clock.advance(hours=25)
    harness.settle()
    assert digest("secret1") not in accepted(harness)


def assert_account(uid: str) -> Callable[[OperatorHarness], None]:
    def named(harness: OperatorHarness) -> None:
        record = harness.client_record("leave", "worker")
        assert record is not None
        assert (record.method, record.service_account) == ("ServiceAccount", ServiceAccount("worker", uid))
        assert harness.condition(WORKER) == "True Provisioned"
        assert not generated_credential(harness.store.objects[harness.secret_ref()].entries)

    return named


def assert_account_replaces_secret(harness: OperatorHarness) -> None:
    assert_account("1")(harness)
    assert_secret_ends_with_overlap(harness)


def assert_account_not_found(harness: OperatorHarness) -> None:
    record = harness.client_record("leave", "worker")
    assert record is not None
    assert record.service_account is None
    assert harness.condition(WORKER) == "False ServiceAccountNotFound"


SCENARIOS = {
    "a client with a key pair is created": Scenario(
        OperatorHarness, lambda h: h.apply("OAuthClient", "leave", "worker", PAIR), assert_pair_ready
    ),
    "the rotation of a key pair is due": Scenario(with_pair, advance_a_month, assert_pair_rotated),
    "a key pair is edited": Scenario(
        with_pair, lambda h: h.store.edit(h.secret_ref(), **{"private_key.jwk": b"chosen"}), assert_pair_rotated
    ),
    "the record of a key pair is deleted": Scenario(
        with_pair,
        lambda h: h.store.delete_by_hand(Ref("Secret", NAMESPACE, client_record_name("leave", "worker"))),
        assert_pair_kept,
    ),
    "a secret is replaced by a key pair": Scenario(with_client, change_spec(**PAIR), assert_pair_replaces_secret),
    "a key pair is replaced by a secret": Scenario(
        with_pair, lambda h: h.apply("OAuthClient", "leave", "worker", ASKS), assert_ready
    ),
    "a secret is replaced by a ServiceAccount": Scenario(
        with_client_and_account, change_spec(**ACCOUNT), assert_account_replaces_secret
    ),
    "a ServiceAccount is replaced by a secret": Scenario(
        with_account, lambda h: h.apply("OAuthClient", "leave", "worker", ASKS), assert_ready
    ),
    "a public client is created": Scenario(
        OperatorHarness, lambda h: h.apply("OAuthClient", "leave", "worker", PUBLIC), assert_public
    ),
    "a client becomes public": Scenario(with_client, change_spec(**PUBLIC), assert_public),
    "a client whose Secret was edited becomes public": Scenario(
        with_client, edit_secret_and_make_public, assert_public
    ),
    "a public client gets a secret": Scenario(with_public_client, change_spec(), assert_ready),
    "a ServiceAccount is recreated": Scenario(
        with_account, lambda h: h.service_accounts.update({"leave/worker": "2"}), assert_account("2")
    ),
    "a ServiceAccount is deleted": Scenario(
        with_account, lambda h: h.service_accounts.clear(), assert_account_not_found
    ),
    "a Secret without a credential is deleted": Scenario(
        with_account, lambda h: h.store.delete_by_hand(h.secret_ref()), assert_account("1")
    ),
    "a client is created": Scenario(
        OperatorHarness, lambda h: h.apply("OAuthClient", "leave", "worker", ASKS), assert_ready
    ),
    "a rotation is due": Scenario(with_client, advance_a_month, assert_rotated),
    "a rotation is requested": Scenario(with_client, request_rotation, assert_rotated),
    "a credential is revoked": Scenario(
        an_hour_later(with_client), change_spec(rotation={"revokedBefore": "2026-11-22T12:30:00Z"}), assert_revoked
    ),
    "a Secret is deleted": Scenario(with_client, lambda h: h.store.delete_by_hand(h.secret_ref()), assert_rotated),
    "a Secret's value is edited": Scenario(
        with_client, lambda h: h.store.edit(h.secret_ref(), client_secret=b"chosen"), assert_rotated
    ),
    "a Secret's other entry is edited": Scenario(
        with_client, lambda h: h.store.edit(h.secret_ref(), issuer=b"evil"), assert_kept
    ),
    "a record is deleted": Scenario(
        with_client,
        lambda h: h.store.delete_by_hand(Ref("Secret", NAMESPACE, client_record_name("leave", "worker"))),
        assert_kept,
    ),
    "a Secret is renamed": Scenario(with_client, change_spec(credentials={"secretName": "elsewhere"}), assert_renamed),
    "the seal key is replaced": Scenario(with_client, replace_seal_key, assert_resealed),
    "the seal key of a Secret without a credential is replaced": Scenario(
        with_account, replace_seal_key, assert_resealed_without_credential
    ),
    "the seal key is replaced while a former Secret is still in use": Scenario(
        with_renamed_secret, replace_seal_key, assert_renamed
    ),
    "an entry is renamed": Scenario(
        with_client,
        change_spec(credentials={"keys": {"clientID": "id"}}),
        lambda h: None if h.client_secret() == "secret1" else pytest.fail("the credential changed"),
    ),
    "a client is deleted": Scenario(with_client, lambda h: h.delete(WORKER), assert_record_deleted),
    "a client is recreated": Scenario(with_client, recreate, assert_revoked),
    "a client is recreated, and paused": Scenario(with_client, recreate_paused, assert_record_deleted),
    "a client is recreated, and suspended": Scenario(with_client, recreate_suspended, assert_revoked),
    "a resource server is recreated, and paused": Scenario(
        with_everything, recreate_server_paused, assert_server_record_deleted
    ),
    "a first signing key is created": Scenario(
        OperatorHarness, lambda h: h.apply("SigningKey", NAMESPACE, "default"), assert_signing
    ),
    "the successor of a signing key is due": Scenario(
        with_key, lambda h: h.clock.advance(hours=720 - 24), assert_successor
    ),
    "signing keys are revoked": Scenario(
        an_hour_later(with_key),
        lambda h: h.apply("SigningKey", NAMESPACE, "default", {"revokedBefore": "2026-11-22T12:30:00Z"}),
        assert_keys_revoked,
    ),
    "the JWKS is deleted": Scenario(
        with_key, lambda h: h.store.delete_by_hand(Ref("ConfigMap", NAMESPACE, "scopewright-jwks")), assert_signing
    ),
    "a grant is deleted": Scenario(
        with_everything, lambda h: h.delete(Ref("ScopeGrant", "payroll", "grant")), assert_grant_withdrawn
    ),
    "a resource server is deleted": Scenario(
        with_audience_claim, lambda h: h.delete(SERVER), assert_deleted_and_audience_claimed
    ),
    "a resource server gets a hostname and rules": Scenario(with_hostname, apply_rules, assert_rules_in_force),
    "a resource server with a hostname is deleted": Scenario(
        with_rules, lambda h: h.delete(SERVER), assert_deleted_and_hostname_claimed
    ),
}
