"""The plan for one IdentityProvider: its record, its status."""

from datetime import datetime
from typing import Final

from scopewright.api.identityprovider import IdentityProviderStatus
from scopewright.api.times import format_timestamp
from scopewright.core.failed_writes import failed_write_of, not_ready
from scopewright.core.failures import Rejected
from scopewright.core.lifecycle import PAUSED, deleting_conditions, is_paused_or_deleting
from scopewright.core.objects import Deletion, is_paused
from scopewright.core.plan import ConditionUpdate, Plan, ready, soonest, stalled, status_plan, waiting
from scopewright.core.providers.record import check_target, loses_its_record, record_write
from scopewright.core.providers.view import ProviderView
from scopewright.core.session_stores import ADVICE, NOT_SHARED

IN_FORCE: Final = "InForce"
CHECKING: Final = "Checking"
_CHECK_REASONS: Final = {
    "Unreachable": "ProviderUnreachable",
    "AddressNotAllowed": "ProviderAddressNotAllowed",
    "CertificateInvalid": "ProviderCertificateInvalid",
    "AnswerTooLarge": "ProviderAnswerTooLarge",
    "AnswerMalformed": "ProviderAnswerMalformed",
    "IssuerMismatch": "IssuerMismatch",
    "AlgorithmNotSupported": "AlgorithmNotSupported",
    "Refused": "ProviderRefused",
}
"""Reasons of the condition Ready, by that of a failed check."""


def plan_provider(view: ProviderView) -> Plan:
    """Its conditions are those of one object; its last valid settings stay in force while the declared ones are
    refused.
    """
    provider = view.provider
    if provider.metadata.deletion_timestamp:
        return _deletion_plan(view)
    if is_paused(provider.metadata.annotations):
        return _paused_plan(view)
    if provider.namespace != view.config.namespace:
        namespace = view.config.namespace
        message = f"an IdentityProvider belongs in the issuer's namespace, {namespace}: apply it there"
        return _status(view, stalled(Rejected("NamespaceNotIssuers", message)))
    try:
        write = record_write(view)
    except Rejected as why:
        return _refusal_plan(view, why)
    if write.changes_nothing:
        return _status(view, _conditions(view, _note(view)))
    if failed_write := failed_write_of(view.failed_writes, write.ref):
        return _status(view, not_ready(failed_write))
    return Plan((write,))


def _refusal_plan(view: ProviderView, why: Rejected) -> Plan:
    """Keep the last record of the object. That of an earlier object of the name has ended with it, and of two that
    conflict the younger ends.
    """
    existing = view.record_object
    if existing and (view.own is None or loses_its_record(view)):
        if failed_write := failed_write_of(view.failed_writes, existing.ref):
            return _status(view, not_ready(failed_write))
        return Plan((Deletion(existing),))
    in_force = "the last valid settings stay in force" if view.own else "no user can log in with it"
    return _status(view, stalled(Rejected(why.reason, f"{why.message}; {in_force}")))


def _deletion_plan(view: ProviderView) -> Plan:
    """Delete the record at once: the deletion is final, even while finalizers block it."""
    if own := view.own:
        if failed_write := failed_write_of(view.failed_writes, own.existing.ref):
            return _status(view, not_ready(failed_write))
        return Plan((Deletion(own.existing),))
    effect = "no user can log in with it, and the sessions of its users end"
    return _status(view, deleting_conditions(view.provider.metadata, effect))


def _paused_plan(view: ProviderView) -> Plan:
    """Report what is in force; the spec may have changed since."""
    own, oidc = view.own, view.provider.spec.oidc
    if own is None:
        conditions = waiting("NotInForce", "no user can log in with it")
    elif own.record.oidc and (oidc is None or oidc.issuer_url != own.record.oidc.issuer_url):
        conditions = ready(IN_FORCE, f"users may log in at {own.record.oidc.issuer_url}, which is not checked")
    else:
        conditions = _conditions(view)
    return _status(view, (*conditions, PAUSED))


def _note(view: ProviderView) -> str:
    """What is not in force yet, for the end of a message."""
    before = _coming_revocation(view)
    return f"; revokedBefore is in the future and takes effect at {format_timestamp(before)}" if before else ""


def _coming_revocation(view: ProviderView) -> datetime | None:
    before = view.provider.spec.revoked_before
    return before if before and view.now < before else None


def _conditions(view: ProviderView, note: str = "") -> tuple[ConditionUpdate, ...]:
    """The conditions of a provider with a record, by its last check."""
    target, check = check_target(view), view.check
    if _stores_apart_until(view):
        return waiting(NOT_SHARED, f"no user can log in, because {ADVICE}{note}")
    if view.provider.spec.oidc is None:
        return ready(IN_FORCE, f"its users may log in with a password{note}")
    if target is None or check is None or check.target != target:
        return _unchecked(view)
    if check.reason:
        message = f"{check.message}; its settings stay in force, and it is checked again soon{note}"
        return waiting(_CHECK_REASONS.get(check.reason, "ProviderUnreachable"), message)
    return ready(IN_FORCE, f"users may log in at {target.issuer_url}{note}")


def _coming(view: ProviderView) -> tuple[datetime | None, ...]:
    """Times at which the plan changes without an event."""
    return _coming_revocation(view), _stores_apart_until(view)


def _stores_apart_until(view: ProviderView) -> datetime | None:
    until = view.sessions_apart_until
    return until if until and view.now < until else None


def _unchecked(view: ProviderView) -> tuple[ConditionUpdate, ...]:
    """Keep the result of an earlier process or of other certificates: the next check follows within seconds."""
    before, provider = view.provider.condition("Ready"), view.provider
    is_result = before and before.reason in (IN_FORCE, *_CHECK_REASONS.values())
    if before and is_result and before.observed_generation == provider.metadata.generation:
        return (
            ready(before.reason, before.message) if before.status == "True" else waiting(before.reason, before.message)
        )
    return waiting(CHECKING, "its discovery document and its keys are being fetched; users may log in already")


def _status(view: ProviderView, conditions: tuple[ConditionUpdate, ...]) -> Plan:
    """Return the status, and the time of the next reconcile: to read the named objects, which are not watched, or at
    the next time of `_coming`.
    """
    provider, meta = view.provider, view.provider.metadata
    is_own_namespace = provider.namespace == view.config.namespace
    is_read = is_own_namespace and not is_paused_or_deleting(meta)
    return status_plan(
        IdentityProviderStatus, provider, conditions, view.events, view.now,
        due=soonest(view.now + view.config.resync, *_coming(view)) if is_read else None,
        redirect_uri=redirect_uri(view.config.issuer, provider.name) if provider.spec.oidc and is_own_namespace else "",
    )  # fmt: skip


def redirect_uri(issuer: str, name: str) -> str:
    """Return the redirect URI of the issuer at a provider, where the browser comes back to."""
    return f"{issuer}/callback/{name}"
