"""The records of IdentityProviders: written, kept, deleted, and which of two providers has a domain."""

import asyncio
import itertools
from typing import Any

import pytest

from scopewright.controller.reconcile import Reconciler
from scopewright.controller.views import Dependencies
from scopewright.core.config import Config
from scopewright.core.failures import Rejected, Unavailable
from scopewright.core.installation import usage_ref
from scopewright.core.objects import MANAGED_BY, MANAGER, Existing, Ref
from scopewright.core.providers.secrets import PROVIDER_SECRET_TYPE
from scopewright.core.records.codec import encode
from scopewright.core.records.names import CLIENT_SECRET_ENTRY, ENTRY, RECORD_LABEL
from scopewright.core.records.written_by_issuers import SessionStoreReport, UsageRecord
from scopewright.core.session_stores import store_key
from tests.harness.operator import OperatorHarness, run_sync
from tests.harness.samples import ISSUER, NAMESPACE

SECRET: dict[str, Any] = {"clientAuthentication": {"method": "ClientSecret", "secretRef": {"name": "oidc"}}}
SAME_DOMAIN: dict[str, Any] = {"subjectDomain": "https://old.example"}
WEB = {"redirectURIs": ["http://127.0.0.1/callback"]}


@pytest.fixture
def harness() -> OperatorHarness:
    harness = OperatorHarness(Config(issuer=ISSUER))
    harness.apply("SigningKey", NAMESPACE, "default")
    return harness


def login_client(harness: OperatorHarness, **login: Any) -> Ref:
    spec = {"authentication": {"method": "None"}, "grantTypes": ["authorization_code"], "login": {**WEB, **login}}
    return harness.apply("OAuthClient", "hr", "web", spec)


def message(harness: OperatorHarness, ref: Ref) -> str:
    return next(str(c["message"]) for c in harness.status(ref)["conditions"] if c["type"] == "Ready")


def test_a_provider_is_in_force_and_its_status_has_the_redirect_uri(harness: OperatorHarness) -> None:
    ref = harness.apply_provider()
    harness.settle()
    assert harness.condition(ref) == "True InForce"
    assert harness.status(ref)["redirectURI"] == f"{ISSUER}/callback/company"
    record = harness.provider_record()
    assert record
    assert record.uid == harness.store.declared[ref]["metadata"]["uid"]


def test_a_rotated_client_secret_reaches_the_record_within_the_resync_interval(harness: OperatorHarness) -> None:
    harness.put_secret("oidc", PROVIDER_SECRET_TYPE, client_secret="first")
    ref = harness.apply_provider(oidc=SECRET)
    harness.settle()
    assert harness.next_due[ref] - harness.clock.now <= harness.config.resync
    harness.put_secret("oidc", PROVIDER_SECRET_TYPE, client_secret="second")
    assert harness.reconcile(ref)
    assert harness.store.entry(harness.provider_secret(), CLIENT_SECRET_ENTRY) == b"second"
    texts = [str(harness.status(ref)), *(event.message for event in harness.events)]
    assert not [text for text in texts if "first" in text or "second" in text]


@pytest.mark.parametrize("break_it", ["delete", "type", "entry"])
def test_the_last_record_stays_in_force_while_its_secret_is_broken(harness: OperatorHarness, break_it: str) -> None:
    secret = harness.put_secret("oidc", PROVIDER_SECRET_TYPE, client_secret="first")
    ref = harness.apply_provider(oidc=SECRET)
    harness.settle()
    before = dict(harness.store.objects[harness.provider_secret()].entries)
    harness.store.objects.pop(secret)
    if break_it == "type":
        harness.put_secret("oidc", "Opaque", client_secret="second")
    elif break_it == "entry":
        harness.put_secret("oidc", PROVIDER_SECRET_TYPE, other="second")
    harness.settle()
    reason = {"delete": "SecretNotFound", "type": "SecretTypeNotAllowed", "entry": "SecretEntryMissing"}[break_it]
    assert harness.condition(ref) == f"False {reason}"
    assert harness.condition(ref, "Stalled") == f"True {reason}"
    assert message(harness, ref).endswith("the last valid settings stay in force")
    assert harness.store.objects[harness.provider_secret()].entries == before
    harness.store.objects.pop(secret, None)
    harness.put_secret("oidc", PROVIDER_SECRET_TYPE, client_secret="third")
    harness.settle()
    assert harness.condition(ref) == "True InForce"
    assert harness.condition(ref, "Stalled") == ""
    assert [event.reason for event in harness.events][-2:] == [reason, "InForce"]
    assert [entry["reason"] for entry in harness.status(ref)["history"]] == [reason, "InForce"]


def test_a_secret_that_cannot_be_read_at_the_moment_is_a_retry(harness: OperatorHarness) -> None:
    ref = harness.apply_provider(oidc=SECRET)
    harness.resync()
    harness.store.unavailable = True
    with pytest.raises(Unavailable):
        run_sync(harness.reconciler.reconcile(ref))
    assert harness.status(ref) == {}


@pytest.mark.parametrize("order", list(itertools.permutations(("one", "two"))), ids=" ".join)
def test_of_two_new_providers_with_one_domain_the_first_has_it(
    harness: OperatorHarness, order: tuple[str, ...]
) -> None:
    refs = {name: harness.apply_provider(name, **SAME_DOMAIN) for name in ("one", "two")}
    harness.resync()
    for name in order:
        harness.reconcile(refs[name])
    first, second = order
    assert harness.provider_record(first)
    assert harness.provider_record(second) is None
    assert harness.condition(refs[second]) == "False SubjectDomainConflict"
    harness.settle()
    assert harness.provider_record(second) is None, "the owner does not depend on a later order"
    assert refs[second] in harness.cache.relations.of_managed(harness.provider_secret(first))
    harness.delete(refs[first])
    harness.settle()
    assert harness.condition(refs[second]) == "True InForce", "the domain is free again"


@pytest.mark.parametrize("order", list(itertools.permutations(("one", "two", "three"))), ids=" ".join)
async def test_workers_at_the_same_time_do_not_both_write(harness: OperatorHarness, order: tuple[str, ...]) -> None:
    refs = {name: harness.apply_provider(name, **SAME_DOMAIN) for name in order}
    harness.resync()
    harness.store.concurrent = True
    await asyncio.gather(*(harness.reconciler.reconcile(refs[name]) for name in order))
    written = [write for write in harness.store.writes if "Secret" in write]
    assert written == [f"create {harness.provider_secret(order[0])}"], "two had the domain for a moment"


async def test_another_kind_does_not_wait_for_a_provider(harness: OperatorHarness) -> None:
    ref, client = harness.apply_provider(oidc=SECRET), harness.apply("OAuthClient", "leave", "worker")
    harness.resync()
    harness.store.hold_reads()
    reconciling = asyncio.create_task(harness.reconciler.reconcile(ref))
    await harness.store.read_started.wait()
    await harness.reconciler.reconcile(client)
    assert not reconciling.done()
    harness.store.release_reads()
    await reconciling


def test_a_lost_answer_leaves_two_records_until_the_younger_is_deleted(harness: OperatorHarness) -> None:
    one, two = (harness.apply_provider(name, **SAME_DOMAIN) for name in ("one", "two"))
    harness.resync()
    harness.store.fail(Unavailable("no answer"), point="after")
    harness.reconcile(one)
    harness.reconcile(two)
    assert harness.provider_record("one")
    assert harness.provider_record("two"), "the answer to the first write was lost"
    harness.settle()
    assert harness.provider_record("one")
    assert harness.provider_record("two") is None
    assert harness.condition(one) == "True InForce"
    assert harness.condition(two) == "False SubjectDomainConflict"


def test_a_provider_that_grows_into_groups_of_another_keeps_its_own(harness: OperatorHarness) -> None:
    def claims(*allow: str) -> dict[str, Any]:
        return {"claimMappings": {"groups": {"claim": "groups", "allow": list(allow)}}}

    one, _ = harness.apply_provider("one", **claims("hr-*")), harness.apply_provider("two", **claims("it-*"))
    harness.settle()
    harness.apply_provider("one", **claims("*"))
    harness.settle()
    assert harness.condition(one) == "False GroupsOverlap"
    records = [harness.provider_record(name) for name in ("one", "two")]
    assert [record.claims.groups_allow for record in records if record] == [("hr-*",), ("it-*",)]


def test_the_record_goes_with_the_object(harness: OperatorHarness) -> None:
    ref = harness.apply_provider()
    harness.settle()
    assert ref in harness.checks.targets
    harness.delete(ref)
    harness.settle()
    assert harness.provider_record() is None
    assert ref not in harness.checks.targets, "a deleted provider is still checked"


def test_the_record_stays_while_the_deletion_is_not_proven(harness: OperatorHarness) -> None:
    ref = harness.apply_provider()
    harness.settle()
    harness.delete(ref)
    harness.store.unconfirmed.add(ref)
    harness.reconcile_all()
    assert harness.provider_record()


def test_a_record_of_a_deleted_object_is_deleted_after_a_restart(harness: OperatorHarness) -> None:
    ref = harness.apply_provider()
    harness.settle()
    harness.delete(ref)
    harness.restart()
    harness.cache.deleted.add(ref)
    run_sync(harness.reconciler.reconcile(ref))
    assert harness.provider_record() is None


def test_an_object_of_the_same_name_has_a_record_of_its_own(harness: OperatorHarness) -> None:
    ref = harness.apply_provider()
    harness.settle()
    before = harness.provider_record()
    harness.delete(ref)
    harness.apply_provider()
    harness.settle()
    after = harness.provider_record()
    assert before
    assert after
    assert before.uid != after.uid


def test_a_paused_provider_is_not_changed(harness: OperatorHarness) -> None:
    ref = harness.apply_provider()
    harness.settle()
    before = harness.store.entry(harness.provider_secret(), ENTRY)
    harness.store.declared[ref]["metadata"]["annotations"] = {"scopewright.dev/paused": "true"}
    harness.store.apply({"kind": "IdentityProvider", **harness.store.declared[ref], "spec": {
        **harness.store.declared[ref]["spec"], "displayName": "Another"}})  # fmt: skip
    harness.settle()
    assert harness.store.entry(harness.provider_secret(), ENTRY) == before
    assert harness.condition(ref, "Paused") == "True Paused"
    assert harness.condition(ref) == "True InForce"


def test_a_malformed_record_is_replaced(harness: OperatorHarness) -> None:
    harness.apply_provider()
    harness.settle()
    harness.store.edit(harness.provider_secret(), **{ENTRY: b"{"})
    harness.settle()
    assert harness.provider_record()


def test_a_tenant_declares_no_provider(harness: OperatorHarness) -> None:
    own = harness.apply_provider()
    harness.settle()
    before = harness.store.entry(harness.provider_secret(), ENTRY)
    foreign = harness.apply_provider(namespace="hr", oidc={"clientID": "evil"})
    harness.settle()
    assert harness.condition(foreign) == "False NamespaceNotIssuers"
    assert harness.status(foreign)["redirectURI"] == ""
    assert harness.store.entry(harness.provider_secret(), ENTRY) == before
    harness.delete(foreign)
    harness.settle()
    assert harness.store.entry(harness.provider_secret(), ENTRY) == before
    assert harness.condition(own) == "True InForce"


def test_a_write_that_is_refused_is_in_the_status(harness: OperatorHarness) -> None:
    ref = harness.apply_provider()
    harness.store.refuse("Secret scopewright-system/identityprovider.", Rejected("Forbidden", "a policy forbids it"))
    harness.reconcile_all()
    harness.reconcile_all()
    assert harness.condition(ref) == "False Forbidden"
    harness.store.stop_refusing()
    harness.settle()
    assert harness.condition(ref) == "True InForce"


# Checks


def test_a_failed_check_is_in_the_status_and_the_record_stays(harness: OperatorHarness) -> None:
    ref = harness.apply_provider()
    harness.settle()
    harness.checks.failures[ref] = ("IssuerMismatch", "the metadata is of another issuer")
    harness.settle()
    assert harness.condition(ref) == "False IssuerMismatch"
    assert harness.condition(ref, "Stalled") == ""
    assert harness.provider_record()
    del harness.checks.failures[ref]
    harness.settle()
    assert harness.condition(ref) == "True InForce"


def test_a_restart_changes_no_status_before_the_first_check(harness: OperatorHarness) -> None:
    ref = harness.apply_provider()
    harness.checks.failures[ref] = ("Unreachable", "it does not answer")
    harness.settle()
    before = harness.status(ref)
    harness.checks.pending = True
    harness.restart()
    harness.settle()
    assert harness.status(ref) == before
    harness.apply_provider(oidc={"clientID": "another"})
    harness.settle()
    assert harness.condition(ref) == "False Checking", "the earlier check was of another generation"


# Session stores


def put_reports(harness: OperatorHarness, *stores: str) -> Ref:
    """As issuers with these session stores report, each of which knows the others."""
    now = int(harness.clock.now.timestamp())
    keys = [store_key(store) for store in stores]
    reports = {key: SessionStoreReport(now, {other: now - 1 for other in keys if other != key}) for key in keys}
    ref, labels = usage_ref(harness.config), {MANAGED_BY: MANAGER, RECORD_LABEL: "usage"}
    entries = {ENTRY: encode(UsageRecord(harness.clock.now, session_stores=reports))}
    harness.store.put(Existing(ref, "", "", labels=labels), entries)
    return ref


def test_no_provider_is_ready_while_issuers_have_different_session_stores(harness: OperatorHarness) -> None:
    first = harness.apply_provider()
    other = harness.apply_provider("other")
    usage = put_reports(harness, "one")
    harness.settle()
    assert harness.condition(first) == "True InForce"
    assert not {first, other} & harness.cache.relations.of_managed(usage), "the rule costs no reconciliation"
    put_reports(harness, "one", "two")
    harness.resync()
    assert {first, other} <= harness.cache.relations.of_managed(usage)
    harness.settle()
    assert harness.condition(first) == harness.condition(other) == "False SessionStoreNotShared"
    assert "set users.sessions.valkey, or run one replica" in message(harness, first)
    assert not {first, other} & harness.cache.relations.of_managed(usage), "it is shown"
    harness.clock.advance(minutes=1)
    put_reports(harness, "one", "two")
    writes = len(harness.events)
    harness.settle()
    assert len(harness.events) == writes, "repeated reports are no news"
    put_reports(harness, "one")
    harness.resync()
    assert {first, other} <= harness.cache.relations.of_managed(usage)
    harness.settle()
    assert harness.condition(first) == "True InForce"
    reasons = [event.reason for event in harness.events if event.reason != "KeyCreated"]
    assert reasons == ["SessionStoreNotShared"] * 2 + ["InForce"] * 2


def test_reports_of_issuers_that_are_gone_hold_for_ten_minutes(harness: OperatorHarness) -> None:
    put_reports(harness, "one", "two")
    ref = harness.apply_provider()
    harness.settle()
    assert harness.condition(ref) == "False SessionStoreNotShared"
    harness.clock.advance(minutes=9, seconds=30)
    harness.reconcile(ref)
    assert harness.condition(ref) == "False SessionStoreNotShared"
    harness.clock.advance(seconds=30)
    assert harness.next_due[ref] <= harness.clock.now
    harness.reconcile(ref)
    assert harness.condition(ref) == "True InForce"


# Logins


def test_a_login_follows_the_providers(harness: OperatorHarness) -> None:
    web = login_client(harness, idTokenSigningKey="default")
    harness.settle()
    harness.clock.advance(days=2)
    harness.settle()
    assert harness.condition(web, "LoginAllowed") == "False NoIdentityProvider"
    one = harness.apply_provider("one")
    harness.settle()
    assert harness.condition(web, "LoginAllowed") == "True Allowed"
    harness.apply_provider("two")
    harness.settle()
    assert harness.condition(web, "LoginAllowed") == "False IdentityProviderRequired"
    login_client(harness, idTokenSigningKey="default", identityProviders=["one"])
    harness.settle()
    assert harness.condition(web, "LoginAllowed") == "True Allowed"
    assert web in harness.cache.relations.of_managed(harness.provider_secret("one")), "its end reconciles the client"
    harness.delete(one)
    harness.settle()
    assert harness.condition(web, "LoginAllowed") == "False IdentityProviderNotFound"


@pytest.mark.parametrize("named", [{}, {"identityProviders": ["company"]}])
def test_the_developer_login_stands_in_until_a_provider_is_declared_in_force_or_not(
    harness: OperatorHarness, named: dict[str, Any]
) -> None:
    web = login_client(harness, idTokenSigningKey="default", **named)
    harness.settle()
    harness.clock.advance(days=2)
    dependencies = Dependencies(
        lambda: harness.clock.now, harness.generate_secret, harness.generate_key, developer_login=True
    )
    harness.reconciler = Reconciler(
        harness.store, harness.cache, harness.config, dependencies, harness, enqueue=lambda key: None
    )
    harness.reconciler.set_seal_key(harness.seal_key)
    harness.settle()
    assert harness.condition(web, "LoginAllowed") == "True Allowed"
    refused = harness.apply_provider(oidc=SECRET)
    harness.settle()
    assert harness.condition(refused) == "False SecretNotFound"
    assert harness.condition(web, "LoginAllowed") == "False NoIdentityProvider"
    harness.delete(refused)
    harness.settle()
    assert harness.condition(web, "LoginAllowed") == "True Allowed"
