"""The Secret that a client mounts: what it should hold, and what one that is there says of itself."""

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
    rotate_value,
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
    in_place,
)
from scopewright.core.records import (
    CLIENT_PREFIX,
    KEY_PREFIX,
    NONCE_KEY_NAME,
    SEAL_KEY_NAME,
    ClientRecord,
    Credential,
    rfc3339,
)


def inspect_secret(view: ClientView) -> ClientState:
    record = own_record(view)
    stands = _standing(view, view.secret, record)
    ours = stands in (SecretOwnership.SEALED, SecretOwnership.EDITED)
    return ClientState(record, stands, current_credential(record, view.secret) if ours else None)


def refuse_conflict(view: ClientView, found: ClientState) -> None:
    """`Rejected` where the Secret's name is taken: by somebody else's Secret, or by a record's name."""
    if _is_reserved(view):
        message = f"Secret {view.client.secret_name} is ours by name: choose another spec.credentials.secretName"
        raise Rejected("SecretConflict", message)
    if found.standing is SecretOwnership.FOREIGN and view.secret:
        raise Rejected("SecretConflict", _conflict(view, view.secret))


def _conflict(view: ClientView, secret: Existing) -> str:
    """What to do. Deleting it is no advice where it may be what another client's Pods start with."""
    name, choose = view.client.secret_name, "choose another spec.credentials.secretName"
    names_us = digest(view.client.client_id) in secret.entries.values()
    if secret.type == SECRET_TYPE and (secret.owner_uids or not names_us):
        return f"Secret {name} belongs to another client{_named(view, secret)}: {choose}"
    return f"Secret {name} is not managed by Scopewright: {choose}, or delete the Secret if nothing uses it"


def _named(view: ClientView, secret: Existing) -> str:
    label = secret.labels.get(CLIENT_LABEL)
    return f", {label}" if label and label != view.client.name else ""


def claimed_secrets(view: ClientView, found: ClientState) -> tuple[Write, ...]:
    """Deletions of Secrets that this client no longer names and another one does. Their credentials are accepted
    through the overlap all the same. They go once this client's new Secret is in place: its Pods start with the earlier
    one until then. Before that go only those in a ring, such as of two clients that swap their secretName: they would
    wait for each other.
    """
    if found.record is None:
        return ()
    free = view.claimed if is_bound(view, found) else view.claimed & view.awaited
    return tuple(
        Deletion(s)
        for s in view.former_secrets
        if s.ref in free and _standing(view, s, found.record) in (SecretOwnership.SEALED, SecretOwnership.EDITED)
    )


def _is_reserved(view: ClientView) -> bool:
    """In the issuer's own namespace, a Secret of a record's name would stand in the way of that record."""
    name = view.client.secret_name
    prefixed = name.startswith((CLIENT_PREFIX, KEY_PREFIX)) or name in (SEAL_KEY_NAME, NONCE_KEY_NAME)
    return prefixed and view.client.namespace == view.config.namespace


def secret_write(view: ClientView, credential: Credential | None, value: bytes | PreservedEntry = b"") -> Desired:
    """The Secret with `value` as its credential, or with none, for a client that brings its own proof."""
    client = view.client
    template = client.spec.credentials.secret_template
    stated = _stated(credential)
    retained = client.spec.credentials.deletion_policy == RETAIN
    kept = _kept(credential) if retained else {}
    desired = Desired(
        ref=view.secret_ref,
        type=SECRET_TYPE,
        entries=_entries(view, credential, value),
        labels={**template.labels, MANAGED_BY: MANAGER, CLIENT_LABEL: client.name},
        annotations=dict(template.annotations),
        owner=None if retained else Owner("OAuthClient", client.name, client.uid),
        without_owner=client.uid if retained else "",
        without_annotations=frozenset({DELETION_POLICY_ANNOTATION, ROTATE_DIGEST_ANNOTATION} - kept.keys()),
        replaces=view.secret,
    )
    sealed = seal(
        view.seal_key, view.config.issuer, client.client_id, stated[ISSUE_TIME_ANNOTATION], desired.digests(),
        stated[PUBLIC_KEY_ANNOTATION], retained=retained, rotate=kept.get(ROTATE_DIGEST_ANNOTATION, ""),
    )  # fmt: skip
    # A write adds to the annotations that are there: what an earlier credential left has to be emptied.
    there = view.secret.annotations if view.secret else {}
    said = {name: text for name, text in stated.items() if text or name in there}
    return with_template(
        replace(desired, annotations={**desired.annotations, **said, **kept, SEAL_ANNOTATION: sealed}),
        template,
    )


def _kept(credential: Credential | None) -> dict[str, str]:
    """What the annotations of a Secret say in addition that outlives its client: the record does not."""
    rotate = digest(credential.rotate) if credential and credential.rotate else ""
    return {DELETION_POLICY_ANNOTATION: RETAIN} | ({ROTATE_DIGEST_ANNOTATION: rotate} if rotate else {})


def _stated(credential: Credential | None) -> dict[str, str]:
    """What the Secret's annotations say of the credential, so that it can be accepted again after a restore."""
    jwk = credential.jwk if credential else None
    return {
        ISSUE_TIME_ANNOTATION: rfc3339(credential.issue_time) if credential else "",
        PUBLIC_KEY_ANNOTATION: json.dumps(jwk, sort_keys=True, separators=(",", ":")) if jwk else "",
    }


def _entries(
    view: ClientView, credential: Credential | None, value: bytes | PreservedEntry
) -> dict[str, bytes | PreservedEntry]:
    """What a service needs to start with nothing else. Grants never change it: no Pod restarts because of one."""
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
    if len(asked := requested_access(view.client)) == 1:
        namespace, name = asked[0].resource_server.split("/")
        entries[names.scope] = " ".join(asked[0].scopes).encode()
        entries[names.audience] = default_audience(namespace, name).encode()
    return entries


def secret_upkeep(view: ClientView, current: Credential | None) -> tuple[Write, ...]:
    """The Secret once more with the credential it has, or with none, if anything of it is not as it should be."""
    desired = _as_it_should_be(view, current)
    return () if in_place(desired) else (desired,)


def holds_all(view: ClientView, current: Credential | None) -> bool:
    """Whether the Secret has every entry as it is to be, whatever else is in it."""
    if view.secret is None:
        return False
    return _as_it_should_be(view, current).digests().items() <= view.secret.entries.items()


def _as_it_should_be(view: ClientView, current: Credential | None) -> Desired:
    return _with_what_it_holds(view, current) if current else secret_write(view, None)


def _with_what_it_holds(view: ClientView, credential: Credential) -> Desired:
    held = view.secret.entries if view.secret else {}
    where = next(name for name, sha256 in held.items() if sha256 == credential.sha256)
    return secret_write(view, credential, PreservedEntry(where, credential.sha256))


def former_secrets(view: ClientView, record: ClientRecord) -> tuple[Write, ...]:
    """Secrets under an earlier `secretName`: they go once nothing they hold is accepted any more, and until then follow
    the seal key. One that has been edited stays as it is.
    """
    accepted = {c.sha256 for c in record.credentials if c.accepted_at(view.now)}
    writes: list[Write] = []
    for secret in view.former_secrets:
        stands, held = _standing(view, secret, record), set(secret.entries.values())
        if stands is SecretOwnership.SEALED and not accepted & held:
            writes.append(Deletion(secret))
        elif stands is SecretOwnership.EDITED and (
            known := next((c for c in record.credentials if c.sha256 in held), None)
        ):
            desired = replace(_with_what_it_holds(replace(view, secret=secret), known), ref=secret.ref)
            # Nothing but what we would write is ever sealed: whoever may edit it could have put a secret in.
            writes += [desired] if desired.digests() == dict(secret.entries) else []
    return tuple(writes)


def adoptable_credential(view: ClientView) -> Credential | None:
    """The credential of a restored Secret, unless it was revoked meanwhile; never what stands there for all to know.

    Only of a Secret whose seal verifies: that vouches for the annotations too.
    """
    if view.secret is None:
        return None
    credentials = view.client.spec.credentials
    if view.secret.is_retained and credentials.deletion_policy != RETAIN:
        return None
    names, held, stated = credentials.keys, view.secret.entries, view.secret.annotations
    if key := stated.get(PUBLIC_KEY_ANNOTATION):
        sha256, jwk = held.get(names.private_key) or held.get("private_key.jwk"), json.loads(key)
    else:
        sha256, jwk = held.get(names.client_secret) or held.get("client_secret"), None
    issued = stated_issue_time(view.secret)
    # Whether it lies ahead or not by our clock: another's has perhaps revoked what is older.
    before = latest(view.client.spec.rotation.revoked_before, view.record.revoked_before if view.record else None)
    public = {digest(value) for value in _entries(view, None, b"").values() if isinstance(value, bytes)}
    if sha256 is None or sha256 in public or issued is None or (before and issued < before):
        return None
    if view.secret.is_retained and own_record(view) is None and (_was_due(view, issued) or _was_asked_for(view)):
        return None
    return Credential(sha256, issued, rotate=rotate_value(view.client), jwk=jwk)


def _was_due(view: ClientView, issued: datetime) -> bool:
    """Whether a credential of that time would have been replaced by now: it would get older than the policy allows."""
    rotation = view.client.spec.rotation
    return not rotation.suspend and first_opening(rotation.windows, issued + rotation.every) <= view.now


def _was_asked_for(view: ClientView) -> bool:
    """Whether `scopewright.dev/rotate` asks for a successor of the retained credential: its value may have leaked."""
    asked = rotate_value(view.client)
    done = view.secret.annotations.get(ROTATE_DIGEST_ANNOTATION, "") if view.secret else ""
    return bool(asked) and digest(asked) != done


def _standing(view: ClientView, secret: Existing | None, record: ClientRecord | None) -> SecretOwnership:
    return secret_ownership(secret, view.client, record, view.seal_key, view.config.issuer)


def stated_issue_time(secret: Existing) -> datetime | None:
    """When the credential was issued, by what the Secret says of it; its seal vouches for that."""
    try:
        instant = datetime.fromisoformat(secret.annotations.get(ISSUE_TIME_ANNOTATION, ""))
    except ValueError:
        return None
    return instant if instant.tzinfo else None
