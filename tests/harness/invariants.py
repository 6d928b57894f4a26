"""The invariants of docs/architecture.md that one instant of an `OperatorHarness` can show.

`OperatorHarness` checks those of `AFTER_EACH_WRITE` after each write of the operator, and `credentials_last` when the
operator has settled. Each function raises AssertionError where its invariant is broken.
"""

import json
from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

from scopewright.core.client.credentials import SECRET_TYPE
from scopewright.core.http_in_force import locations
from scopewright.core.objects import ISSUE_TIME_ANNOTATION, Ref, digest
from scopewright.core.records.codec import decode
from scopewright.core.records.names import (
    CLIENT_TYPE,
    ENTRY,
    PRIVATE_KEY_ENTRY,
    SIGNING_KEY_TYPE,
    client_record_name,
    hostname_claim_name,
)
from scopewright.core.records.signing_key import KeyRecord
from scopewright.core.signing.jwks import JWKS_ENTRY

if TYPE_CHECKING:
    from tests.harness.operator import OperatorHarness

MAX_GENERATED = 40
"""No test generates more client secrets than this. All begin with `secret`, and a number follows."""


def secrets_are_accepted(harness: "OperatorHarness") -> None:
    """Invariant 1. The record accepts the credential in each Secret of a client, unless `revokedBefore` ended it.

    A change to method None ends it at once, before the Secret is deleted. A Secret that its client no longer names, or
    whose record the test itself deleted, is not checked.
    """
    for stored in harness.store.objects.values():
        at = stored.existing.ref
        if stored.existing.type != SECRET_TYPE or not (value := generated_credential(stored.entries)):
            continue
        raw = next((r for r in harness.store.declared.values() if stored.existing.owner_uids == (_uid(r),)), None)
        if raw is None or at.name != secret_name(raw) or _is_public(raw):
            continue
        namespace, name = raw["metadata"]["namespace"], raw["metadata"]["name"]
        if (
            Ref("Secret", harness.config.namespace, client_record_name(namespace, name))
            in harness.store.deleted_by_hand
        ):
            continue
        record = harness.client_record(namespace, name)
        accepted = {c.sha256 for c in record.credentials if c.accepted_at(harness.clock.now)} if record else set()
        if digest(value) in accepted:
            continue
        revoked_before = raw["spec"].get("rotation", {}).get("revokedBefore", "")
        issued = stored.existing.annotations[ISSUE_TIME_ANNOTATION]
        revoked = revoked_before and datetime.fromisoformat(issued) < datetime.fromisoformat(revoked_before)
        assert revoked, f"the credential in {at} is in no record"


def signing_keys_are_published(harness: "OperatorHarness") -> None:
    """Invariant 2. Each key that signs now is in a JWKS, and no revoked key has its private part."""
    published = {
        key["kid"]
        for stored in harness.store.objects.values()
        if JWKS_ENTRY in stored.entries
        for key in json.loads(stored.entries[JWKS_ENTRY])["keys"]
    }
    for record in harness.key_records():
        if record.signs_at(harness.clock.now):
            assert record.kid in published, "a key signs and is not in the JWKS"
    for stored in harness.store.objects.values():
        if stored.existing.type == SIGNING_KEY_TYPE and decode(KeyRecord, stored.entries[ENTRY]).revoked_time:
            assert PRIVATE_KEY_ENTRY not in stored.entries, "a revoked key has its private part"


def nothing_secret_is_published(harness: "OperatorHarness") -> None:
    """Invariant 9. No status, event, ConfigMap or client record contains a client secret or a private key."""
    texts = [json.dumps(raw.get("status", {})) for raw in harness.store.declared.values()]
    texts += [f"{event.reason} {event.message}" for event in harness.events]
    for stored in harness.store.objects.values():
        if stored.existing.ref.kind == "ConfigMap" or stored.existing.type == CLIENT_TYPE:
            texts += [value.decode() for value in stored.entries.values()]
    text = "\n".join(texts)
    assert "PRIVATE KEY" not in text
    assert '"d":' not in text
    assert not any(f"secret{n}" in text for n in range(1, MAX_GENERATED))


def hostnames_in_force_are_claimed(harness: "OperatorHarness") -> None:
    """Each hostname of a record has a claim, unless the test deleted it by hand: the write of the claim comes first."""
    for raw in harness.store.declared.values():
        if raw["kind"] != "ResourceServer":
            continue
        record = harness.server_record(raw["metadata"]["namespace"], raw["metadata"]["name"])
        for location in locations(record.http) if record and record.http else ():
            ref = Ref("ConfigMap", harness.config.namespace, hostname_claim_name(*location))
            if ref in harness.store.deleted_by_hand:
                continue
            assert ref in harness.store.objects, f"{location} is in force without a claim"


AFTER_EACH_WRITE = (
    secrets_are_accepted,
    signing_keys_are_published,
    nothing_secret_is_published,
    hostnames_in_force_are_claimed,
)


def credentials_last(harness: "OperatorHarness") -> None:
    """Invariant 1, for a settled operator. The credential in the Secret of each Ready client has no end.

    A client with its own keys or a ServiceAccount has no such credential, and no record has more than four. A public
    client has neither a credential nor a Secret.
    """
    for ref, raw in harness.store.declared.items():
        if ref.kind != "OAuthClient" or not harness.condition(ref).startswith("True"):
            continue
        record = harness.client_record(ref.namespace, ref.name)
        assert record is not None
        lasting = {c.sha256 for c in record.credentials if c.expiration_time is None}
        if _is_public(raw):
            assert record.public
            assert not record.credentials
            secret = harness.store.objects.get(Ref("Secret", ref.namespace, secret_name(raw)))
            assert secret is None or secret.existing.owner_uids != (_uid(raw),)
            continue
        assert not record.public
        entries = harness.store.objects[Ref("Secret", ref.namespace, secret_name(raw))].entries
        if record.service_account or record.public_keys:
            assert not lasting, "a credential without an end is in the record, and in no Secret"
            assert "client_secret" not in entries
            assert "private_key.jwk" not in entries
        else:
            assert digest(generated_credential(entries)) in lasting
        assert len(record.credentials) <= 4


def generated_credential(entries: Mapping[str, bytes]) -> bytes:
    """The credential in these entries of a Secret; empty where the operator did not generate it."""
    secret, private_jwk = entries.get("client_secret", b""), entries.get("private_key.jwk", b"")
    return secret if secret.startswith(b"secret") else private_jwk if b'"d":' in private_jwk else b""


def secret_name(client: Mapping[str, Any]) -> str:
    """The name of the Secret that this OAuthClient's manifest asks for."""
    wanted = client["spec"].get("credentials", {}).get("secretName")
    return str(wanted or f"{client['metadata']['name']}-oauth")


def _is_public(client: Mapping[str, Any]) -> bool:
    return bool(client["spec"].get("authentication", {}).get("method") == "None")


def _uid(raw: Mapping[str, Any]) -> str:
    return str(raw["metadata"]["uid"])
