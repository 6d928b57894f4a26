"""Findings of one snapshot: objects that are refused, and objects that need a review."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from scopewright.api import Kind, OAuthClient, ResourceServer, ScopeGrant
from scopewright.api.scopegrant import ClientSelection, NamespaceSelector, UserGrantee
from scopewright.core.client.login import ID_TOKEN_KEY_NOT_READY, LOGIN_ALLOWED, NO_PROVIDER
from scopewright.core.grant_status import granted_names, users_of
from scopewright.core.hidden_methods import hidden_methods
from scopewright.core.http_rules import check_rules, http_access
from scopewright.core.objects import PAUSED_ANNOTATION, Ref, is_paused
from scopewright.plan.changes import Finding
from scopewright.plan.requests import unreachable_rules
from scopewright.plan.snapshot import StateSnapshot
from scopewright.verifier.rules import RulesInvalid

INTENDED: Final = ("Disabled",)
"""Reasons of objects that their owner has switched off."""

TIMED: Final = ("SigningKey", "IdentityProvider")
"""Kinds that are not ready at first: a key is published before it signs, and a provider is checked over the network."""

HARMLESS: Final = ("Expired", "LifetimeTooLong")
"""Reasons that only time or the platform's maximum decides; the manifest loses nothing else by them."""

WAITING_LOGINS: Final = (ID_TOKEN_KEY_NOT_READY, NO_PROVIDER)
"""Reasons of logins that wait for an object of the platform team."""

NAMESPACE_NAME: Final = "kubernetes.io/metadata.name"
"""Label that only the API server sets."""

FIELDS: Final[dict[str, tuple[str, ...]]] = {
    "AudienceConflict": ("spec", "audience"),
    "AudienceNotAllowed": ("spec", "audience"),
    "AudienceUnchecked": ("spec", "audience"),
    "ConfigMapConflict": ("spec", "jwks", "configMapName"),
    "ConfigMapFixed": ("spec", "jwks", "configMapName"),
    "ConsentNotSkippable": ("spec", "login", "consent"),
    "Expired": ("spec", "expirationTime"),
    "GroupsOverlap": ("spec", "claimMappings", "groups"),
    "HostnameConflict": ("spec", "http", "hostnames"),
    "HostnameNotAllowed": ("spec", "http", "hostnames"),
    "HostnameUnchecked": ("spec", "http", "hostnames"),
    "IDTokenKeyNotReady": ("spec", "login", "idTokenSigningKey"),
    "IdentityProviderNotFound": ("spec", "login", "identityProviders"),
    "IdentityProviderRequired": ("spec", "login", "identityProviders"),
    "InvalidRule": ("spec", "http", "rules"),
    "IssuerURLNotAllowed": ("spec", "oidc", "issuerURL"),
    "LifetimeTooLong": ("spec", "tokens", "lifetime"),
    "NamespaceNotIssuers": ("metadata", "namespace"),
    "NoIdentityProvider": ("spec", "login"),
    "NotGranted": ("spec", "access"),
    "Paused": ("metadata", "annotations", PAUSED_ANNOTATION),
    "PublicCoversProtected": ("spec", "http", "rules"),
    "PublicNotAllowed": ("spec", "http", "rules"),
    "RedirectHostNotAllowed": ("spec", "login", "redirectURIs"),
    "ReservedScope": ("spec", "scopes"),
    "ResourceServerNotFound": ("spec", "resourceServer"),
    "ResourceServerNotReady": ("spec", "resourceServer"),
    "RuleConflict": ("spec", "http", "rules"),
    "SecretConflict": ("spec", "credentials", "secretName"),
    "SigningKeyNotReady": ("spec", "tokens", "signingKey"),
    "SubjectClaimImmutable": ("spec", "claimMappings", "subject"),
    "SubjectClaimNotAllowed": ("spec", "claimMappings", "subject"),
    "SubjectDomainConflict": ("spec", "subjectDomain"),
    "SubjectDomainImmutable": ("spec", "subjectDomain"),
    "UnknownRole": ("spec", "roles"),
    "UnknownScope": ("spec", "scopes"),
    "UnknownTimeZone": ("spec", "rotation", "windows"),
    "UnsupportedKey": ("spec", "authentication", "jwks"),
    "WrongNamespace": ("metadata", "namespace"),
}
"""The field of the manifest that causes a condition."""


def refusals(snapshot: StateSnapshot) -> tuple[Finding, ...]:
    """Objects that stay refused until their owner acts, and logins of which the platform refuses a part."""
    return tuple(finding for ref, obj in sorted(snapshot.declared.items()) for finding in _refused(ref, obj))


def warnings(snapshot: StateSnapshot) -> tuple[Finding, ...]:
    return tuple(finding for ref, obj in sorted(snapshot.declared.items()) for finding in _of(ref, obj, snapshot))


def marked_new(after: tuple[Finding, ...], before: tuple[Finding, ...]) -> tuple[Finding, ...]:
    """The findings after the change; `new` where the state before did not have it."""
    known = {(f.subject, f.reason, f.message) for f in before}
    return tuple(replace(f, new=(f.subject, f.reason, f.message) not in known) for f in after)


def _refused(ref: Ref, obj: Kind) -> Iterator[Finding]:
    stalled, login = obj.condition("Stalled"), obj.condition(LOGIN_ALLOWED)
    if stalled and stalled.reason not in (*INTENDED, *HARMLESS):
        field = _rule_at_fault(obj, stalled.reason) if isinstance(obj, ResourceServer) else ()
        yield _finding(ref, stalled.reason, stalled.message, field)
    waits = login is not None and login.reason in WAITING_LOGINS
    if login and login.status == "False" and not waits and not is_paused(obj.metadata.annotations):
        yield _finding(ref, login.reason, login.message)


def _of(ref: Ref, obj: Kind, snapshot: StateSnapshot) -> Iterator[Finding]:
    if is_paused(obj.metadata.annotations):
        what = "it still grants" if isinstance(obj, ScopeGrant) else "no change of it takes effect"
        yield _finding(ref, "Paused", f"{PAUSED_ANNOTATION} is true: nothing is written for it, and {what}")
        return
    ready, stalled, access = (obj.condition(kind) for kind in ("Ready", "Stalled", "AccessGranted"))
    if stalled and stalled.reason in HARMLESS:
        yield _finding(ref, stalled.reason, stalled.message)
    elif ready and ready.status == "False" and not stalled and ref.kind not in TIMED:
        yield _finding(ref, ready.reason, ready.message)
    if (login := obj.condition(LOGIN_ALLOWED)) and login.reason in WAITING_LOGINS:
        yield _finding(ref, login.reason, login.message)
    if isinstance(obj, OAuthClient) and access and access.status != "True":
        yield _finding(ref, "NotGranted", access.message)
    if isinstance(obj, ResourceServer):
        yield from _unreachable(ref, obj)
        yield from _hidden_methods(ref, obj)
    if isinstance(obj, ScopeGrant):
        for index, to in enumerate(obj.spec.to):
            yield from _selection(ref, obj, ("spec", "to", index), to, "OAuthClient")
        for index, entry in enumerate(obj.spec.to_users):
            yield from _user_grantee(ref, obj, index, entry, snapshot)


def _unreachable(ref: Ref, server: ResourceServer) -> Iterator[Finding]:
    """Rules with which no request is decided."""
    for name in unreachable_rules(http_access(server)):
        message = (
            f"rule {name} decides about no request, because other patterns decide about each of its paths: remove "
            "it, or correct its paths"
        )
        yield Finding(ref, "RuleUnreachable", message, rule_field(server, name))


def _hidden_methods(ref: Ref, server: ResourceServer) -> Iterator[Finding]:
    """Methods that are refused because a rule without them has the more specific pattern."""
    for hidden in hidden_methods(http_access(server)):
        yield Finding(ref, "RuleHidesMethod", hidden.message, rule_field(server, hidden.rule))


def _rule_at_fault(server: ResourceServer, reason: str) -> tuple[str | int, ...]:
    """The field of the rule that the operator refuses for this reason; empty if no single rule is at fault."""
    try:
        check_rules(server, http_access(server))
    except RulesInvalid as error:
        return rule_field(server, error.rule) if error.reason == reason else ()
    return ()


def rule_field(server: ResourceServer, name: str) -> tuple[str | int, ...]:
    """The field of a rule, or of all rules if no single one is at fault."""
    names = [rule.name for rule in server.spec.http.rules] if server.spec.http else []
    return ("spec", "http", "rules", names.index(name)) if name in names else ("spec", "http")


def _selection(
    ref: Ref, grant: ScopeGrant, where: tuple[str | int, ...], to: ClientSelection, who: str
) -> Iterator[Finding]:
    """`who` gets the scopes: an OAuthClient, or users through one."""
    if to.all_namespaces:
        message = f"every {who} of every namespace that asks gets {_what(grant)}: name namespaces if not all are meant"
        yield Finding(ref, "AllNamespaces", message, where)
    elif to.namespace_selector and not _names_namespaces(to.namespace_selector):
        message = (
            f"every user who may label namespaces can add one that gets {_what(grant)}: name namespaces to avoid that"
        )
        yield Finding(ref, "NamespaceSelector", message, where)


def _user_grantee(
    ref: Ref, grant: ScopeGrant, index: int, entry: UserGrantee, snapshot: StateSnapshot
) -> Iterator[Finding]:
    where = ("spec", "toUsers", index)
    if entry.all_users:
        message = f"every user who can log in gets {_what(grant)}: name groups if not all are meant"
        yield Finding(ref, "AllUsers", message, (*where, "allUsers"))
    yield from _selection(ref, grant, (*where, "through"), entry.through, "application")
    if snapshot.is_unused(grant, entry):
        message = (
            f"nothing is granted to {users_of([entry])}: no OAuthClient that `through` covers acts for users and asks "
            f"for {_what(grant)}; apply one with spec.login, or correct `through`"
        )
        yield Finding(ref, "NoApplication", message, (*where, "through"))


def _what(grant: ScopeGrant) -> str:
    return f"{granted_names(grant.spec)} of {grant.namespace}/{grant.spec.resource_server}"


def _names_namespaces(selector: NamespaceSelector) -> bool:
    expressions = selector.match_expressions or ()
    named = any(e.key == NAMESPACE_NAME and e.operator == "In" for e in expressions)
    return named or NAMESPACE_NAME in (selector.match_labels or {})


def _finding(ref: Ref, reason: str, message: str, field: tuple[str | int, ...] = ()) -> Finding:
    return Finding(ref, reason, message, field or FIELDS.get(reason, ()))
