"""The Secret that a client mounts: its desired state, and the inspection of an existing one."""

import json
from dataclasses import replace
from datetime import datetime

from scopewright.core.access import default_audience, requested_access
from scopewright.core.client.authentication import kind_of
from scopewright.core.client.credentials import (
    SECRET_TYPE,
    SecretOwnership,
    current_credential,
    latest,
    rotate_request,
    secret_ownership,
)
from scopewright.core.client.seal import seal
from scopewright.core.client.template import with_template
from scopewright.core.client.view import ClientState, ClientView, is_bound, own_record
from scopewright.core.client.windows import first_opening
from scopewright.core.failures import Rejected
from scopewright.core.objects import (
    CLIENT_LABEL,
    DELETION_POLICY_ANNOTATION,
    ISSUE_TIME_ANNOTATION,
    MANAGED_BY,
    MANAGER,
    PUBLIC_KEY_ANNOTATION,
    RETAIN,
    ROTATE_DIGEST_ANNOTATION,
    SEAL_ANNOTATION,
    Deletion,
    Desired,
    Existing,
    Owner,
    PreservedEntry,
    Write,
    digest,
)
from scopewright.core.records.client import ClientRecord, Credential
from scopewright.core.records.fields import rfc3339
from scopewright.core.records.names import INSTALLATION_SECRETS, SECRET_PREFIXES


def inspect_secret(view: ClientView) -> ClientState:
    """Return the client's record, the ownership of its Secret, and its current credential."""
    record = own_record(view)
    ownership = _ownership(view, view.secret, record)
    state = ClientState(record, ownership, None)
    return replace(state, current=current_credential(record, view.secret)) if state.secret_is_managed else state


def refuse_conflict(view: ClientView, state: ClientState) -> None:
    """Raise `Rejected` if the Secret's name is taken by another owner's Secret, or reserved for records."""
    if _is_reserved(view):
        name = view.client.secret_name
        message = f"Secret name {name} is reserved by Scopewright: choose another spec.credentials.secretName"
        raise Rejected("SecretConflict", message)
    if state.ownership is SecretOwnership.FOREIGN and view.secret:
        raise Rejected("SecretConflict", _conflict(view, view.secret))


def _conflict(view: ClientView, secret: Existing) -> str:
    """Say what to do. Do not suggest to delete a Secret that another client's Pods may mount."""
    name, choose = view.client.secret_name, "choose another spec.credentials.secretName"
    names_client = digest(view.client.client_id) in secret.entries.values()
    if secret.type == SECRET_TYPE and (secret.owner_uids or not names_client):
        return f"Secret {name} belongs to another client{_named(view, secret)}: {choose}"
    return f"Secret {name} is not managed by Scopewright: {choose}, or delete the Secret if nothing uses it"


def _named(view: ClientView, secret: Existing) -> str:
    label = secret.labels.get(CLIENT_LABEL)
    return f", {label}" if label and label != view.client.name else ""


def secrets_to_release(view: ClientView, state: ClientState) -> tuple[Write, ...]:
    """Return deletions of former Secrets of this client that another client names. Their credentials are
    accepted through the overlap all the same.

    They are deleted once this client's new Secret is in place, because its Pods use the former one until then. Only
    those in a cycle, such as of two clients that swap their secretName, are deleted earlier: they would wait for each
    other.
    """
    if state.record is None:
        return ()
    free = view.named_by_others if is_bound(view, state) else view.named_by_others & view.in_cycle
    return tuple(
        Deletion(s)
        for s in view.former_secrets
        if s.ref in free and _ownership(view, s, state.record) in (SecretOwnership.SEALED, SecretOwnership.EDITED)
    )


def unneeded_secrets(view: ClientView) -> tuple[Write, ...]:
    """Return deletions of every Secret of a client that became public: those with a seal that verifies, and edited ones
    that only this client owns. An edited one cannot be recognised by the record, which has no credential any more.
    """
    secrets = (*((view.secret,) if view.secret else ()), *view.former_secrets)
    return tuple(Deletion(s) for s in secrets if _is_of_this_client(view, s))


def _is_of_this_client(view: ClientView, secret: Existing) -> bool:
    if _ownership(view, secret, None) is SecretOwnership.SEALED:
        return True
    return secret.type == SECRET_TYPE and set(secret.owner_uids) == {view.client.uid} and not secret.is_retained


def _is_reserved(view: ClientView) -> bool:
    """Whether the name is reserved: in the issuer's namespace, the Secret would block a record of that name."""
    name = view.client.secret_name
    prefixed = name.startswith(SECRET_PREFIXES) or name in INSTALLATION_SECRETS
    return prefixed and view.client.namespace == view.config.namespace


def secret_write(view: ClientView, credential: Credential | None, value: bytes | PreservedEntry = b"") -> Desired:
    """Return the Secret with `value` as its credential, or with none for a client with its own credential."""
    client = view.client
    template = client.spec.credentials.secret_template
    annotations = _credential_annotations(credential)
    retained = client.spec.credentials.deletion_policy == RETAIN
    retain = _retain_annotations(credential) if retained else {}
    desired = Desired(
        ref=view.secret_ref,
        type=SECRET_TYPE,
        entries=_entries(view, credential, value),
        labels={**template.labels, MANAGED_BY: MANAGER, CLIENT_LABEL: client.name},
        annotations=dict(template.annotations),
        owner=None if retained else Owner("OAuthClient", client.name, client.uid),
        without_owner=client.uid if retained else "",
        without_annotations=frozenset({DELETION_POLICY_ANNOTATION, ROTATE_DIGEST_ANNOTATION} - retain.keys()),
        replaces=view.secret,
    )
    sealed = seal(
        view.seal_key, view.config.issuer, client.client_id, annotations[ISSUE_TIME_ANNOTATION], desired.digests(),
        annotations[PUBLIC_KEY_ANNOTATION], retained=retained, rotate=retain.get(ROTATE_DIGEST_ANNOTATION, ""),
    )  # fmt: skip
    # A write merges annotations: those of an earlier credential have to be emptied.
    existing = view.secret.annotations if view.secret else {}
    annotations = {name: text for name, text in annotations.items() if text or name in existing}
    return with_template(
        replace(desired, annotations={**desired.annotations, **annotations, **retain, SEAL_ANNOTATION: sealed}),
        template,
    )


def _retain_annotations(credential: Credential | None) -> dict[str, str]:
    """Return the additional annotations of a Secret that outlives its client, since the record does not."""
    rotate = digest(credential.rotate) if credential and credential.rotate else ""
    return {DELETION_POLICY_ANNOTATION: RETAIN} | ({ROTATE_DIGEST_ANNOTATION: rotate} if rotate else {})


def _credential_annotations(credential: Credential | None) -> dict[str, str]:
    """Return the annotations for the credential, with which it can be accepted again after a restore."""
    jwk = credential.jwk if credential else None
    return {
        ISSUE_TIME_ANNOTATION: rfc3339(credential.issue_time) if credential else "",
        PUBLIC_KEY_ANNOTATION: json.dumps(jwk, sort_keys=True, separators=(",", ":")) if jwk else "",
    }


def _entries(
    view: ClientView, credential: Credential | None, value: bytes | PreservedEntry
) -> dict[str, bytes | PreservedEntry]:
    """Return all that a service needs to start. Grants never change it, so that no Pod restarts because of one."""
    names, issuer = view.client.spec.credentials.keys, view.config.issuer
    entries: dict[str, bytes | PreservedEntry] = {
        "type": b"oauth2",
        "provider": b"scopewright",
        names.client_id: view.client.client_id.encode(),
    }
    if credential:
        entries[names.private_key if kind_of(credential) == "key pair" else names.client_secret] = value
    entries |= {
        names.issuer: issuer.encode(),
        names.token_endpoint: f"{issuer}/token".encode(),
        names.jwks_uri: f"{issuer}/jwks.json".encode(),
    }
    if len(requested := requested_access(view.client)) == 1:
        namespace, name = requested[0].resource_server.split("/")
        entries[names.scope] = " ".join(requested[0].scopes).encode()
        entries[names.audience] = default_audience(namespace, name).encode()
    return entries


def secret_upkeep(view: ClientView, current: Credential | None) -> tuple[Write, ...]:
    """Return the write that restores the Secret with its current credential, or with none, if anything differs."""
    desired = _desired(view, current)
    return () if desired.changes_nothing else (desired,)


def holds_all(view: ClientView, current: Credential | None) -> bool:
    """Whether the Secret has every desired entry, and perhaps more."""
    if view.secret is None:
        return False
    return _desired(view, current).digests().items() <= view.secret.entries.items()


def _desired(view: ClientView, current: Credential | None) -> Desired:
    return _with_held_credential(view, current) if current else secret_write(view, None)


def _with_held_credential(view: ClientView, credential: Credential) -> Desired:
    entries = view.secret.entries if view.secret else {}
    where = next(name for name, sha256 in entries.items() if sha256 == credential.sha256)
    return secret_write(view, credential, PreservedEntry(where, credential.sha256))


def former_secrets(view: ClientView, record: ClientRecord) -> tuple[Write, ...]:
    """Return the writes for Secrets under an earlier `secretName`. They are deleted once none of their credentials is
    accepted, and sealed again after a change of the seal key. An edited one stays as it is.
    """
    accepted = {c.sha256 for c in record.credentials if c.accepted_at(view.now)}
    writes: list[Write] = []
    for secret in view.former_secrets:
        ownership, digests = _ownership(view, secret, record), set(secret.entries.values())
        if ownership is SecretOwnership.SEALED and not accepted & digests:
            writes.append(Deletion(secret))
        elif ownership is SecretOwnership.EDITED and (
            known := next((c for c in record.credentials if c.sha256 in digests), None)
        ):
            desired = replace(_with_held_credential(replace(view, secret=secret), known), ref=secret.ref)
            # Only exactly what Scopewright would write is sealed: an editor may have added a secret of their own.
            writes += [desired] if desired.digests() == dict(secret.entries) else []
    return tuple(writes)


def adoptable_credential(view: ClientView) -> Credential | None:
    """Return the credential of a restored Secret, unless it was revoked since. A public entry is never a credential.

    The seal must verify first: it covers the annotations too.
    """
    if view.secret is None:
        return None
    credentials = view.client.spec.credentials
    if view.secret.is_retained and credentials.deletion_policy != RETAIN:
        return None
    names, entries = credentials.keys, view.secret.entries
    if key := view.secret.annotations.get(PUBLIC_KEY_ANNOTATION):
        sha256, jwk = entries.get(names.private_key) or entries.get("private_key.jwk"), json.loads(key)
    else:
        sha256, jwk = entries.get(names.client_secret) or entries.get("client_secret"), None
    issued = annotated_issue_time(view.secret)
    # Even if it is in the future by this clock: an operator with another clock may have revoked older credentials.
    before = latest(view.client.spec.rotation.revoked_before, view.record.revoked_before if view.record else None)
    public = {digest(value) for value in _entries(view, None, b"").values() if isinstance(value, bytes)}
    if sha256 is None or sha256 in public or issued is None or (before and issued < before):
        return None
    if view.secret.is_retained and own_record(view) is None and (_was_due(view, issued) or _rotation_requested(view)):
        return None
    return Credential(sha256, issued, rotate=rotate_request(view.client), jwk=jwk)


def _was_due(view: ClientView, issued: datetime) -> bool:
    """Whether a credential of that time would have been replaced by now, and is older than the policy allows."""
    rotation = view.client.spec.rotation
    return not rotation.suspend and first_opening(rotation.windows, issued + rotation.every) <= view.now


def _rotation_requested(view: ClientView) -> bool:
    """Whether `scopewright.dev/rotate` requests a successor of the retained credential, which may have leaked."""
    requested = rotate_request(view.client)
    done = view.secret.annotations.get(ROTATE_DIGEST_ANNOTATION, "") if view.secret else ""
    return bool(requested) and digest(requested) != done


def _ownership(view: ClientView, secret: Existing | None, record: ClientRecord | None) -> SecretOwnership:
    return secret_ownership(secret, view.client, record, view.seal_key, view.config.issuer)


def annotated_issue_time(secret: Existing) -> datetime | None:
    """Return the issue time in the Secret's annotations, which its seal covers; None if it is malformed."""
    try:
        instant = datetime.fromisoformat(secret.annotations.get(ISSUE_TIME_ANNOTATION, ""))
    except ValueError:
        return None
    return instant if instant.tzinfo else None
