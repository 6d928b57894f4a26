"""Deliberate defects of the product, at least one for each invariant: the simulation must catch each of them."""

import logging
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from math import inf
from typing import Any
from unittest.mock import patch

from scopewright.controller import orphan_records
from scopewright.controller.cache import Cache
from scopewright.controller.reconcile import Reconciler
from scopewright.controller.write_through import WriteThrough
from scopewright.core import servers
from scopewright.core.client import issuing
from scopewright.core.client import login as client_login
from scopewright.core.client import plan as clients
from scopewright.core.client import record as client_record
from scopewright.core.client import secret as client_secret
from scopewright.core.client.credentials import SecretOwnership
from scopewright.core.client.view import IssueFailure
from scopewright.core.failures import Rejected, Unavailable
from scopewright.core.objects import Desired
from scopewright.core.plan import Plan
from scopewright.core.records.written_by_issuers import RevocationRecord
from scopewright.core.signing import plan as signing
from scopewright.issuer import service
from scopewright.issuer.authentication.read_through import ReadThrough
from scopewright.issuer.endpoints import introspection
from scopewright.issuer.protocol.errors import OAuthError
from scopewright.issuer.protocol.request import parse, presented_credential
from scopewright.issuer.protocol.responses import Answer
from scopewright.issuer.revocations import Revocations
from scopewright.issuer.state import access_removal, entries, keyring, registry
from scopewright.issuer.tokens import sign
from scopewright.stores.kubernetes import objects as kube_objects
from scopewright.stores.kubernetes import store as kubernetes
from scopewright.stores.kubernetes.store import KubernetesStore
from tests.simulation.due_work import BOUNDED_TIME

NEVER = datetime.max.replace(tzinfo=UTC)

log = logging.getLogger("scopewright.defect")


@dataclass(frozen=True)
class Defect:
    """`invariant` is the one that it breaks; `also` lists others whose check may fail first."""

    name: str
    invariant: int
    target: Any
    attribute: str
    make: Callable[[Any], Any]
    """Returns the defective version of the patched attribute."""
    also: tuple[int, ...] = ()
    quick: bool = True
    """Whether `make test` tries it."""


def _secret_first(real: Any) -> Any:
    def issue(*args: Any) -> Plan:
        plan: Plan = real(*args)
        return replace(plan, writes=tuple(reversed(plan.writes)))

    return issue


def _no_overlap(real: Any) -> Any:
    def overlapping(credentials: Any, current: Any, before: Any, *rest: Any, **more: Any) -> Any:
        found = real(credentials, current, before, *rest, **more)
        return tuple(c for c in found if c == current or c.expiration_time is None)

    return overlapping


def _signs_at_publication(real: Any) -> Any:
    def published(record: Any, timing: Any, now: Any) -> Any:
        return real(record, replace(timing, lead_time=timedelta(0)), now)

    return published


def _removed_at_once(real: Any) -> Any:
    def published(record: Any, timing: Any, now: Any) -> Any:
        found = real(record, timing, now)
        return found if found.at_once else replace(found, verification_end_time=found.signing_start_time + timing.every)

    return published


def _grants_ignored(real: Any) -> Any:
    def resolve(asked: Any, namespace: Any, client_id: Any, server: Any, now: Any) -> Any:
        return real(asked, server.namespace if server else namespace, client_id, server, now)

    return resolve


def _always_writes(real: Any) -> Any:
    return lambda existing, desired: False if existing else real(existing, desired)


def _deletions_forgotten(real: Any) -> Any:
    def put_managed(self: Cache, existing: Any, entries: Any) -> Any:
        self._managed_deletions.clear()
        return real(self, existing, entries)

    return put_managed


def _revoked_comes_back(real: Any) -> Any:
    def adoptable(view: Any) -> Any:
        client = view.client
        rotation = client.spec.rotation.model_copy(update={"revoked_before": None})
        spec = client.spec.model_copy(update={"rotation": rotation})
        record = view.record and replace(view.record, revoked_before=None)
        return real(replace(view, client=client.model_copy(update={"spec": spec}), record=record))

    return adoptable


def _no_version(real: Any) -> Any:
    def compose(desired: Any, live: Any) -> Any:
        body = real(desired, live)
        body["metadata"].pop("resourceVersion", None)
        return body

    return compose


def _foreign_secrets_accepted(real: Any) -> Any:
    def standing(*args: Any) -> Any:
        found = real(*args)
        return SecretOwnership.EDITED if found is SecretOwnership.FOREIGN else found

    return standing


def _no_proof_of_deletion(real: Any) -> Any:
    async def confirm_deleted(*_: Any) -> str:
        return "deleted"

    return confirm_deleted


def _no_orphan_mark(real: Any) -> Any:
    return lambda record, existing, orphaned_time: None


def _read_for_each_token(real: Any) -> Any:
    async def answer(self: Any, http: Any) -> Any:
        with suppress(OAuthError, Rejected, Unavailable):  # a wrong name in this module must fail
            presented = presented_credential(parse(http).form, http.headers.get(b"authorization"), accepts_secrets=True)
            await self.endpoints.token.read_through._read(presented.client_id)
        decided = real(self, http)
        return decided if isinstance(decided, Answer) else await decided

    return answer


def _no_read_through(real: Any) -> Any:
    async def refresh(*_: Any, **__: Any) -> None:
        return None

    return refresh


def _logs_the_secret(real: Any) -> Any:
    async def write(self: WriteThrough, key: Any, desired: Any) -> Any:
        if isinstance(desired, Desired):
            log.info("writing %s: %s", desired.ref, desired.entries)
        return await real(self, key, desired)

    return write


def _finalizer(real: Any) -> Any:
    def compose(desired: Any, live: Any) -> Any:
        body = real(desired, live)
        body["metadata"]["finalizers"] = ["scopewright.dev/tidy"]
        return body

    return compose


def _blocks_owner(real: Any) -> Any:
    return lambda owner, *, controls: {**real(owner, controls=controls), "blockOwnerDeletion": True}


def _no_uid_check(real: Any) -> Any:
    return lambda view: view.record


def _signs_too_early(real: Any) -> Any:
    def select(jwks: Any, signing_key: Any, now: Any, verifier_lag: Any) -> Any:
        return real(jwks, signing_key, now + 20 * 3600, verifier_lag)

    return select


def _grant_end_ignored(real: Any) -> Any:
    return lambda *_: inf


def _nothing_is_invalid(real: Any) -> Any:
    return lambda *_: ""


def _invalid_after_a_rotation(real: Any) -> Any:
    """While the client has a previous credential."""

    def invalid_reason(inspected: Any, known: Any, revocations: Any, now: Any) -> Any:
        client = known.clients.get(inspected.summary.client_id)
        if client and len(client.credentials) + len(client.keys) > 1:
            return "revoked"
        return real(inspected, known, revocations, now)

    return invalid_reason


def _not_written(real: Any) -> Any:
    async def write(self: Any) -> None:
        return None

    return write


def _merge_forgotten(real: Any) -> Any:
    def apply(self: Any, change: Any) -> None:
        self._record, self._pending = RevocationRecord(), []
        real(self, change)

    return apply


def _no_claims(real: Any) -> Any:
    return lambda view, http: ()


def _never(real: Any) -> Any:
    return lambda *_: False


def _always(real: Any) -> Any:
    return lambda *_: True


def _no_access_removal(real: Any) -> Any:
    return lambda *_: None


def _users_not_compared(real: Any) -> Any:
    def resolve_user(requested: Any, namespace: str, client_id: str, server: Any, *rest: Any) -> Any:
        grants = tuple(replace(granted, all_users=True) for granted in server.user_grants)
        return real(requested, namespace, client_id, replace(server, user_grants=grants), *rest)

    return resolve_user


def _newest_pair_only(real: Any) -> Any:
    return lambda record: real(record)[-1:]


def _credential_for_each_attempt(real: Any) -> Any:
    """Each attempt makes another credential; when the record is full, no retry is scheduled."""

    def issue(view: Any, found: Any, cause: Any, kind: Any) -> Any:
        made = real(replace(view, attempt=None, attempt_refused=False, failed_writes=()), found, cause, kind)
        return replace(made, retry_time=NEVER) if isinstance(made, IssueFailure) and found.current else made

    return issue


def _no_retry(real: Any) -> Any:
    async def finish(self: Reconciler, key: Any, plan: Any, so_far: Any) -> Any:
        due = await real(self, key, plan, so_far)
        return None if self._retries.retry_time(key) else due

    return finish


DEFECTS: tuple[Defect, ...] = (
    Defect("the Secret is written before the record", 1, issuing, "_plan", _secret_first),
    Defect("the previous digest is removed at once", 1, client_record, "apply_overlap", _no_overlap, also=(8,)),
    Defect("a client that becomes public keeps its credential", 1, client_record, "is_public", _never),
    Defect("every redirect host is allowed", 1, client_login, "_is_allowed", _always),
    Defect("a key signs as soon as it is published", 2, signing, "with_times", _signs_at_publication),
    Defect("a key leaves the JWKS while its tokens are valid", 2, signing, "with_times", _removed_at_once),
    Defect("the issuer signs with a key before its time", 2, keyring, "_select", _signs_too_early, also=(7,)),
    Defect("grants are ignored by the issuer", 3, entries, "resolve", _grants_ignored),
    Defect("every user has what a grant gives to some", 3, registry, "resolve_user", _users_not_compared),
    Defect("a token outlives its grant", 3, sign, "last_expiry", _grant_end_ignored, also=(2,), quick=False),
    Defect(
        "a late answer restores a deleted object in the cache",
        4,
        Cache,
        "put_managed",
        _deletions_forgotten,
        also=(1,),
        quick=False,
    ),
    Defect("an unchanged record is written again", 4, client_record, "contains_desired", _always_writes),
    Defect("a revoked credential is adopted", 5, clients, "adoptable_credential", _revoked_comes_back, quick=False),
    Defect("a PUT without a resourceVersion", 5, kubernetes, "compose", _no_version),
    Defect("a foreign Secret is overwritten", 6, client_secret, "secret_ownership", _foreign_secrets_accepted),
    Defect(
        "an orphan is deleted without proof", 6, KubernetesStore, "confirm_deleted", _no_proof_of_deletion, quick=False
    ),
    Defect("an orphan that is kept is not marked", 11, orphan_records, "mark_write", _no_orphan_mark, quick=False),
    Defect("every token reads its record", 7, service.Issuer, "decide", _read_for_each_token),
    Defect("no read-through before a refusal", 8, ReadThrough, "refresh", _no_read_through, also=(1,)),
    Defect("a secret in a log line", 9, WriteThrough, "write", _logs_the_secret),
    Defect("a hostname is served without a claim", 5, servers, "_hostname_claim_writes", _no_claims),
    Defect("a finalizer", 10, kubernetes, "compose", _finalizer),
    Defect("blockOwnerDeletion in an owner reference", 10, kube_objects, "_owner_reference", _blocks_owner),
    Defect("only the newest key pair is accepted", 1, entries, "_keys", _newest_pair_only, also=(8,)),
    Defect(
        "introspection ignores withdrawals",
        3,
        introspection,
        "invalid_reason",
        _nothing_is_invalid,
        also=(2, 5, 11),
    ),
    Defect(
        "a rotation invalidates the tokens of a client", 8, introspection, "invalid_reason", _invalid_after_a_rotation
    ),
    Defect("a revocation is not written", 5, Revocations, "_write", _not_written),
    Defect(
        "pending revocations are lost when the record changes", 5, Revocations, "apply", _merge_forgotten, quick=False
    ),
    Defect("the revocation feed omits withdrawn access", 3, access_removal, "of_server", _no_access_removal),
    Defect("a name instead of a UID", 11, client_secret, "own_record", _no_uid_check),
    Defect(
        "each retry adds a credential to the record",
        BOUNDED_TIME,
        clients,
        "issue_credential",
        _credential_for_each_attempt,
        quick=False,
    ),
    Defect("a refused write is not retried", BOUNDED_TIME, Reconciler, "_finish", _no_retry, quick=False),
)


def applied(defect: Defect) -> Any:
    """A context in which the product has this defect."""
    return patch.object(defect.target, defect.attribute, defect.make(getattr(defect.target, defect.attribute)))
