"""Killed at any write, or refused it, and started again: the operator converges, and locks no client out meanwhile.

`House` checks the invariants after every single write; here are the stories, each told once for every way to fail.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest

from scopewright.core.config import AudiencePrefix, Config
from scopewright.core.failures import Conflict, Unavailable
from scopewright.core.objects import SEAL_ANNOTATION, Ref, digest
from scopewright.core.records import ServiceAccount, audience_claim_name, client_record_name
from tests.unit.controller.house import ISSUER, NAMESPACE, House, credential_in, drive, made
from tests.unit.controller.memory import Crash, Point

WORKER = Ref("OAuthClient", "leave", "worker")
KEY = Ref("SigningKey", NAMESPACE, "default")
SERVER = Ref("ResourceServer", "payroll", "payroll-api")
ASKS = {"access": [{"resourceServer": "payroll-api", "namespace": "payroll", "scopes": ["read"]}]}


def with_client() -> House:
    house = House()
    house.apply("OAuthClient", "leave", "worker", ASKS)
    house.settle()
    return house


def an_hour_old_client() -> House:
    house = with_client()
    house.pass_time(timedelta(hours=1))
    return house


def an_hour_old_key() -> House:
    house = with_key()
    house.pass_time(timedelta(hours=1))
    return house


def with_key() -> House:
    house = House()
    house.apply("SigningKey", NAMESPACE, "default")
    house.settle()
    return house


def with_everything() -> House:
    house = with_key()
    house.apply("ResourceServer", "payroll", "payroll-api", {"scopes": [{"name": "read"}]})
    house.apply("ScopeGrant", "payroll", "grant", GRANT)
    house.apply("OAuthClient", "leave", "worker", ASKS)
    house.settle()
    return house


GRANT = {"resourceServer": "payroll-api", "scopes": ["read"], "to": [{"namespace": "leave"}]}


@dataclass(frozen=True)
class Story:
    """From `begin`, somebody does `act`; when all is settled again, `end` holds."""

    begin: Callable[[], House]
    act: Callable[[House], object]
    end: Callable[[House], None]


def accepted(house: House) -> set[str]:
    record = house.client_record("leave", "worker")
    return {c.sha256 for c in record.credentials if c.accepted_at(house.now)} if record else set()


def ready(house: House) -> None:
    assert house.condition(WORKER) == "True Provisioned"
    assert digest(house.value()) in accepted(house)


def rotated(house: House) -> None:
    ready(house)
    assert house.value() != "secret1"
    assert digest("secret1") in accepted(house), "the previous credential lost its overlap"
    record = house.client_record("leave", "worker")
    assert record is not None
    first = next(c for c in record.credentials if c.sha256 == digest("secret1"))
    assert first.expiration_time is not None


def revoked(house: House) -> None:
    ready(house)
    assert digest("secret1") not in accepted(house)


def kept(house: House) -> None:
    ready(house)
    assert house.value() == "secret1"


def moved(house: House) -> None:
    assert house.condition(WORKER) == "True Provisioned"
    elsewhere = house.value(house.secret(name="elsewhere"))
    assert {digest(elsewhere), digest("secret1")} <= accepted(house)
    house.pass_time(timedelta(hours=25))
    house.settle()
    assert house.secret() not in house.store.objects
    assert house.value(house.secret(name="elsewhere")) == elsewhere


def moving() -> House:
    house = with_client()
    house.apply("OAuthClient", "leave", "worker", {**ASKS, "credentials": {"secretName": "elsewhere"}})
    house.settle()
    return house


def reseal(house: House) -> None:
    house.seal_key = b"another seal key of the houses.."
    house.reconciler.set_seal_key(house.seal_key)


def sealed_anew(house: House) -> None:
    """By the new key, which alone vouches for what is restored when the record has gone."""
    kept(house)
    house.store.drop(Ref("Secret", NAMESPACE, client_record_name("leave", "worker")))
    house.settle()
    kept(house)


def bare_and_sealed_anew(house: House) -> None:
    account_named("1")(house)
    house.store.drop(Ref("Secret", NAMESPACE, client_record_name("leave", "worker")))
    house.settle()
    account_named("1")(house)


def gone(house: House) -> None:
    assert Ref("Secret", NAMESPACE, client_record_name("leave", "worker")) not in house.store.objects


def signing(house: House) -> None:
    active = [r for r in house.key_records() if r.signs_at(house.now)]
    assert active
    assert house.condition(KEY) == "True Signing"
    assert {r.kid for r in house.key_records() if r.published_at(house.now)} == house.jwks()


def succeeded(house: House) -> None:
    signing(house)
    first, *others = house.key_records()
    assert first.signs_at(house.now)
    assert others
    assert not any(r.signs_at(house.now) for r in others)
    house.pass_time(timedelta(hours=25))
    house.settle()
    assert any(r.signs_at(house.now) for r in others)


def keys_revoked(house: House) -> None:
    signing(house)
    assert house.key_records()[0].revoked_time
    assert house.key_records()[0].kid not in house.jwks()


def withdrawn(house: House) -> None:
    record = house.server_record("payroll", "payroll-api")
    assert record is not None
    assert not record.grants
    assert house.condition(WORKER, "AccessGranted") == "False NotGranted"


def released(house: House) -> None:
    """Its record is gone, and what it claimed is still its own."""
    assert house.server_record("payroll", "payroll-api") is None
    assert Ref("ConfigMap", NAMESPACE, audience_claim_name("https://hr.example/x")) in house.store.objects


def with_claim() -> House:
    prefix = AudiencePrefix(prefix="https://hr.example", namespaces=("payroll",))
    house = House(Config(issuer=ISSUER, audiences=(prefix,)))
    house.apply("ResourceServer", "payroll", "payroll-api", {"audience": "https://hr.example/x"})
    house.settle()
    return house


def a_month_later(house: House) -> None:
    house.pass_time(timedelta(hours=720))


def rotate_by_hand(house: House) -> None:
    house.apply("OAuthClient", "leave", "worker", ASKS, rotate="now")


def respecify(**spec: Any) -> Callable[[House], object]:
    return lambda house: house.apply("OAuthClient", "leave", "worker", {**ASKS, **spec})


def made_again(house: House) -> None:
    house.store.remove(WORKER)
    house.apply("OAuthClient", "leave", "worker", ASKS)


def made_again_paused(house: House) -> None:
    house.store.remove(WORKER)
    house.apply("OAuthClient", "leave", "worker", ASKS, paused="true")


def made_again_suspended(house: House) -> None:
    house.store.remove(WORKER)
    house.apply("OAuthClient", "leave", "worker", {**ASKS, "rotation": {"suspend": True}})


def server_made_again_paused(house: House) -> None:
    house.store.remove(SERVER)
    house.apply("ResourceServer", "payroll", "payroll-api", {"scopes": [{"name": "payroll.read"}]}, paused="true")


def server_gone(house: House) -> None:
    assert house.server_record("payroll", "payroll-api") is None


PAIR = {"authentication": {"method": "PrivateKeyJWT"}}
ACCOUNT = {"authentication": {"method": "ServiceAccount", "serviceAccount": {"name": "worker"}}}


def with_pair() -> House:
    house = House()
    house.apply("OAuthClient", "leave", "worker", PAIR)
    house.settle()
    return house


def with_account() -> House:
    house = House()
    house.service_accounts = {"leave/worker": "1"}
    house.apply("OAuthClient", "leave", "worker", ACCOUNT)
    house.settle()
    return house


def with_client_and_account() -> House:
    house = with_client()
    house.service_accounts = {"leave/worker": "1"}
    return house


def pair_in(house: House) -> str:
    """The kid of the private key in the Secret, which the record must accept as this very public key."""
    assert house.condition(WORKER) == "True Provisioned"
    private = house.store.entry(house.secret(), "private_key.jwk")
    record = house.client_record("leave", "worker")
    assert record is not None
    held = next(c for c in record.credentials if c.sha256 == digest(private))
    assert held.expiration_time is None
    assert held.jwk == {name: value for name, value in json.loads(private).items() if name != "d"}
    return held.jwk["kid"]


def pair_ready(house: House) -> None:
    assert pair_in(house)


def pair_rotated(house: House) -> None:
    first = made(1).jwk
    assert pair_in(house) != first["kid"]
    record = house.client_record("leave", "worker")
    assert record is not None
    assert [c.expiration_time is not None for c in record.credentials if c.jwk == first] == [True]


def pair_kept(house: House) -> None:
    assert pair_in(house) == made(1).jwk["kid"]


def secret_gave_way_to_pair(house: House) -> None:
    pair_in(house)
    outlasted(house)
    assert "client_secret" not in house.store.objects[house.secret()].entries


def outlasted(house: House) -> None:
    """The secret of before works through its overlap, and no longer."""
    assert digest("secret1") in accepted(house)
    house.pass_time(timedelta(hours=25))
    house.settle()
    assert digest("secret1") not in accepted(house)


def account_named(uid: str) -> Callable[[House], None]:
    def named(house: House) -> None:
        record = house.client_record("leave", "worker")
        assert record is not None
        assert (record.method, record.service_account) == ("ServiceAccount", ServiceAccount("worker", uid))
        assert house.condition(WORKER) == "True Provisioned"
        assert not credential_in(house.store.objects[house.secret()].entries)

    return named


def secret_gave_way_to_account(house: House) -> None:
    account_named("1")(house)
    outlasted(house)


def account_gone(house: House) -> None:
    record = house.client_record("leave", "worker")
    assert record is not None
    assert record.service_account is None
    assert house.condition(WORKER) == "False ServiceAccountNotFound"


STORIES = {
    "a client of a key pair": Story(House, lambda h: h.apply("OAuthClient", "leave", "worker", PAIR), pair_ready),
    "a key pair is due": Story(with_pair, a_month_later, pair_rotated),
    "a key pair is edited": Story(
        with_pair, lambda h: h.store.edit(h.secret(), **{"private_key.jwk": b"chosen"}), pair_rotated
    ),
    "the record of a key pair is deleted": Story(
        with_pair, lambda h: h.store.drop(Ref("Secret", NAMESPACE, client_record_name("leave", "worker"))), pair_kept
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
        with_account, lambda h: h.store.drop(h.secret()), account_named("1")
    ),
    "a client is created": Story(House, lambda h: h.apply("OAuthClient", "leave", "worker", ASKS), ready),
    "a rotation is due": Story(with_client, a_month_later, rotated),
    "a rotation is asked for": Story(with_client, rotate_by_hand, rotated),
    "a credential is revoked": Story(
        an_hour_old_client, respecify(rotation={"revokedBefore": "2026-11-22T12:30:00Z"}), revoked
    ),
    "a Secret is deleted": Story(with_client, lambda h: h.store.drop(h.secret()), rotated),
    "a Secret's value is edited": Story(
        with_client, lambda h: h.store.edit(h.secret(), client_secret=b"chosen"), rotated
    ),
    "a Secret's other entry is edited": Story(with_client, lambda h: h.store.edit(h.secret(), issuer=b"evil"), kept),
    "a record is deleted": Story(
        with_client,
        lambda h: h.store.drop(Ref("Secret", NAMESPACE, client_record_name("leave", "worker"))),
        kept,
    ),
    "a Secret gets another name": Story(with_client, respecify(credentials={"secretName": "elsewhere"}), moved),
    "the seal key is another": Story(with_client, reseal, sealed_anew),
    "the seal key of a Secret without a credential is another": Story(with_account, reseal, bare_and_sealed_anew),
    "the seal key is another while an earlier Secret is still in use": Story(moving, reseal, moved),
    "an entry gets another name": Story(
        with_client,
        respecify(credentials={"keys": {"clientID": "id"}}),
        lambda h: None if h.value() == "secret1" else pytest.fail("the credential changed"),
    ),
    "a client is deleted": Story(with_client, lambda h: h.store.remove(WORKER), gone),
    "a client is made again": Story(with_client, made_again, revoked),
    "a client is made again, and paused": Story(with_client, made_again_paused, gone),
    "a client is made again, and suspended": Story(with_client, made_again_suspended, revoked),
    "a resource server is made again, and paused": Story(with_everything, server_made_again_paused, server_gone),
    "a first signing key": Story(House, lambda h: h.apply("SigningKey", NAMESPACE, "default"), signing),
    "a successor": Story(with_key, lambda h: h.pass_time(timedelta(hours=720 - 24)), succeeded),
    "signing keys are revoked": Story(
        an_hour_old_key,
        lambda h: h.apply("SigningKey", NAMESPACE, "default", {"revokedBefore": "2026-11-22T12:30:00Z"}),
        keys_revoked,
    ),
    "the JWKS is deleted": Story(
        with_key, lambda h: h.store.drop(Ref("ConfigMap", NAMESPACE, "scopewright-jwks")), signing
    ),
    "a grant is withdrawn": Story(
        with_everything, lambda h: h.store.remove(Ref("ScopeGrant", "payroll", "grant")), withdrawn
    ),
    "a resource server is deleted": Story(with_claim, lambda h: h.store.remove(SERVER), released),
}


def told(story: Story, error: Callable[[], BaseException], at: int, point: Point) -> int:
    """The story, with this trouble at one write. How many writes there were, so that one knows when to stop."""
    house = story.begin()
    before = len(house.store.writes)
    story.act(house)
    house.store.fail(error(), at, point)
    try:
        house.settle()
    except Crash:
        house.restart()
    house.store.trouble.clear()
    # A process takes longer than no time to be started again.
    house.pass_time(timedelta(seconds=1))
    house.settle()
    story.end(house)
    done = len(house.store.writes)
    house.settle()
    assert len(house.store.writes) == done, "a second run writes something"
    return len(house.store.writes) - before


@pytest.mark.parametrize("point", ["before", "after"])
@pytest.mark.parametrize("error", ["killed", "conflict", "unavailable"])
@pytest.mark.parametrize("name", STORIES)
def test_it_converges_from_trouble_at_every_write(name: str, error: str, point: Point) -> None:
    errors: dict[str, Callable[[], BaseException]] = {
        "killed": Crash,
        "conflict": lambda: Conflict("somebody was faster"),
        "unavailable": lambda: Unavailable("no answer in time"),
    }
    at = 0
    while at < told(STORIES[name], errors[error], at, point):
        at += 1
    assert at


def test_a_paused_client_is_sealed_anew_when_it_goes_on() -> None:
    house = with_client()
    house.apply("OAuthClient", "leave", "worker", ASKS, paused="true")
    reseal(house)
    house.settle()
    before = house.store.objects[house.secret()].existing.annotations[SEAL_ANNOTATION]
    house.apply("OAuthClient", "leave", "worker", ASKS)
    house.settle()
    assert house.store.objects[house.secret()].existing.annotations[SEAL_ANNOTATION] != before
    sealed_anew(house)


def test_nothing_that_somebody_else_has_put_in_is_ever_sealed_anew() -> None:
    """A seal says that the operator has made what is there: it could be carried to the Secret that is in use."""
    house = moving()
    held = house.store.objects[house.secret()]
    house.store.put(held.existing, {**held.entries, "chosen": b"by somebody else"})
    reseal(house)
    house.settle()
    assert house.store.objects[house.secret()].existing.annotations == held.existing.annotations


def test_a_paused_client_keeps_its_own_record() -> None:
    house = with_client()
    house.apply("OAuthClient", "leave", "worker", {**ASKS, "disabled": True}, paused="true")
    before = house.client_record("leave", "worker")
    house.settle()
    assert house.client_record("leave", "worker") == before is not None


def test_what_is_not_proven_of_a_paused_clients_record_stays() -> None:
    """Another UID is on record, and nobody can say whose is the older one; or it is we who are behind."""
    house = with_client()
    made_again_paused(house)
    house.store.unknown.add(WORKER)
    assert not house.round()
    assert house.client_record("leave", "worker")
    house.store.unknown.clear()
    house.settle()
    gone(house)

    house = with_client()
    made_again_paused(house)
    house.look()
    record = house.client_record("leave", "worker")
    assert record
    house.store.declared[WORKER]["metadata"]["uid"] = record.uid
    drive(house.reconciler.reconcile(WORKER))
    assert house.client_record("leave", "worker") == record


def test_killed_twice_in_a_row_it_still_converges() -> None:
    for first in range(4):
        for second in range(4):
            house = with_client()
            a_month_later(house)
            for at in (first, second):
                house.store.fail(Crash(), at)
                try:
                    house.settle()
                except Crash:
                    house.restart()
                house.pass_time(timedelta(seconds=70))
            house.settle()
            rotated(house)


def test_a_store_that_is_down_costs_no_credential() -> None:
    """However often a Secret's write fails: once it goes through again, the client is provisioned within a minute."""
    house = House()
    house.apply("OAuthClient", "leave", "worker", ASKS)
    for _ in range(8):
        house.store.fail(Unavailable("no answer in time"), at=1)
        house.round()
        house.store.trouble.clear()
        house.pass_time(timedelta(seconds=2))
    house.pass_time(timedelta(seconds=61))
    house.settle()
    ready(house)


def test_the_mounted_credential_outlives_any_number_of_failed_writes() -> None:
    """A Secret is deleted and cannot be written for hours: what Pods have mounted still works all the while."""
    house = with_client()
    house.store.drop(house.secret())
    for _ in range(80):
        house.store.fail(Unavailable("no answer in time"), at=1)
        house.round()
        house.store.trouble.clear()
        house.pass_time(timedelta(minutes=3))
        assert digest("secret1") in accepted(house)


def test_a_failed_rotation_leaves_the_old_credential_working() -> None:
    house = with_client()
    rotate_by_hand(house)
    house.store.fail(Unavailable("no answer in time"), at=1)
    house.round()
    assert house.value() == "secret1"
    ready(house)
