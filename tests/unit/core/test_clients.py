"""Plans for clients beyond the golden cases: states in which a wrong plan would lock a client out, or let one in."""

from datetime import timedelta

import pytest

from scopewright.api.rotation import Rotation
from scopewright.core.client.credentials import SECRET_TYPE, SecretOwnership, add_credential
from scopewright.core.client.overlap import apply_overlap
from scopewright.core.client.plan import plan_client
from scopewright.core.client.seal import seal
from scopewright.core.client.status import client_status
from scopewright.core.client.view import ClientState
from scopewright.core.failures import Unavailable
from scopewright.core.objects import CLIENT_LABEL, Deletion, Desired, digest
from scopewright.core.plan import Plan, ready
from scopewright.core.records.client import ClientRecord
from scopewright.core.records.codec import decode
from scopewright.core.records.names import ENTRY
from scopewright.core.records.resource_server import ResourceServerRecord
from tests.unit.core.builders import (
    CONFIG,
    NOW,
    SEAL_KEY,
    at,
    client,
    client_record,
    client_view,
    credential,
    existing,
)


def secret(value: str, **more: object) -> dict[str, bytes]:
    return {"client_id": b"leave.worker", "client_secret": value.encode()}


def written_record(plan: Plan) -> ClientRecord | None:
    for write in plan.writes:
        if isinstance(write, Desired) and write.ref.name == "client.leave.worker":
            data = write.entries[ENTRY]
            assert isinstance(data, bytes)
            return decode(ClientRecord, data)
    return None


def sealed(entries: dict[str, bytes], issued: str = "2026-11-20T12:00:00Z", **more: object) -> dict[str, object]:
    digests = {k: digest(v) for k, v in entries.items()}
    return {
        "scopewright.dev/issue-time": issued,
        "scopewright.dev/seal": seal(SEAL_KEY, CONFIG.issuer, "leave.worker", issued, digests),
    }


def test_the_digest_of_a_predecessor_is_removed_although_its_secret_is_in_conflict() -> None:
    """Invariant 11: the former credential must not work for the new client while its Secret still exists."""
    old = existing("Secret", "leave", "worker-oauth", secret("one"), type=SECRET_TYPE, owner_uids=("uid-1",))
    record = client_record(credential("one", at("10:00")), uid="uid-1")
    plan = plan_client(client_view(client(uid="uid-2"), record, old))
    written = written_record(plan)
    assert written is not None, "the record still accepts the predecessor's secret"
    assert (written.uid, written.credentials) == ("uid-2", ())
    assert len(plan.writes) == 1


def test_a_revoked_before_in_the_future_does_not_issue_credentials_repeatedly() -> None:
    """A typo in the year must not replace the credential at each reconciliation."""
    entries = secret("one")
    held = existing(
        "Secret", "leave", "worker-oauth", entries, type=SECRET_TYPE, owner_uids=("uid-1",), annotations=sealed(entries)
    )
    record = client_record(credential("one", NOW - timedelta(seconds=1)))
    plan = plan_client(client_view(client(rotation={"revokedBefore": "2027-11-22T12:00:00Z"}), record, held))
    issued = [w for w in plan.writes if isinstance(w, Desired) and b"fresh" in w.entries.values()]
    assert not issued


def test_a_public_entry_is_never_adopted_as_a_credential() -> None:
    """The record was deleted and entries were renamed: the issuer URL must not become a client secret."""
    entries = {"client_id": b"leave.worker", "client_secret": b"one", "issuer": b"https://issuer.example.org"}
    held = existing(
        "Secret", "leave", "worker-oauth", entries, type=SECRET_TYPE, owner_uids=("uid-1",), annotations=sealed(entries)
    )
    renamed = client(credentials={"keys": {"clientSecret": "issuer", "issuer": "iss"}})
    written = written_record(plan_client(client_view(renamed, None, held)))
    accepted = {c.sha256 for c in written.credentials} if written else set()
    assert digest("https://issuer.example.org") not in accepted


@pytest.mark.parametrize("kind", ["Secret", "ConfigMap"])
def test_a_former_secret_of_others_is_not_deleted(kind: str) -> None:
    """Any user can write an owner reference and a label: without type and seal nothing is deleted."""
    entries = secret("two")
    held = existing(
        "Secret", "leave", "worker-oauth", entries,
        type=SECRET_TYPE, owner_uids=("uid-1",), annotations=sealed(entries),
        labels={"app.kubernetes.io/managed-by": "scopewright", CLIENT_LABEL: "worker"},
    )  # fmt: skip
    foreign = existing(kind, "leave", "settings", {"a": b"b"}, type="Opaque", owner_uids=("uid-1",))
    record = client_record(credential("two", at("10:00")))
    plan = plan_client(client_view(client(), record, held, former_secrets=(foreign,)))
    assert not [w for w in plan.writes if isinstance(w, Deletion)]


def test_an_old_heal_does_not_make_a_client_due() -> None:
    foreign = existing("Secret", "leave", "worker-oauth", secret("x"), type="Opaque")
    record = client_record(credential("one", at("10:00")), heals=(NOW - timedelta(days=2),))
    plan = plan_client(client_view(client(), record, foreign))
    assert plan.due is None or plan.due > NOW


def test_a_credential_of_the_former_method_is_adopted_and_replaced() -> None:
    """An old Secret was restored with a new manifest: the mounted secret is accepted beside the new key pair."""
    entries = secret("one")
    held = existing(
        "Secret", "leave", "worker-oauth", entries, type=SECRET_TYPE, owner_uids=("uid-1",), annotations=sealed(entries)
    )
    pair = client(authentication={"method": "PrivateKeyJWT"})
    adopted = written_record(plan_client(client_view(pair, None, held)))
    assert adopted is not None
    assert [(c.sha256, c.jwk) for c in adopted.credentials] == [(digest("one"), None)]
    changed = written_record(plan_client(client_view(pair, adopted, held)))
    assert changed is not None
    assert [c.jwk for c in changed.credentials] == [None, {"kid": "fresh"}]


def test_a_public_key_is_adopted_only_under_the_seal() -> None:
    """A user who may edit Secrets could replace the public key in the annotation: the seal covers it too."""
    entries = {"client_id": b"leave.worker", "private_key.jwk": b"one"}
    annotations = {**sealed(entries), "scopewright.dev/public-key": '{"kid":"planted"}'}
    held = existing(
        "Secret", "leave", "worker-oauth", entries, type=SECRET_TYPE, owner_uids=("uid-1",), annotations=annotations
    )
    plan = plan_client(client_view(client(authentication={"method": "PrivateKeyJWT"}), None, held))
    assert written_record(plan) is None
    assert plan.status is not None
    assert plan.status["conditions"][0]["reason"] == "SecretConflict"


def test_revoked_before_ends_credentials_of_a_former_method_at_once() -> None:
    account = {"method": "ServiceAccount", "serviceAccount": {"name": "worker"}}
    changed = client(authentication=account, rotation={"revokedBefore": "2026-11-22T11:00:00Z"})
    record = client_record(credential("one", at("10:00")), method="ServiceAccount")
    written = written_record(plan_client(client_view(changed, record, None, service_account_uid="uid-of-it")))
    assert written is not None
    assert written.credentials == ()


def test_a_renamed_secret_keeps_its_credential_while_no_successor_can_be_written() -> None:
    """Method and secretName changed at once, and the ServiceAccount does not exist: Pods mount the former Secret."""
    account = {"method": "ServiceAccount", "serviceAccount": {"name": "worker"}}
    changed = client(authentication=account, credentials={"secretName": "elsewhere"})
    record = client_record(credential("one", at("10:00")))
    written = written_record(plan_client(client_view(changed, record, None, service_account_uid="")))
    assert written is not None
    assert [c.expiration_time for c in written.credentials] == [None]


def test_the_oldest_digest_without_an_end_is_kept_as_the_mounted_credential() -> None:
    """The Secret was deleted and three writes failed: of the four digests, the first is in use."""
    digests = [credential(s, NOW - timedelta(hours=5 - n)) for n, s in enumerate("abcd")]
    kept = add_credential(tuple(digests), credential("e", NOW), None, NOW)
    assert digests[0] in kept
    assert len(kept) == 4


def test_the_mounted_credential_is_kept_when_writes_fail_within_seconds() -> None:
    """The writes of the others may still arrive, so a new credential waits."""
    digests = (credential("a", NOW - timedelta(hours=5)), *(credential(s, NOW) for s in "bcd"))
    with pytest.raises(Unavailable):
        add_credential(digests, credential("e", NOW), None, NOW)


def test_a_digest_whose_write_may_still_arrive_is_not_dropped() -> None:
    digests = tuple(credential(s, NOW - timedelta(seconds=50 - n)) for n, s in enumerate("abcd"))
    with pytest.raises(Unavailable):
        add_credential(digests, credential("e", NOW), digests[0], NOW)


def test_the_overlap_starts_when_the_operator_sees_the_new_secret() -> None:
    old, new = credential("a", at("10:00")), credential("b", at("11:00"))
    first, second = apply_overlap((old, new), new, None, Rotation(overlap=timedelta(hours=1)), {}, NOW)
    assert first.expiration_time == NOW + timedelta(hours=1)
    assert second == new


def test_the_end_of_a_credential_never_moves() -> None:
    old, new = credential("a", at("10:00"), at("13:00")), credential("b", at("11:00"))
    assert apply_overlap((old, new), new, None, Rotation(overlap=timedelta(hours=9)), {}, NOW) == (old, new)


def test_status_texts_read_the_same_across_namespaces() -> None:
    """A status must not show which APIs, scopes and grants exist in another namespace."""
    asks = client(access=[{"resourceServer": "api", "namespace": "payroll", "scopes": ["read"]}])
    statuses = []
    for servers in (
        {},
        {"payroll/api": ResourceServerRecord("payroll", "api", "uid", "https://x")},
        {"payroll/api": ResourceServerRecord("payroll", "api", "uid", "https://x", scopes=("read",))},
        {"payroll/api": ResourceServerRecord("payroll", "api", "uid", "", scopes=("read",))},
    ):
        view = client_view(asks, client_record(), None, servers=servers)
        statuses.append(
            client_status(view, ClientState(None, SecretOwnership.ABSENT, None), ready("Provisioned", "")).status
        )
    assert all(status == statuses[0] for status in statuses)
