"""The operator ends, or a write fails, at every write of a scenario. It converges, and locks no client out.

`OperatorHarness` checks the invariants after each write. Each scenario runs once for every way to fail.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from scopewright.core.config import AudiencePrefix, Config
from scopewright.core.failures import Conflict, Unavailable
from scopewright.core.objects import SEAL_ANNOTATION, Ref, digest
from scopewright.core.records.client import ServiceAccount
from scopewright.core.records.names import audience_claim_name, client_record_name
from tests.harness.invariants import generated_credential
from tests.harness.memory_store import Crash, Point
from tests.harness.operator import OperatorHarness, run_sync
from tests.harness.samples import ISSUER, NAMESPACE, generated_key

WORKER = Ref("OAuthClient", "leave", "worker")
KEY = Ref("SigningKey", NAMESPACE, "default")
SERVER = Ref("ResourceServer", "payroll", "payroll-api")
ASKS = {"access": [{"resourceServer": "payroll-api", "namespace": "payroll", "scopes": ["read"]}]}


def with_client() -> OperatorHarness:
    harness = OperatorHarness()
    harness.apply("OAuthClient", "leave", "worker", ASKS)
    harness.settle()
    return harness


def an_hour_old_client() -> OperatorHarness:
    harness = with_client()
    harness.clock.advance(hours=1)
    return harness


def an_hour_old_key() -> OperatorHarness:
    harness = with_key()
    harness.clock.advance(hours=1)
    return harness


def with_key() -> OperatorHarness:
    harness = OperatorHarness()
    harness.apply("SigningKey", NAMESPACE, "default")
    harness.settle()
    return harness


def with_everything() -> OperatorHarness:
    harness = with_key()
    harness.apply("ResourceServer", "payroll", "payroll-api", {"scopes": [{"name": "read"}]})
    harness.apply("ScopeGrant", "payroll", "grant", GRANT)
    harness.apply("OAuthClient", "leave", "worker", ASKS)
    harness.settle()
    return harness


GRANT = {"resourceServer": "payroll-api", "scopes": ["read"], "to": [{"namespace": "leave"}]}


@dataclass(frozen=True)
class Story:
    """From `begin`, somebody does `act`; when all is settled again, `end` holds."""

    begin: Callable[[], OperatorHarness]
    act: Callable[[OperatorHarness], object]
    end: Callable[[OperatorHarness], None]


def accepted(harness: OperatorHarness) -> set[str]:
    record = harness.client_record("leave", "worker")
    return {c.sha256 for c in record.credentials if c.accepted_at(harness.clock.now)} if record else set()


def ready(harness: OperatorHarness) -> None:
    assert harness.condition(WORKER) == "True Provisioned"
    assert digest(harness.client_secret()) in accepted(harness)


def rotated(harness: OperatorHarness) -> None:
    ready(harness)
    assert harness.client_secret() != "secret1"
    assert digest("secret1") in accepted(harness), "the previous credential lost its overlap"
    record = harness.client_record("leave", "worker")
    assert record is not None
    first = next(c for c in record.credentials if c.sha256 == digest("secret1"))
    assert first.expiration_time is not None


def revoked(harness: OperatorHarness) -> None:
    ready(harness)
    assert digest("secret1") not in accepted(harness)


def kept(harness: OperatorHarness) -> None:
    ready(harness)
    assert harness.client_secret() == "secret1"


def moved(harness: OperatorHarness) -> None:
    assert harness.condition(WORKER) == "True Provisioned"
    elsewhere = harness.client_secret(harness.secret(name="elsewhere"))
    assert {digest(elsewhere), digest("secret1")} <= accepted(harness)
    harness.clock.advance(hours=25)
    harness.settle()
    assert harness.secret() not in harness.store.objects
    assert harness.client_secret(harness.secret(name="elsewhere")) == elsewhere


def moving() -> OperatorHarness:
    harness = with_client()
    harness.apply("OAuthClient", "leave", "worker", {**ASKS, "credentials": {"secretName": "elsewhere"}})
    harness.settle()
    return harness


def reseal(harness: OperatorHarness) -> None:
    harness.seal_key = b"another seal key of the houses.."
    harness.reconciler.set_seal_key(harness.seal_key)


def sealed_anew(harness: OperatorHarness) -> None:
    """By the new key, which alone vouches for what is restored when the record has gone."""
    kept(harness)
    harness.store.delete_by_hand(Ref("Secret", NAMESPACE, client_record_name("leave", "worker")))
    harness.settle()
    kept(harness)


def bare_and_sealed_anew(harness: OperatorHarness) -> None:
    account_named("1")(harness)
    harness.store.delete_by_hand(Ref("Secret", NAMESPACE, client_record_name("leave", "worker")))
    harness.settle()
    account_named("1")(harness)


def gone(harness: OperatorHarness) -> None:
    assert Ref("Secret", NAMESPACE, client_record_name("leave", "worker")) not in harness.store.objects


def signing(harness: OperatorHarness) -> None:
    active = [r for r in harness.key_records() if r.signs_at(harness.clock.now)]
    assert active
    assert harness.condition(KEY) == "True Signing"
    assert {r.kid for r in harness.key_records() if r.published_at(harness.clock.now)} == harness.jwks()


def succeeded(harness: OperatorHarness) -> None:
    signing(harness)
    first, *others = harness.key_records()
    assert first.signs_at(harness.clock.now)
    assert others
    assert not any(r.signs_at(harness.clock.now) for r in others)
    harness.clock.advance(hours=25)
    harness.settle()
    assert any(r.signs_at(harness.clock.now) for r in others)


def keys_revoked(harness: OperatorHarness) -> None:
    signing(harness)
    assert harness.key_records()[0].revoked_time
    assert harness.key_records()[0].kid not in harness.jwks()


def withdrawn(harness: OperatorHarness) -> None:
    record = harness.server_record("payroll", "payroll-api")
    assert record is not None
    assert not record.grants
    assert harness.condition(WORKER, "AccessGranted") == "False NotGranted"


def released(harness: OperatorHarness) -> None:
    """Its record is gone, and what it claimed is still its own."""
    assert harness.server_record("payroll", "payroll-api") is None
    assert Ref("ConfigMap", NAMESPACE, audience_claim_name("https://hr.example/x")) in harness.store.objects


def with_claim() -> OperatorHarness:
    prefix = AudiencePrefix(prefix="https://hr.example", namespaces=("payroll",))
    harness = OperatorHarness(Config(issuer=ISSUER, audiences=(prefix,)))
    harness.apply("ResourceServer", "payroll", "payroll-api", {"audience": "https://hr.example/x"})
    harness.settle()
    return harness


def a_month_later(harness: OperatorHarness) -> None:
    harness.clock.advance(hours=720)


def rotate_by_hand(harness: OperatorHarness) -> None:
    harness.apply("OAuthClient", "leave", "worker", ASKS, rotate="now")


def respecify(**spec: Any) -> Callable[[OperatorHarness], object]:
    return lambda harness: harness.apply("OAuthClient", "leave", "worker", {**ASKS, **spec})


def made_again(harness: OperatorHarness) -> None:
    harness.delete(WORKER)
    harness.apply("OAuthClient", "leave", "worker", ASKS)


def made_again_paused(harness: OperatorHarness) -> None:
    harness.delete(WORKER)
    harness.apply("OAuthClient", "leave", "worker", ASKS, paused="true")


def made_again_suspended(harness: OperatorHarness) -> None:
    harness.delete(WORKER)
    harness.apply("OAuthClient", "leave", "worker", {**ASKS, "rotation": {"suspend": True}})


def server_made_again_paused(harness: OperatorHarness) -> None:
    harness.delete(SERVER)
    harness.apply("ResourceServer", "payroll", "payroll-api", {"scopes": [{"name": "payroll.read"}]}, paused="true")


def server_gone(harness: OperatorHarness) -> None:
    assert harness.server_record("payroll", "payroll-api") is None


PAIR = {"authentication": {"method": "PrivateKeyJWT"}}
ACCOUNT = {"authentication": {"method": "ServiceAccount", "serviceAccount": {"name": "worker"}}}


def with_pair() -> OperatorHarness:
    harness = OperatorHarness()
    harness.apply("OAuthClient", "leave", "worker", PAIR)
    harness.settle()
    return harness


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


def pair_in(harness: OperatorHarness) -> str:
    """The kid of the private key in the Secret, which the record must accept as this very public key."""
    assert harness.condition(WORKER) == "True Provisioned"
    private = harness.store.entry(harness.secret(), "private_key.jwk")
    record = harness.client_record("leave", "worker")
    assert record is not None
    held = next(c for c in record.credentials if c.sha256 == digest(private))
    assert held.expiration_time is None
    assert held.jwk == {name: value for name, value in json.loads(private).items() if name != "d"}
    return held.jwk["kid"]


def pair_ready(harness: OperatorHarness) -> None:
    assert pair_in(harness)


def pair_rotated(harness: OperatorHarness) -> None:
    first = generated_key(1).jwk
    assert pair_in(harness) != first["kid"]
    record = harness.client_record("leave", "worker")
    assert record is not None
    assert [c.expiration_time is not None for c in record.credentials if c.jwk == first] == [True]


def pair_kept(harness: OperatorHarness) -> None:
    assert pair_in(harness) == generated_key(1).jwk["kid"]


def secret_gave_way_to_pair(harness: OperatorHarness) -> None:
    pair_in(harness)
    outlasted(harness)
    assert "client_secret" not in harness.store.objects[harness.secret()].entries


def outlasted(harness: OperatorHarness) -> None:
    """The secret of before works through its overlap, and no longer."""
    assert digest("secret1") in accepted(harness)
    harness.clock.advance(hours=25)
    harness.settle()
    assert digest("secret1") not in accepted(harness)


def account_named(uid: str) -> Callable[[OperatorHarness], None]:
    def named(harness: OperatorHarness) -> None:
        record = harness.client_record("leave", "worker")
        assert record is not None
        assert (record.method, record.service_account) == ("ServiceAccount", ServiceAccount("worker", uid))
        assert harness.condition(WORKER) == "True Provisioned"
        assert not generated_credential(harness.store.objects[harness.secret()].entries)

    return named


def secret_gave_way_to_account(harness: OperatorHarness) -> None:
    account_named("1")(harness)
    outlasted(harness)


def account_gone(harness: OperatorHarness) -> None:
    record = harness.client_record("leave", "worker")
    assert record is not None
    assert record.service_account is None
    assert harness.condition(WORKER) == "False ServiceAccountNotFound"


STORIES = {
    "a client of a key pair": Story(
        OperatorHarness, lambda h: h.apply("OAuthClient", "leave", "worker", PAIR), pair_ready
    ),
    "a key pair is due": Story(with_pair, a_month_later, pair_rotated),
    "a key pair is edited": Story(
        with_pair, lambda h: h.store.edit(h.secret(), **{"private_key.jwk": b"chosen"}), pair_rotated
    ),
    "the record of a key pair is deleted": Story(
        with_pair,
        lambda h: h.store.delete_by_hand(Ref("Secret", NAMESPACE, client_record_name("leave", "worker"))),
        pair_kept,
    ),
    "a secret gives way to a key pair": Story(with_client, respecify(**PAIR), secret_gave_way_to_pair),
    "a key pair gives way to a secret": Story(
        with_pair, lambda h: h.apply("OAuthClient", "leave", "worker", ASKS), ready
    ),
    "a secret gives way to a ServiceAccount": Story(
        with_client_and_account, respecify(**ACCOUNT), secret_gave_way_to_account
    ),
    "a ServiceAccount gives way to a secret": Story(
        with_account, lambda h: h.apply("OAuthClient", "leave", "worker", ASKS), ready
    ),
    "a ServiceAccount is made again": Story(
        with_account, lambda h: h.service_accounts.update({"leave/worker": "2"}), account_named("2")
    ),
    "a ServiceAccount is deleted": Story(with_account, lambda h: h.service_accounts.clear(), account_gone),
    "a Secret without a credential is deleted": Story(
        with_account, lambda h: h.store.delete_by_hand(h.secret()), account_named("1")
    ),
    "a client is created": Story(OperatorHarness, lambda h: h.apply("OAuthClient", "leave", "worker", ASKS), ready),
    "a rotation is due": Story(with_client, a_month_later, rotated),
    "a rotation is asked for": Story(with_client, rotate_by_hand, rotated),
    "a credential is revoked": Story(
        an_hour_old_client, respecify(rotation={"revokedBefore": "2026-11-22T12:30:00Z"}), revoked
    ),
    "a Secret is deleted": Story(with_client, lambda h: h.store.delete_by_hand(h.secret()), rotated),
    "a Secret's value is edited": Story(
        with_client, lambda h: h.store.edit(h.secret(), client_secret=b"chosen"), rotated
    ),
    "a Secret's other entry is edited": Story(with_client, lambda h: h.store.edit(h.secret(), issuer=b"evil"), kept),
    "a record is deleted": Story(
        with_client,
        lambda h: h.store.delete_by_hand(Ref("Secret", NAMESPACE, client_record_name("leave", "worker"))),
        kept,
    ),
    "a Secret gets another name": Story(with_client, respecify(credentials={"secretName": "elsewhere"}), moved),
    "the seal key is another": Story(with_client, reseal, sealed_anew),
    "the seal key of a Secret without a credential is another": Story(with_account, reseal, bare_and_sealed_anew),
    "the seal key is another while an earlier Secret is still in use": Story(moving, reseal, moved),
    "an entry gets another name": Story(
        with_client,
        respecify(credentials={"keys": {"clientID": "id"}}),
        lambda h: None if h.client_secret() == "secret1" else pytest.fail("the credential changed"),
    ),
    "a client is deleted": Story(with_client, lambda h: h.delete(WORKER), gone),
    "a client is made again": Story(with_client, made_again, revoked),
    "a client is made again, and paused": Story(with_client, made_again_paused, gone),
    "a client is made again, and suspended": Story(with_client, made_again_suspended, revoked),
    "a resource server is made again, and paused": Story(with_everything, server_made_again_paused, server_gone),
    "a first signing key": Story(OperatorHarness, lambda h: h.apply("SigningKey", NAMESPACE, "default"), signing),
    "a successor": Story(with_key, lambda h: h.clock.advance(hours=720 - 24), succeeded),
    "signing keys are revoked": Story(
        an_hour_old_key,
        lambda h: h.apply("SigningKey", NAMESPACE, "default", {"revokedBefore": "2026-11-22T12:30:00Z"}),
        keys_revoked,
    ),
    "the JWKS is deleted": Story(
        with_key, lambda h: h.store.delete_by_hand(Ref("ConfigMap", NAMESPACE, "scopewright-jwks")), signing
    ),
    "a grant is withdrawn": Story(
        with_everything, lambda h: h.delete(Ref("ScopeGrant", "payroll", "grant")), withdrawn
    ),
    "a resource server is deleted": Story(with_claim, lambda h: h.delete(SERVER), released),
}


def told(story: Story, error: Callable[[], BaseException], at: int, point: Point) -> int:
    """The story, with this trouble at one write. How many writes there were, so that one knows when to stop."""
    harness = story.begin()
    before = len(harness.store.writes)
    story.act(harness)
    harness.store.fail(error(), at, point)
    try:
        harness.settle()
    except Crash:
        harness.restart()
    harness.store.failures.clear()
    # A process takes longer than no time to be started again.
    harness.clock.advance(seconds=1)
    harness.settle()
    story.end(harness)
    done = len(harness.store.writes)
    harness.settle()
    assert len(harness.store.writes) == done, "a second run writes something"
    return len(harness.store.writes) - before


@pytest.mark.parametrize("point", ["before", "after"])
@pytest.mark.parametrize("error", ["killed", "conflict", "unavailable"])
@pytest.mark.parametrize("name", STORIES)
def test_each_story_converges_from_a_failure_at_each_write(name: str, error: str, point: Point) -> None:
    errors: dict[str, Callable[[], BaseException]] = {
        "killed": Crash,
        "conflict": lambda: Conflict("somebody was faster"),
        "unavailable": lambda: Unavailable("no answer in time"),
    }
    at = 0
    while at < told(STORIES[name], errors[error], at, point):
        at += 1
    assert at


def test_a_client_is_sealed_with_the_new_key_once_it_is_no_longer_paused() -> None:
    harness = with_client()
    harness.apply("OAuthClient", "leave", "worker", ASKS, paused="true")
    reseal(harness)
    harness.settle()
    before = harness.store.objects[harness.secret()].existing.annotations[SEAL_ANNOTATION]
    harness.apply("OAuthClient", "leave", "worker", ASKS)
    harness.settle()
    assert harness.store.objects[harness.secret()].existing.annotations[SEAL_ANNOTATION] != before
    sealed_anew(harness)


def test_a_secret_with_entries_of_others_is_not_sealed_with_the_new_key() -> None:
    """A seal says that the operator has made what is there: it could be carried to the Secret that is in use."""
    harness = moving()
    held = harness.store.objects[harness.secret()]
    harness.store.put(held.existing, {**held.entries, "chosen": b"by somebody else"})
    reseal(harness)
    harness.settle()
    assert harness.store.objects[harness.secret()].existing.annotations == held.existing.annotations


def test_a_paused_client_keeps_its_own_record() -> None:
    harness = with_client()
    harness.apply("OAuthClient", "leave", "worker", {**ASKS, "disabled": True}, paused="true")
    before = harness.client_record("leave", "worker")
    harness.settle()
    assert harness.client_record("leave", "worker") == before is not None


def test_the_record_of_a_paused_client_stays_until_its_deletion_is_proven() -> None:
    """Another UID is on record, and nobody can say whose is the older one; or it is we who are behind."""
    harness = with_client()
    made_again_paused(harness)
    harness.store.unconfirmed.add(WORKER)
    assert not harness.reconcile_all()
    assert harness.client_record("leave", "worker")
    harness.store.unconfirmed.clear()
    harness.settle()
    gone(harness)

    harness = with_client()
    made_again_paused(harness)
    harness.resync()
    record = harness.client_record("leave", "worker")
    assert record
    harness.store.declared[WORKER]["metadata"]["uid"] = record.uid
    run_sync(harness.reconciler.reconcile(WORKER))
    assert harness.client_record("leave", "worker") == record


def test_a_rotation_converges_after_two_crashes() -> None:
    for first in range(4):
        for second in range(4):
            harness = with_client()
            a_month_later(harness)
            for at in (first, second):
                harness.store.fail(Crash(), at)
                try:
                    harness.settle()
                except Crash:
                    harness.restart()
                harness.clock.advance(seconds=70)
            harness.settle()
            rotated(harness)


def test_a_client_is_provisioned_within_a_minute_after_the_store_recovers() -> None:
    """However often a Secret's write fails: once it goes through again, the client is provisioned within a minute."""
    harness = OperatorHarness()
    harness.apply("OAuthClient", "leave", "worker", ASKS)
    for _ in range(8):
        harness.store.fail(Unavailable("no answer in time"), at=1)
        harness.reconcile_all()
        harness.store.failures.clear()
        harness.clock.advance(seconds=2)
    harness.clock.advance(seconds=61)
    harness.settle()
    ready(harness)


def test_the_mounted_credential_outlives_any_number_of_failed_writes() -> None:
    """A Secret is deleted and cannot be written for hours: what Pods have mounted still works all the while."""
    harness = with_client()
    harness.store.delete_by_hand(harness.secret())
    for _ in range(80):
        harness.store.fail(Unavailable("no answer in time"), at=1)
        harness.reconcile_all()
        harness.store.failures.clear()
        harness.clock.advance(minutes=3)
        assert digest("secret1") in accepted(harness)


def test_a_failed_rotation_leaves_the_old_credential_working() -> None:
    harness = with_client()
    rotate_by_hand(harness)
    harness.store.fail(Unavailable("no answer in time"), at=1)
    harness.reconcile_all()
    assert harness.client_secret() == "secret1"
    ready(harness)
