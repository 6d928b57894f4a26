"""Deliberate defects of the real code, at least one for each invariant: the simulation must catch every one of them."""

import logging
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from unittest.mock import patch

from scopewright.controller import orphan_records
from scopewright.controller.cache import Cache
from scopewright.controller.reconcile import Reconciler
from scopewright.core.client import issuing
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
from scopewright.issuer.protocol.request import parse
from scopewright.issuer.protocol.responses import Answer
from scopewright.issuer.revocation.ended import Revocations
from scopewright.issuer.state import access_removal, entries, keyring, registry
from scopewright.issuer.tokens import sign
from scopewright.stores.kubernetes import objects as kube_objects
from scopewright.stores.kubernetes import store as kubernetes
from scopewright.stores.kubernetes.store import KubernetesStore
from tests.simulation.dues import DUE

NEVER = datetime.max.replace(tzinfo=UTC)

log = logging.getLogger("scopewright.defect")


@dataclass(frozen=True)
class Defect:
    """`invariant` is the one that it breaks; others may notice it first and are listed in `also`."""

    name: str
    invariant: int
    target: Any
    attribute: str
    make: Callable[[Any], Any]
    """From the real thing, the broken one."""
    also: tuple[int, ...] = ()
    quick: bool = True
    """Whether it is tried in every `make test`."""


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
        return real(record, replace(timing, lead=timedelta(0)), now)

    return published


def _goes_at_once(real: Any) -> Any:
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


def _gone_forgotten(real: Any) -> Any:
    def put_managed(self: Cache, existing: Any, entries: Any) -> Any:
        self._managed_deleted.clear()
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


def _anything_is_ours(real: Any) -> Any:
    def standing(*args: Any) -> Any:
        found = real(*args)
        return SecretOwnership.EDITED if found is SecretOwnership.FOREIGN else found

    return standing


def _unproven(real: Any) -> Any:
    async def confirm_deleted(*_: Any) -> str:
        return "deleted"

    return confirm_deleted


def _never_marked(real: Any) -> Any:
    return lambda record, existing, orphaned_time: None


def _reads_for_each(real: Any) -> Any:
    async def answer(self: Any, http: Any) -> Any:
        with suppress(OAuthError, Rejected, Unavailable):  # a name that is wrong must fail
            await self.endpoints.token._read_through._read(parse(http).presented.client_id)
        decided = real(self, http)
        return decided if isinstance(decided, Answer) else await decided

    return answer


def _never_fresh(real: Any) -> Any:
    async def refresh(*_: Any, **__: Any) -> None:
        return None

    return refresh


def _says_the_secret(real: Any) -> Any:
    async def write(self: Reconciler, key: Any, desired: Any) -> Any:
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


def _name_is_identity(real: Any) -> Any:
    return lambda view: view.record


def _signs_when_young(real: Any) -> Any:
    def choose(jwks: Any, signing_key: Any, now: Any, tail: Any) -> Any:
        return real(jwks, signing_key, now + 20 * 3600, tail)

    return choose


def _no_end(real: Any) -> Any:
    return lambda grant, key, issuer, issued: issued + min(grant.server.record.lifetime, issuer.max_token_lifetime)


def _nothing_is_invalid(real: Any) -> Any:
    return lambda *_: ""


def _invalid_after_a_rotation(real: Any) -> Any:
    """As long as the client has an earlier credential."""

    def invalid_reason(inspected: Any, known: Any, revocations: Any, now: Any) -> Any:
        client = known.client(inspected.summary.client_id)
        if client and len(client.credentials) + len(client.keys) > 1:
            return "revoked"
        return real(inspected, known, revocations, now)

    return invalid_reason


def _not_written(real: Any) -> Any:
    async def write(self: Any) -> bool:
        return True

    return write


def _last_list_counts(real: Any) -> Any:
    def take(self: Any, change: Any) -> None:
        self._record, self._pending = RevocationRecord(), []
        real(self, change)

    return take


def _no_losses(real: Any) -> Any:
    return lambda *_: None


def _newest_pair_only(real: Any) -> Any:
    return lambda record: real(record)[-1:]


def _slots_used_up(real: Any) -> Any:
    """Each attempt makes another credential, and where there is no room for one, nobody asks for another look."""

    def issue(view: Any, found: Any, cause: Any, kind: Any) -> Any:
        made = real(replace(view, attempt=None, attempt_refused=False, failed_writes=()), found, cause, kind)
        return replace(made, retry_time=NEVER) if isinstance(made, IssueFailure) and found.current else made

    return issue


def _no_other_look(real: Any) -> Any:
    async def finish(self: Reconciler, key: Any, plan: Any, so_far: Any) -> Any:
        due = await real(self, key, plan, so_far)
        return None if self._retries.retry_time(key) else due

    return finish


DEFECTS: tuple[Defect, ...] = (
    Defect("the Secret is written before the record", 1, issuing, "_plan", _secret_first),
    Defect("the old hash goes at once", 1, client_record, "apply_overlap", _no_overlap, also=(8,)),
    Defect("a key signs as soon as it is published", 2, signing, "with_times", _signs_at_publication),
    Defect("a key leaves the JWKS while its tokens are valid", 2, signing, "with_times", _goes_at_once),
    Defect("the issuer signs with a key before its time", 2, keyring, "_choose", _signs_when_young, also=(7,)),
    Defect("grants are ignored by the issuer", 3, registry, "resolve", _grants_ignored),
    Defect("a token outlives its grant", 3, sign, "_expiry", _no_end, also=(2,), quick=False),
    Defect("a late answer brings back what is gone", 4, Cache, "put_managed", _gone_forgotten, also=(1,), quick=False),
    Defect("a record is written again though it is in place", 4, client_record, "holds", _always_writes),
    Defect("what was revoked is adopted again", 5, clients, "adoptable_credential", _revoked_comes_back, quick=False),
    Defect("a PUT without a resourceVersion", 5, kubernetes, "compose", _no_version),
    Defect("a foreign Secret counts as ours", 6, client_secret, "secret_ownership", _anything_is_ours),
    Defect("an orphan goes without proof", 6, KubernetesStore, "confirm_deleted", _unproven, quick=False),
    Defect("a record that is kept is not refused", 11, orphan_records, "mark_write", _never_marked, quick=False),
    Defect("every token reads its record", 7, service.Issuer, "decide", _reads_for_each),
    Defect("no fresh read before a refusal", 8, ReadThrough, "refresh", _never_fresh, also=(1,)),
    Defect("a secret in a log line", 9, Reconciler, "_write", _says_the_secret),
    Defect("a finalizer", 10, kubernetes, "compose", _finalizer),
    Defect("an owner that waits", 10, kube_objects, "_owner_reference", _blocks_owner),
    Defect("only the newest key pair proves anything", 1, entries, "_keys", _newest_pair_only, also=(8,)),
    Defect(
        "introspection does not ask what is withdrawn",
        3,
        introspection,
        "invalid_reason",
        _nothing_is_invalid,
        also=(2, 5, 11),
    ),
    Defect("a rotation ends the tokens of a client", 8, introspection, "invalid_reason", _invalid_after_a_rotation),
    Defect("a revocation is not written", 5, Revocations, "_write", _not_written),
    Defect("the last record of revocations is all that counts", 5, Revocations, "take", _last_list_counts, quick=False),
    Defect("a withdrawal is not in the feed", 3, access_removal, "of_server", _no_losses),
    Defect("a name instead of a UID", 11, client_secret, "own_record", _name_is_identity),
    Defect("retries use up the slots of a record", DUE, clients, "issue_credential", _slots_used_up, quick=False),
    Defect("what was refused is not looked at again", DUE, Reconciler, "_finish", _no_other_look, quick=False),
)


def applied(defect: Defect) -> Any:
    """A context in which the real code has this defect."""
    return patch.object(defect.target, defect.attribute, defect.make(getattr(defect.target, defect.attribute)))
