"""The plan for one ResourceServer: the claims on its audience and hostnames, its record, its status."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from scopewright.api import ResourceServer, ScopeGrant
from scopewright.api.http_rules import HttpStatus
from scopewright.api.resourceserver import ResourceServerStatus
from scopewright.api.times import format_duration
from scopewright.core.access import default_audience
from scopewright.core.audiences import check_audience, check_claim
from scopewright.core.config import Config
from scopewright.core.failed_writes import FailedWrite, failed_write_of, not_ready, split_deferred
from scopewright.core.failures import Rejected
from scopewright.core.grants import (
    OPENID,
    Labels,
    declared_access,
    has_effect,
    in_force,
    resolve_grant,
    resolve_user_grants,
    sort_key,
)
from scopewright.core.hostnames import HostnameClaims
from scopewright.core.http_in_force import HttpPolicy, http_in_force, unclaimed
from scopewright.core.http_rules import audience_is_its_url, unauthenticated
from scopewright.core.lifecycle import PAUSED, deleting_conditions
from scopewright.core.objects import Deletion, Desired, Existing, Ref, Write, contains_desired, is_paused
from scopewright.core.plan import ConditionUpdate, Event, Plan, ready, soonest, stalled, status_plan, waiting
from scopewright.core.records.codec import config_map_write
from scopewright.core.records.names import audience_claim_name, hostname_claim_name, resource_server_record_name
from scopewright.core.records.resource_server import (
    AudienceClaim,
    HostnameClaim,
    HttpAccess,
    HttpLocation,
    ResourceServerRecord,
    Role,
)

MAX_CLAIMS: Final = 16
"""Audiences that one ResourceServer may claim until the platform releases some."""
RESOURCE_METADATA: Final = "ResourceMetadata"
"""Condition: whether protected resource metadata names the audience (RFC 9728)."""


@dataclass(frozen=True, slots=True)
class ServerView:
    """Inputs of the plan for one resource server.

    `claims` maps every claimed audience to `<namespace>/<name>`. `signing` are the SigningKeys with an active key.
    """

    server: ResourceServer
    record: ResourceServerRecord | None
    record_object: Existing | None
    grants: tuple[ScopeGrant, ...]
    namespaces: Mapping[str, Labels]
    claims: Mapping[str, str]
    signing: frozenset[str]
    config: Config
    now: datetime
    hostname_claims: HostnameClaims = field(default_factory=dict)
    """The same for claimed hostnames with their base paths."""
    forbidden_keys: frozenset[str] = frozenset()
    """SigningKeys whose algorithm the profile does not allow."""
    beyond_limits: Rejected | None = None
    """Why it is not served, if its namespace exceeds its limits."""
    events: tuple[Event, ...] = ()
    """Events that no status lists yet."""
    failed_writes: tuple[FailedWrite, ...] = ()
    """Failed writes whose retry is not due yet."""

    @property
    def key(self) -> str:
        return f"{self.server.namespace}/{self.server.name}"


def plan_server(view: ServerView) -> Plan:
    meta = view.server.metadata
    if meta.deletion_timestamp:
        return _deletion_plan(view)
    if is_paused(meta.annotations):
        return _paused_plan(view)
    audience, refusal = _audience(view)
    policy = HttpPolicy(view.hostname_claims, view.config, view.beyond_limits)
    http, http_refusal = http_in_force(view.server, _own_http(view), audience, policy)
    record = _record_write(view, audience, http)
    if (audience or view.record) and not contains_desired(view.record_object, record):
        writes = (*_claim_write(view, audience), *_hostname_claim_writes(view, http), record)
        # Claims come first: if the write of one of them is deferred, so is that of the record.
        _, blocked = split_deferred(writes, view.failed_writes)
        return _status(view, audience, not_ready(blocked), http) if blocked else Plan(writes)
    metadata = _metadata_condition(http, audience)
    return _status(view, audience, (*_conditions(view, refusal or http_refusal), *metadata), http)


def _deletion_plan(view: ServerView) -> Plan:
    """Delete the record at once: the deletion is final, even while finalizers block it. The audience stays claimed."""
    existing = view.record_object
    if existing is None or (view.record and view.record.uid != view.server.uid):
        return _status(view, "", deleting_conditions(view.server.metadata, "the issuer issues no tokens for it"))
    if failed_write := failed_write_of(view.failed_writes, existing.ref):
        return _status(view, "", not_ready(failed_write))
    return Plan((Deletion(existing),))


def _paused_plan(view: ServerView) -> Plan:
    """Report what the issuer serves; the spec may have changed since."""
    record = view.record
    if record is None or record.uid != view.server.uid or not record.audience:
        return _status(view, "", (*waiting("NotServed", "the issuer issues no tokens for it"), PAUSED))
    conditions = _signing_key_missing(view, record.signing_key) or ready("Served", _serves(record.audience))
    metadata = _metadata_condition(record.http, record.audience)
    return _status(view, record.audience, (*conditions, PAUSED, *metadata), record.http)


def _signing_key_missing(view: ServerView, name: str) -> tuple[ConditionUpdate, ...]:
    if name in view.signing:
        return ()
    message = f"SigningKey {name} has no key that signs yet: no token can be issued for this API"
    return waiting("SigningKeyNotReady", message)


def _serves(audience: str) -> str:
    return f"the issuer issues tokens for {audience}"


def _claim_write(view: ServerView, audience: str) -> tuple[Write, ...]:
    """Return the write of the claim, which comes before the record. The claim outlives the ResourceServer. It is only
    ever created: of two concurrent claims, or after a change of leader, the second creation fails.
    """
    own = default_audience(view.server.namespace, view.server.name)
    if audience in ("", own) or audience in view.claims:
        return ()
    claim = AudienceClaim(audience, view.server.namespace, view.server.name)
    ref = Ref("ConfigMap", view.config.namespace, audience_claim_name(audience))
    return (config_map_write(ref, "audience", claim),)


def _hostname_claim_writes(view: ServerView, http: HttpAccess | None) -> tuple[Write, ...]:
    """Return the writes of the claims of hostnames: as for the audience, but that of the default audience too."""
    server = view.server
    claims = (HostnameClaim(*at, server.namespace, server.name) for at in unclaimed(http, view.hostname_claims))
    return tuple(
        config_map_write(
            Ref("ConfigMap", view.config.namespace, hostname_claim_name(c.hostname, c.base_path)), "hostname", c
        )
        for c in claims
    )


def _own_http(view: ServerView) -> HttpAccess | None:
    """The hostnames and rules in force. An object with the name of an earlier one inherits none."""
    return view.record.http if view.record and view.record.uid == view.server.uid else None


def _metadata_condition(http: HttpAccess | None, audience: str) -> tuple[ConditionUpdate, ...]:
    """Whether clients find the issuer from a 401. Information only: everything else works without it."""
    if http is None or not http.hostnames or not audience:
        return ()
    if audience_is_its_url(http, audience):
        found = f"clients of {audience} find the issuer from a 401 (RFC 9728)"
        return (ConditionUpdate(RESOURCE_METADATA, "True", "AudienceIsItsURL", found),)
    message = (
        f"the audience {audience} is not a URL at {' or '.join(http.hostnames)}, and so clients cannot find the issuer "
        f"from a 401 (RFC 9728): set spec.audience to a URL such as {HttpLocation(http.hostnames[0], http.base_path)}, "
        "if they should"
    )
    return (ConditionUpdate(RESOURCE_METADATA, "False", "AudienceIsNotItsURL", message, transient=True),)


def _audience(view: ServerView) -> tuple[str, Rejected | None]:
    """Return the audience to serve, and why the requested one is refused: then the current one is still served."""
    wanted = view.server.effective_audience
    if view.beyond_limits:
        return _current_if_allowed(view), view.beyond_limits
    try:
        _check(view, wanted)
    except Rejected as why:
        return _current_if_allowed(view), why
    return wanted, None


def _check(view: ServerView, audience: str) -> None:
    check_audience(audience, view.server.namespace, view.server.name, view.config)
    check_claim(audience, view.key, view.claims)
    if audience not in view.claims and sum(1 for key in view.claims.values() if key == view.key) >= MAX_CLAIMS:
        message = f"it has already claimed {MAX_CLAIMS} audiences: ask the platform team to release some of them"
        raise Rejected("AudienceNotAllowed", message)


def _current_if_allowed(view: ServerView) -> str:
    if view.record is None or not view.record.audience or view.record.uid != view.server.uid:
        return ""
    try:
        _check(view, view.record.audience)
    except Rejected:
        return ""
    return view.record.audience


def _record(view: ServerView, audience: str, http: HttpAccess | None) -> ResourceServerRecord:
    spec = view.server.spec
    declared = declared_access(view.server)
    current = [g for g in view.grants if in_force(g, view.now)]
    grants = [resolve_grant(g, declared, view.namespaces) for g in current]
    user_grants = {u for g in current for u in resolve_user_grants(g, declared, view.namespaces)}
    granted_to_users = {scope for granted in user_grants for scope in granted.scopes}
    lifetime = min(spec.tokens.lifetime, view.config.max_token_lifetime)
    return ResourceServerRecord(
        namespace=view.server.namespace,
        name=view.server.name,
        uid=view.server.uid,
        owner_creation_time=view.server.metadata.creation_timestamp,
        audience=audience,
        scopes=tuple(s.name for s in spec.scopes),
        served_by=tuple(f"{view.server.namespace}.{client}" for client in spec.served_by),
        lifetime=int(lifetime.total_seconds()),
        signing_key=spec.tokens.signing_key,
        scopes_list_claim=spec.tokens.scopes_list_claim,
        dpop_required=spec.tokens.dpop_bound_access_tokens_required or view.config.profile == "FAPI2",
        grants=tuple(sorted((g for g in grants if has_effect(g)), key=sort_key)),
        roles=tuple(Role(r.name, tuple(r.scopes), r.description) for r in spec.roles if r.name in declared.roles),
        user_grants=tuple(sorted(user_grants, key=sort_key)),
        descriptions={s.name: s.description for s in spec.scopes if s.description and s.name in granted_to_users},
        http=http,
    )


def _record_write(view: ServerView, audience: str, http: HttpAccess | None) -> Desired:
    record = _record(view, audience, http)
    ref = Ref("ConfigMap", view.config.namespace, resource_server_record_name(record.namespace, record.name))
    return config_map_write(ref, "resource-server", record, view.record_object)


def _conditions(view: ServerView, refusal: Rejected | None) -> tuple[ConditionUpdate, ...]:
    spec, config = view.server.spec, view.config
    if refusal:
        return stalled(refusal)
    if spec.tokens.lifetime > config.max_token_lifetime:
        message = (
            "spec.tokens.lifetime exceeds the platform's maximum, which applies instead: "
            f"{format_duration(config.max_token_lifetime)}"
        )
        return stalled(Rejected("LifetimeTooLong", message))
    if spec.tokens.signing_key in view.forbidden_keys:
        message = (
            f"the platform's profile {config.profile} does not allow the algorithm of SigningKey "
            f"{spec.tokens.signing_key}: set spec.tokens.signingKey to one with ES256, PS256 or Ed25519"
        )
        return stalled(Rejected("ProfileForbids", message))
    if without_effect := _without_effect(view):
        return stalled(without_effect)
    missing = _signing_key_missing(view, spec.tokens.signing_key)
    return missing or ready("Served", _serves(view.server.effective_audience))


def _without_effect(view: ServerView) -> Rejected | None:
    """Why some roles have no effect, or some scopes none for users. Until users are granted anything, no scope is
    refused for its name: earlier versions reserved none.
    """
    spec = view.server.spec
    scopes = {s.name for s in spec.scopes}
    if incomplete := [r for r in spec.roles if not scopes.issuperset(r.scopes)]:
        more = f" (nor those of {len(incomplete) - 1} other roles)" if len(incomplete) > 1 else ""
        undeclared = ", ".join(s for s in incomplete[0].scopes if s not in scopes)
        message = (
            f"role {incomplete[0].name} has no effect, because spec.scopes does not declare {undeclared}{more}: "
            "declare it there, or remove it from the role"
        )
        return Rejected("UnknownScope", message)
    reserved = sorted(OPENID & scopes)
    if reserved and any(g.spec.to_users for g in view.grants if in_force(g, view.now)):
        message = (
            f"spec.scopes declares {', '.join(reserved)}, which OpenID Connect reserves: it is not granted to users; "
            f"declare it under another name, such as {view.server.name}.{reserved[0]}"
        )
        return Rejected("ReservedScope", message)
    return None


def _status(
    view: ServerView, audience: str, conditions: tuple[ConditionUpdate, ...], http: HttpAccess | None = None
) -> Plan:
    server = view.server
    shown = HttpStatus(hostnames=list(http.hostnames), unauthenticated=list(unauthenticated(http))) if http else None
    current = [g for g in view.grants if in_force(g, view.now)] if not server.metadata.deletion_timestamp else []
    due = soonest(*(g.spec.expiration_time for g in current))
    return status_plan(
        ResourceServerStatus, server, conditions, view.events, view.now, due=due,
        audience=audience or None, grants=len(current), http=shown,
    )  # fmt: skip
