"""The record that an IdentityProvider asks for, and why it may be refused."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Final

from scopewright.api.claim_mappings import ClaimMapping, ProviderClaims, is_changeable
from scopewright.api.openid_provider import OpenIDProvider
from scopewright.core.failures import Rejected
from scopewright.core.objects import MANAGED_BY, MANAGER, Desired, Ref
from scopewright.core.providers import secrets
from scopewright.core.providers.groups import RANGE_END, overlap_of
from scopewright.core.providers.static_users import RecordedUsers, recorded_users
from scopewright.core.providers.view import CheckTarget, ProviderView, StoredProvider
from scopewright.core.records.codec import encode
from scopewright.core.records.identity_provider import (
    ClaimMappings,
    ClaimPath,
    IdentityProviderRecord,
    UpstreamClient,
)
from scopewright.core.records.names import (
    CA_ENTRY,
    CLIENT_SECRET_ENTRY,
    ENTRY,
    IDENTITY_PROVIDER_TYPE,
    USERS_ENTRY,
)
from scopewright.core.users import quoted_group
from scopewright.origins import HttpUrl, is_loopback

MAX_STATIC_GROUPS: Final = 400
"""Different groups of static users whose record names each of them."""
MAX_RECORD: Final = 1 << 20
"""Bytes of all entries: the API server refuses a larger Secret."""
_MUST_BE_HTTPS: Final = "spec.oidc.issuerURL must be an https URL in ASCII, without a user name: correct it"
_LATEST: Final = datetime.max.replace(tzinfo=UTC)


def record_write(view: ProviderView) -> Desired:
    """Return the write of the record. `Rejected` says what its user must correct: then nothing of it is written."""
    if why := loses_its_record(view):
        raise why
    record, entries = _record(view), {}
    if oidc := view.provider.spec.oidc:
        _check_issuer_url(oidc.issuer_url, allow_loopback=view.allow_loopback)
        entries = _upstream_entries(view, oidc)
    else:
        users = _static_users(view)
        record, entries = _with_groups_of(record, users.groups), {USERS_ENTRY: users.encoded}
    _check_subject(record)
    _check_own(view, record)
    for other in view.others:
        if why := conflict(record, other.record):
            raise why
    entries = {ENTRY: encode(record), **entries}
    if (size := sum(map(len, entries.values()))) > MAX_RECORD:
        # Only static users can be as many, with names of groups that are long.
        message = (
            f"the users and their groups take {size} bytes in the issuer's record, at most {MAX_RECORD}: list fewer "
            "users or groups, shorten the names of groups, or set claimMappings.groups.allow to ranges such as hr-*"
        )
        raise Rejected("UsersInvalid", message)
    return Desired(
        ref=view.record_ref,
        type=IDENTITY_PROVIDER_TYPE,
        entries=entries,
        labels={MANAGED_BY: MANAGER},
        replaces=view.record_object,
    )


def check_target(view: ProviderView) -> CheckTarget | None:
    """Return what to check of an OpenID provider; None for static users, and while the certificates cannot be read."""
    oidc = view.provider.spec.oidc
    if oidc is None:
        return None
    try:
        certificates = _certificates(view, oidc)
    except Rejected:
        return None
    return CheckTarget(oidc.issuer_url, certificates.decode(), tuple(oidc.signing_algorithms))


def conflict(record: IdentityProviderRecord, other: IdentityProviderRecord) -> Rejected | None:
    """Why a provider cannot have `record` while another one has `other`."""
    if record.subject_domain == other.subject_domain:
        message = (
            f"IdentityProvider {other.name} has the subject domain {record.subject_domain} already, and users of both "
            "would be the same: delete one of them, or set another spec.subjectDomain"
        )
        return Rejected("SubjectDomainConflict", message)
    if overlap := overlap_of(record.claims, other.claims):
        first, second = map(quoted_group, overlap)
        message = (
            f"groups {first} overlap with {second} of IdentityProvider {other.name}, so each could assign groups of "
            "the other: set claimMappings.groups.prefix, or narrow groups.allow"
        )
        return Rejected("GroupsOverlap", message)
    return None


def loses_its_record(view: ProviderView) -> Rejected | None:
    """Why the record of the object itself must be deleted: an older one conflicts with it.

    Records are written one after the other, so both can exist only if a write succeeded whose answer was lost.
    """
    own = view.own
    if own is None:
        return None
    older = sorted((o for o in view.others if _age(o) < _age(own)), key=_age)
    return next((why for o in older if (why := conflict(own.record, o.record))), None)


def _age(stored: StoredProvider) -> tuple[datetime, str]:
    return stored.existing.creation_time or _LATEST, stored.record.name


def _check_subject(record: IdentityProviderRecord) -> None:
    """What no provider may have as its subject, whatever CEL rules the API server has."""
    path = record.claims.subject
    if not path or (record.oidc and is_changeable(path[-1])):
        message = (
            "claimMappings.subject must be a claim that the provider never assigns to another user: delete the object "
            "and create it again with one such as sub, or oid of Microsoft Entra ID"
        )
        raise Rejected("SubjectClaimNotAllowed", message)


def _check_own(view: ProviderView, record: IdentityProviderRecord) -> None:
    """What an object may not change during its life, whatever CEL rules the API server has."""
    before = view.own.record if view.own else record
    if before.subject_domain != record.subject_domain:
        message = (
            "users would get other subjects: if the provider has moved, set spec.subjectDomain to "
            f"{before.subject_domain}; if that was a mistake, delete the object and create it again"
        )
        raise Rejected("SubjectDomainImmutable", message)
    if before.claims.subject != record.claims.subject:
        message = (
            "users would get other subjects: set claimMappings.subject back to "
            f"{'.'.join(before.claims.subject)}, or delete the object and create it again"
        )
        raise Rejected("SubjectClaimImmutable", message)


def _check_issuer_url(url: str, *, allow_loopback: bool) -> None:
    try:
        parsed = HttpUrl.parse(url)
    except ValueError:
        raise Rejected("IssuerURLNotAllowed", _MUST_BE_HTTPS) from None
    if parsed.scheme == "https":
        return
    if not is_loopback(parsed.host):
        raise Rejected("IssuerURLNotAllowed", _MUST_BE_HTTPS)
    if not allow_loopback:
        message = (
            "spec.oidc.issuerURL is http on loopback, which only `scopewright dev` allows: in a cluster, use the https "
            "URL of the provider"
        )
        raise Rejected("IssuerURLNotAllowed", message)


def _upstream_entries(view: ProviderView, oidc: OpenIDProvider) -> dict[str, bytes]:
    """Return the client secret and the certificates."""
    entries: dict[str, bytes] = {}
    authentication = oidc.client_authentication
    if authentication.method == "ClientSecret":
        if (at := authentication.secret_ref) is None:
            message = "clientAuthentication.secretRef is required with method ClientSecret: name the Secret"
            raise Rejected("Invalid", message)
        ref = Ref("Secret", view.provider.namespace, at.name)
        entries[CLIENT_SECRET_ENTRY] = secrets.client_secret(view.referenced, ref, at.key)
    if certificates := _certificates(view, oidc):
        entries[CA_ENTRY] = certificates
    return entries


def _static_users(view: ProviderView) -> RecordedUsers:
    static = view.provider.spec.static
    if static is None:
        raise Rejected("Invalid", "neither spec.oidc nor spec.static is set: set one of them")
    ref = Ref("Secret", view.provider.namespace, static.users_ref.name)
    data = secrets.users_file(view.referenced, ref)
    try:
        return recorded_users(data)
    except Rejected as invalid:
        raise Rejected(invalid.reason, f"{ref}: {invalid.message}") from None


def _with_groups_of(record: IdentityProviderRecord, names: tuple[str, ...]) -> IdentityProviderRecord:
    """Static users have the groups in their Secret: each by its name, unless the spec has names and ranges."""
    if record.claims.groups_allow:
        return record
    if ranges := [name for name in names if name.endswith(RANGE_END)]:
        message = f"{quoted_group(ranges[0])} would be a range of groups: give the group a name without {RANGE_END}"
        raise Rejected("UsersInvalid", message)
    if len(names) > MAX_STATIC_GROUPS:
        message = (
            f"the users have {len(names)} different groups, at most {MAX_STATIC_GROUPS} are allowed: list fewer, or "
            "set claimMappings.groups.allow to ranges such as hr-*"
        )
        raise Rejected("UsersInvalid", message)
    return replace(record, claims=replace(record.claims, groups_allow=names))


def _certificates(view: ProviderView, oidc: OpenIDProvider) -> bytes:
    at = oidc.ca_certificate_ref
    if at is None:
        return b""
    return secrets.ca_certificates(view.referenced, Ref(at.kind, view.provider.namespace, at.name), at.key)


def _record(view: ProviderView) -> IdentityProviderRecord:
    provider, spec = view.provider, view.provider.spec
    return IdentityProviderRecord(
        name=provider.name,
        uid=provider.uid,
        display_name=spec.display_name or provider.name,
        subject_domain=provider.subject_domain,
        oidc=_upstream_client(spec.oidc) if spec.oidc else None,
        claims=_claims(spec.claim_mappings),
        check_interval=int(spec.upstream_check.every.total_seconds()),
        check_max_age=int(spec.upstream_check.max_age.total_seconds()),
        revoked_before=_revoked_before(view),
    )


def _revoked_before(view: ProviderView) -> datetime | None:
    """The latest time that has come. One in the future would end the logins until then, too."""
    declared = view.provider.spec.revoked_before
    recorded = view.own.record.revoked_before if view.own else None
    return max((t for t in (declared, recorded) if t and t <= view.now), default=None)


def _upstream_client(oidc: OpenIDProvider) -> UpstreamClient:
    return UpstreamClient(
        issuer_url=oidc.issuer_url,
        client_id=oidc.client_id,
        scopes=tuple(oidc.scopes),
        signing_algorithms=tuple(oidc.signing_algorithms),
        userinfo=oidc.userinfo,
        reauthentication=oidc.reauthentication,
        offline_access=oidc.offline_access,
    )


def _claims(declared: ProviderClaims) -> ClaimMappings:
    groups, acr = declared.groups, declared.acr
    return ClaimMappings(
        subject=_path(declared.subject),
        username=_path(declared.username),
        groups=_path(groups) if groups else (),
        groups_prefix=groups.prefix if groups else "",
        groups_allow=tuple(groups.allow) if groups else (),
        acr_allow=tuple(acr.allow) if acr else (),
    )


def _path(mapping: ClaimMapping) -> ClaimPath:
    return tuple(mapping.path) if mapping.path else (mapping.claim,) if mapping.claim else ()
