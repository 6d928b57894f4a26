"""The plan for one OAuthClient: its record, its Secret, its status."""

from dataclasses import replace
from datetime import datetime
from typing import Final

from scopewright.core.access import asked_by, default_audience
from scopewright.core.client_status import ClientView, client_status, in_use, own_record, readiness
from scopewright.core.credentials import (
    SECRET_TYPE,
    Cause,
    Standing,
    cause_for_new,
    heals,
    landed,
    may_heal,
    revoked_before,
    rotate_value,
    standing,
    with_new,
)
from scopewright.core.failures import Rejected, Unavailable
from scopewright.core.objects import (
    CLIENT_LABEL,
    ISSUE_TIME_ANNOTATION,
    MANAGED_BY,
    MANAGER,
    PAUSED_ANNOTATION,
    SEAL_ANNOTATION,
    Deletion,
    Desired,
    Existing,
    Kept,
    Owner,
    Ref,
    Write,
    digest,
    in_place,
)
from scopewright.core.overlap import lasts_longer, overlapping
from scopewright.core.plan import NOTHING, Happening, Plan, stalled
from scopewright.core.records import (
    CLIENT_PREFIX,
    CLIENT_TYPE,
    ENTRY,
    KEY_PREFIX,
    SEAL_KEY_NAME,
    ClientRecord,
    Credential,
    client_record_name,
    encode,
    rfc3339,
)
from scopewright.core.seal import seal

SERVED_METHODS: Final = ("ClientSecret",)


def plan_client(view: ClientView) -> Plan:
    meta = view.client.metadata
    if meta.annotations.get(PAUSED_ANNOTATION) == "true" or meta.deletion_timestamp:
        return NOTHING
    record = own_record(view)
    found = _standing(view, view.secret, record)
    current = landed(record, view.secret) if found in (Standing.SEALED, Standing.EDITED) else None
    if view.trouble:
        return client_status(view, record, current, stalled(view.trouble))
    try:
        step = _step(view, record, current, found)
    except (Rejected, Unavailable) as why:
        held = _held_back(view, record, current)
        if held.writes:
            return held
        if isinstance(why, Unavailable):
            raise
        return client_status(view, record, current, stalled(why))
    if step.writes:
        return step
    return client_status(view, record, current, readiness(view.client, view.now))


def _step(view: ClientView, record: ClientRecord | None, current: Credential | None, found: Standing) -> Plan:
    """The next writes: none when everything is as it should be."""
    if view.client.spec.authentication.method not in SERVED_METHODS:
        raise Rejected("MethodNotServed", f"this release serves {', '.join(SERVED_METHODS)}: choose it")
    if _is_reserved(view):
        message = f"Secret {view.client.secret_name} is ours by name: choose another spec.credentials.secretName"
        raise Rejected("SecretConflict", message)
    if found is Standing.FOREIGN:
        raise Rejected(
            "SecretConflict",
            f"Secret {view.client.secret_name} is not this client's: delete it, or choose another "
            "spec.credentials.secretName",
        )
    if record is None and found is Standing.SEALED and (adopted := _adoptable(view)):
        return Plan((_record_write(view, _record(view, None, (adopted,))),), happenings=(_ADOPTED,))
    if record and current is None and found is Standing.SEALED and (credentials := _restored(view, record)):
        return Plan((_record_write(view, _record(view, record, credentials)),), happenings=(_RESTORED,))
    cause = cause_for_new(view.client, record, current, found, view.now)
    if cause:
        try:
            return _issue(view, record, current, cause)
        except Unavailable:
            if current is None:
                raise
    if current is None or record is None:
        raise AssertionError("without a cause there is a current credential")
    kept = _held_back(view, record, current)
    writes = (*kept.writes, *_secret_drift(view, current), *_former_secrets(view, record))
    return Plan(writes, happenings=kept.happenings)


def _is_reserved(view: ClientView) -> bool:
    """In the issuer's own namespace, a Secret of a record's name would stand in the way of that record."""
    name = view.client.secret_name
    prefixed = name.startswith((CLIENT_PREFIX, KEY_PREFIX)) or name == SEAL_KEY_NAME
    return prefixed and view.client.namespace == view.config.namespace


_ADOPTED: Final = Happening("CredentialAdopted", "the sealed Secret was there before the record: its credential stays")


_RESTORED: Final = Happening(
    "CredentialRestored", "the Secret was restored: what it holds is accepted again, and what followed it ends"
)


def _restored(view: ClientView, record: ClientRecord) -> tuple[Credential, ...]:
    """The record's credentials with the one of a Secret that was restored as the current one; empty if it may not be.

    What was replaced because `scopewright.dev/rotate` asked for it does not come back: it may have leaked.
    """
    held = _adoptable(view)
    if held is None:
        return ()
    latest = record.credentials[-1] if record.credentials else None
    known = next((c for c in record.credentials if c.sha256 == held.sha256), None)
    made_for = known.rotate if known else ""
    if latest and made_for != latest.rotate:
        return ()
    others = tuple(c for c in record.credentials if c.sha256 != held.sha256)
    return with_new(others, Credential(held.sha256, held.issue_time, rotate=made_for), None, view.now)


def _adoptable(view: ClientView) -> Credential | None:
    """The credential of a restored Secret, unless it was revoked meanwhile; never what stands there for all to know."""
    if view.secret is None:
        return None
    names = view.client.spec.credentials.keys
    sha256 = view.secret.entries.get(names.client_secret) or view.secret.entries.get("client_secret")
    issued = _instant(view.secret.annotations.get(ISSUE_TIME_ANNOTATION, ""))
    before = view.client.spec.rotation.revoked_before  # whatever our clock says: another's has perhaps revoked it
    public = {digest(value) for value in _entries(view, b"").values() if isinstance(value, bytes)}
    if sha256 is None or sha256 in public or issued is None or (before and issued < before):
        return None
    return Credential(sha256, issued, rotate=rotate_value(view.client))


def _issue(view: ClientView, record: ClientRecord | None, current: Credential | None, cause: Cause) -> Plan:
    may_heal(record, cause, view.now)
    secret = view.mint()
    new = Credential(digest(secret), view.now, rotate=rotate_value(view.client), heal=cause.heal)
    credentials = with_new(_live(view, record, current), new, current, view.now)
    written = _record(view, record, credentials, current)
    return Plan(
        (_record_write(view, written), _secret_write(view, new, secret.encode())),
        happenings=(Happening(cause.reason, cause.message, warning=cause.heal),),
    )


def _held_back(view: ClientView, record: ClientRecord | None, current: Credential | None) -> Plan:
    """The record's own upkeep, which no trouble with the Secret may stop: what is revoked, disabled, asked no more.

    A predecessor's record is emptied: its hashes must not work for whoever has its name now.
    """
    if view.record is None:
        return NOTHING
    live = _live(view, record, current)
    write = _record_write(view, _record(view, record, live, current))
    return NOTHING if in_place(write) else Plan((write,), happenings=_lengthened(view, record, live))


def _lengthened(view: ClientView, record: ClientRecord | None, live: tuple[Credential, ...]) -> tuple[Happening, ...]:
    """Told when it begins, and not at each step."""
    rotation = view.client.spec.rotation
    before = {c.sha256 for c in (record.credentials if record else ()) if lasts_longer(c, rotation)}
    return tuple(
        Happening("PreviousCredentialInUse", in_use(view, c), warning=True)
        for c in live
        if lasts_longer(c, rotation) and c.sha256 not in before
    )


def _live(view: ClientView, record: ClientRecord | None, current: Credential | None) -> tuple[Credential, ...]:
    credentials = record.credentials if record else ()
    before = revoked_before(view.client, view.now)
    return overlapping(credentials, current, before, view.client.spec.rotation, view.last_use, view.now)


def _record(
    view: ClientView,
    record: ClientRecord | None,
    credentials: tuple[Credential, ...],
    current: Credential | None = None,
) -> ClientRecord:
    spec = view.client.spec
    return ClientRecord(
        namespace=view.client.namespace,
        name=view.client.name,
        uid=view.client.uid,
        method=spec.authentication.method,
        grant_types=tuple(spec.grant_types),
        owner_creation_time=view.client.metadata.creation_timestamp,
        disabled=spec.disabled or spec.authentication.method not in SERVED_METHODS,
        credentials=credentials,
        access=asked_by(view.client),
        secret_name=view.client.secret_name,
        heals=heals(record, current, view.now) if record else (),
    )


def _record_write(view: ClientView, record: ClientRecord) -> Desired:
    name = client_record_name(record.namespace, record.name)
    return Desired(
        ref=Ref("Secret", view.config.namespace, name),
        type=CLIENT_TYPE,
        entries={ENTRY: encode(record)},
        labels={MANAGED_BY: MANAGER},
        replaces=view.record_object,
    )


def _secret_write(view: ClientView, credential: Credential, secret: bytes | Kept) -> Desired:
    client = view.client
    template = client.spec.credentials.secret_template
    issue_time = rfc3339(credential.issue_time)
    desired = Desired(
        ref=Ref("Secret", client.namespace, client.secret_name),
        type=SECRET_TYPE,
        entries=_entries(view, secret),
        labels={**template.labels, MANAGED_BY: MANAGER, CLIENT_LABEL: client.name},
        annotations=dict(template.annotations),
        owner=Owner("OAuthClient", client.name, client.uid),
        replaces=view.secret,
    )
    sealed = seal(view.seal_key, view.config.issuer, client.client_id, issue_time, desired.digests())
    return replace(
        desired, annotations={**desired.annotations, ISSUE_TIME_ANNOTATION: issue_time, SEAL_ANNOTATION: sealed}
    )


def _entries(view: ClientView, secret: bytes | Kept) -> dict[str, bytes | Kept]:
    """What a service needs to start with nothing else. Grants never change it: no Pod restarts because of one."""
    names, issuer = view.client.spec.credentials.keys, view.config.issuer
    entries: dict[str, bytes | Kept] = {
        "type": b"oauth2",
        "provider": b"scopewright",
        names.client_id: view.client.client_id.encode(),
        names.client_secret: secret,
        names.issuer: issuer.encode(),
        names.token_endpoint: f"{issuer}/token".encode(),
        names.jwks_uri: f"{issuer}/jwks.json".encode(),
    }
    if len(asked := asked_by(view.client)) == 1:
        namespace, name = asked[0].resource_server.split("/")
        entries[names.scope] = " ".join(asked[0].scopes).encode()
        entries[names.audience] = default_audience(namespace, name).encode()
    return entries


def _secret_drift(view: ClientView, current: Credential) -> tuple[Write, ...]:
    """The Secret once more with the credential it has, if anything else of it is not as it should be."""
    existing = view.secret
    if existing is None:
        return ()
    where = next(name for name, sha256 in existing.entries.items() if sha256 == current.sha256)
    desired = _secret_write(view, current, Kept(where, current.sha256))
    return () if in_place(desired) else (desired,)


def _former_secrets(view: ClientView, record: ClientRecord) -> tuple[Write, ...]:
    """Secrets under an earlier `secretName`, once nothing they hold is accepted any more."""
    accepted = {c.sha256 for c in record.credentials if c.accepted_at(view.now)}
    ours = [s for s in view.former_secrets if _standing(view, s, record) is Standing.SEALED]
    return tuple(Deletion(s) for s in ours if not accepted & set(s.entries.values()))


def _standing(view: ClientView, secret: Existing | None, record: ClientRecord | None) -> Standing:
    return standing(secret, view.client, record, view.seal_key, view.config.issuer)


def _instant(text: str) -> datetime | None:
    try:
        instant = datetime.fromisoformat(text)
    except ValueError:
        return None
    return instant if instant.tzinfo else None
