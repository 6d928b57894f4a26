"""docs/metrics.md, out of the code: every metric of operator and issuer, and every alert of the chart. `[--check]`.

What they are called, mean and are labelled with comes from what the code exports. What to do is said here; a metric or
an alert without it fails.
"""

import re
import sys
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import yaml
from made import keep
from prometheus_client.metrics_core import Metric

from scopewright.api import KINDS
from scopewright.controller.attention import Problem
from scopewright.controller.cache import Cache
from scopewright.controller.keymaking import make_key
from scopewright.controller.levels import Levels, Told
from scopewright.controller.metrics import Metrics as OperatorMetrics
from scopewright.controller.reconcile import parse_declared
from scopewright.core.config import Config
from scopewright.core.objects import Existing, Ref
from scopewright.core.records import ENTRY, PRIVATE_KEY_ENTRY, SIGNING_KEY_TYPE, KeyRecord, encode, key_record_name
from scopewright.issuer.observability.metrics import Metrics as IssuerMetrics
from scopewright.issuer.state.registry import Registry

PAGE: Final = Path(__file__).with_name("metrics.md")
ALERTS: Final = Path(__file__).resolve().parents[1] / "charts/scopewright/files/alerts.yaml"
OPEN: Final = {
    "signing_key": "names of SigningKeys, which the platform alone makes",
    "kid": "key ids of published keys, at most 64 for each SigningKey",
    "object_namespace": "namespaces of at most 100 objects",
    "object": "names of at most 100 objects",
    "problem": ", ".join(f"`{problem}`" for problem in Problem),
    "condition_reason": "[reasons of a status](configuration.md#status-conditions), causes of a rotation, or empty",
    "version": "the version of this package",
    "owner_namespace": "namespaces of tenants, at most 20: those that have most",
}
"""Labels whose values the code does not list, and what bounds them."""

UNITS: Final = {"_timestamp_seconds": "seconds since the epoch", "_seconds": "seconds", "_bytes": "bytes"}
EITHER: Final = {
    "scopewright_leader": "0 or 1",
    "scopewright_signing_key_declared": "0 or 1",
    "scopewright_build_info": "1",
}

TO_DO: Final = {
    "scopewright_build_info": "Two versions for longer than a rollout: look for a Pod that does not start.",
    "scopewright_reconcile_seconds": (
        "Slow with `scopewright_api_request_seconds`: the API server. Else: give it CPU."
    ),
    "scopewright_reconcile_failures": "See [ScopewrightReconcileFailing](#scopewrightreconcilefailing).",
    "scopewright_apply_to_ready_seconds": (
        "Look at the queue, the API server's time and the age of the watches. A SigningKey beside others takes "
        "`publishAhead`, by design."
    ),
    "scopewright_api_requests": "See [ScopewrightApiErrors](#scopewrightapierrors).",
    "scopewright_api_request_seconds": "Look at the API server and etcd; more than 5 s costs the operator its Lease.",
    "scopewright_leader": "See [ScopewrightNoLeader](#scopewrightnoleader).",
    "scopewright_queue_depth": (
        "It is as long as there are objects when a replica begins to lead, and empties at some hundred a second. "
        "It stays long: look at the time and the failures of reconciliations."
    ),
    "scopewright_watch_overdue_seconds": "See [ScopewrightWatchSilent](#scopewrightwatchsilent).",
    "scopewright_watch_heard_timestamp_seconds": "See [ScopewrightWatchSilent](#scopewrightwatchsilent).",
    "scopewright_api_server_last_contact_timestamp_seconds": (
        "See [ScopewrightApiServerUnreachable](#scopewrightapiserverunreachable)."
    ),
    "scopewright_issuer_api_server_last_contact_timestamp_seconds": (
        "See [ScopewrightApiServerUnreachable](#scopewrightapiserverunreachable)."
    ),
    "scopewright_watch_retries": (
        "All the time: the log has the last error once a minute. A missing right, or an API server that refuses load."
    ),
    "scopewright_rights_missing": "See [ScopewrightRightsMissing](#scopewrightrightsmissing).",
    "scopewright_orphans_held": "See [ScopewrightOrphansHeld](#scopewrightorphansheld).",
    "scopewright_orphans_held_by_namespace": "See [ScopewrightOrphansHeld](#scopewrightorphansheld).",
    "scopewright_object_problem": (
        "See [ScopewrightObjectNotReady](#scopewrightobjectnotready) and "
        "[ScopewrightObjectFailing](#scopewrightobjectfailing)."
    ),
    "scopewright_object_problems_truncated": (
        "Not 0: the metric names some of each namespace; `kubectl get oauth -A` has all."
    ),
    "scopewright_records": (
        "Far from the number of declared objects, or from `scopewright_issuer_records`: see "
        "[ScopewrightRecordsStale](#scopewrightrecordsstale), and the operator's log for malformed records."
    ),
    "scopewright_conditions": "`kubectl get oauth -A` shows which; the message of the condition says what to do.",
    "scopewright_credential_rotations_overdue": (
        "See [ScopewrightCredentialRotationOverdue](#scopewrightcredentialrotationoverdue)."
    ),
    "scopewright_signing_keys": "See [ScopewrightNoSigningKey](#scopewrightnosigningkey).",
    "scopewright_signing_key_activation_timestamp_seconds": "In the past with state Pending: is the clock right?",
    "scopewright_signing_key_retirement_timestamp_seconds": (
        "See [ScopewrightSigningKeyExpiring](#scopewrightsigningkeyexpiring)."
    ),
    "scopewright_signing_key_removal_timestamp_seconds": (
        "In the past: the operator does not reconcile. Does it lead?"
    ),
    "scopewright_signing_key_next_rotation_timestamp_seconds": (
        "See [ScopewrightRotationOverdue](#scopewrightrotationoverdue)."
    ),
    "scopewright_signing_key_signs_until_timestamp_seconds": (
        "See [ScopewrightSigningKeyExpiring](#scopewrightsigningkeyexpiring)."
    ),
    "scopewright_signing_key_declared": "See [ScopewrightSigningKeyDeleted](#scopewrightsigningkeydeleted).",
    "scopewright_signing_key_resource_servers": (
        "Not 0 for a SigningKey that is not declared: see "
        "[ScopewrightSigningKeyDeleted](#scopewrightsigningkeydeleted)."
    ),
    "scopewright_issuer_requests": (
        "See [ScopewrightTokensFailing](#scopewrighttokensfailing); [errors.md](errors.md) has each error."
    ),
    "scopewright_issuer_refusals_of_known_clients": "See [ScopewrightClientRefused](#scopewrightclientrefused).",
    "scopewright_issuer_request_seconds": "See [ScopewrightTokensSlow](#scopewrighttokensslow).",
    "scopewright_issuer_connections": "See [ScopewrightConnectionsFull](#scopewrightconnectionsfull).",
    "scopewright_issuer_connection_memory_bytes": (
        "Near its limit for long: see [ScopewrightConnectionsFull](#scopewrightconnectionsfull)."
    ),
    "scopewright_issuer_connection_memory_limit_bytes": "It is `issuer.connectionMemory`, once for each worker.",
    "scopewright_issuer_connections_closed": "See [ScopewrightConnectionsFull](#scopewrightconnectionsfull).",
    "scopewright_issuer_transport_refusals": (
        "Many of one kind: a client or a proxy that does not speak HTTP/1.1 or TLS 1.2; [errors.md](errors.md) lists "
        "the refusals. 503: see [ScopewrightConnectionsFull](#scopewrightconnectionsfull)."
    ),
    "scopewright_issuer_records": "See [ScopewrightRecordsStale](#scopewrightrecordsstale).",
    "scopewright_issuer_served_keys": "Not the same in all Pods for longer than a minute: one of them is stale.",
    "scopewright_issuer_workers": "It is what `issuer.workers` says.",
    "scopewright_issuer_ready_workers": "See [ScopewrightIssuerNotReady](#scopewrightissuernotready).",
    "scopewright_issuer_watch_heard_timestamp_seconds": "See [ScopewrightRecordsStale](#scopewrightrecordsstale).",
}
"""By metric: what to do when it looks bad."""

RUN_BOOKS: Final = {
    "ScopewrightRotationOverdue": (
        "See why in `kubectl -n <namespace> describe signingkey <name>` and in the operator's log. Usual: the "
        "annotation `scopewright.dev/paused`, nobody leads ([ScopewrightNoLeader](#scopewrightnoleader)), a quota "
        "or policy that refuses Secrets, a ConfigMap in the way (`ConfigMapConflict`). The key that signs goes on "
        "until `config.outageBudget` is used up."
    ),
    "ScopewrightSigningKeyExpiring": (
        "As above, and now. It fires when half of what `config.outageBudget` allows is gone, and for a SigningKey that "
        "was deleted and is still used three days before its end. The date is in `kubectl get signingkey` as Signs "
        "Until. Once the cause is gone the operator makes and publishes the next key within seconds. Where it is too "
        "late for `publishAhead`, the new key signs at once; verifiers that cached the JWKS refuse its tokens until "
        "they fetch it again."
    ),
    "ScopewrightSigningKeyDeleted": (
        "Declare the SigningKey again: it adopts its keys, and their rotation goes on. If it was meant to go, have the "
        "owners of the ResourceServers name another in `tokens.signingKey`: `kubectl get resourceservers -A -o "
        "custom-columns=NS:.metadata.namespace,NAME:.metadata.name,KEY:.spec.tokens.signingKey`."
    ),
    "ScopewrightNoSigningKey": (
        "No token of the ResourceServers that use this SigningKey is issued. Was the SigningKey deleted, or were "
        "its records? Declare it again, or find in the operator's log why none is made."
    ),
    "ScopewrightCredentialRotationOverdue": (
        "`kubectl get oauthclients -A -o "
        "custom-columns=NS:.metadata.namespace,NAME:.metadata.name,NEXT:.status.credentials.nextRotationTime` "
        "shows which are due by age; those of another `cause` have the condition RotationFailing, or say in Ready why: "
        "a Secret that is not ours, a quota, four credentials that all still overlap, healing that is limited. "
        "With cause `rotate_annotation` or `revoked_before` a credential has perhaps leaked: set "
        "`spec.rotation.revokedBefore`, which needs no write of the Secret to take effect. Where nothing says why, "
        "does the operator lead ([ScopewrightNoLeader](#scopewrightnoleader))?"
    ),
    "ScopewrightRotationFailing": (
        "`kubectl describe` of the object: the condition RotationFailing has the API server's reason and message, "
        "which name the webhook, the policy or the quota ([reasons](configuration.md#status-conditions)). Once the "
        "cause is gone, the rotation follows within 15 s. The earlier credential or key goes on meanwhile."
    ),
    "ScopewrightPreviousCredentialInUse": (
        "`kubectl get oauthclients -A` and the condition PreviousInUse name the client. Have its Pods read the "
        "Secret again: mount it instead of passing it as environment variables, or restart them."
    ),
    "ScopewrightClientRefused": (
        "The issuer's audit lines say who and why: `event` token, `result` as the alert says, `client`, `reason`. "
        "`wrong_secret`: it holds an old or another Secret. `invalid_target` and `invalid_scope`: it asks for "
        "what nobody grants; AccessGranted of the OAuthClient prints the ScopeGrant. From a `peer` that is none "
        "of ours: somebody tries client ids, which do not need to be secret; credentials do, and are. A `peer` "
        "that is a proxy of yours tells nothing until `issuer.trustedProxies` names it."
    ),
    "ScopewrightTokensFailing": (
        "The audit lines have the `reason`: `no_signing_key` "
        "([ScopewrightNoSigningKey](#scopewrightnosigningkey)), `store_unavailable` (the API server is away while "
        "unknown credentials are looked up, or Redis or Valkey is), `exception` (a bug: report it with the log). It "
        "is compared with what was issued, so that refusals make it no smaller. `slowed` is none of it: many wrong "
        "credentials came in, from the `peer` of those lines."
    ),
    "ScopewrightTokensSlow": (
        "Signing takes CPU: compare with the Pods' CPU and its throttling. More Pods (`issuer.mode: deployment` "
        "scales), more `issuer.workers`. Slow assertions alone: look at Redis or Valkey."
    ),
    "ScopewrightConnectionsFull": (
        "The closed connections were waiting for a handshake, for a request or for their client to read; new callers "
        "get in all the same. `cause`: `address_limit` is one address beyond its share "
        "(`issuer.connectionsPerAddress`, a quarter of `issuer.connectionMemory`), `evicted` all together beyond "
        "`issuer.connectionMemory`. Is the address that of your Ingress or load balancer? Raise both, or set "
        "`issuer.connectionsPerAddress` to 0. Are there more callers than before? Raise `issuer.connectionMemory` and "
        "the memory limit, or add Pods. Otherwise a caller holds connections open: find the address in the "
        "connections of the Pod's node, and keep it out with `networkPolicy.issuerFrom` or before the issuer."
    ),
    "ScopewrightIssuerNotReady": (
        "Its `/readyz` says what it lacks: the issuer record or a signing key (does the operator run?), or the "
        "lists (may the issuer's ServiceAccount read its namespace, is the API server there?). `No issuer is "
        "there`: no Pod, or Prometheus does not reach it (`networkPolicy`)."
    ),
    "ScopewrightRecordsStale": (
        "The issuer's log says what following meets. Is the API server away, has the ServiceAccount its rights, "
        "does a NetworkPolicy keep them apart? Restart the Pod if it alone is concerned: it starts from its "
        "snapshot."
    ),
    "ScopewrightNoLeader": (
        "Are operator Pods there, and ready? Their log says why not: rights (`a right is missing`), CRDs, the API "
        "server. `kubectl -n <namespace> get lease scopewright-operator -o yaml` shows who led last. Nothing that "
        "is declared takes effect meanwhile; tokens go on as long as there is a signing key."
    ),
    "ScopewrightWatchSilent": (
        "The process ends by itself where kopf's watch misses changes (liveness). Where it comes back: look at "
        "the API server's load (`apiserver_terminated_watchers_total`), and at proxies that cut idle connections."
    ),
    "ScopewrightObjectNotReady": (
        "`kubectl -n <object_namespace> describe <kind> <object>` has the message; "
        "[configuration.md](configuration.md#status-conditions) says who can help. Mostly it is the team that "
        "declared it: route the alert by its label `object_namespace`."
    ),
    "ScopewrightObjectFailing": (
        "`RotationOverdue`, `RotationFailing`: the condition RotationFailing has the reason that the API server gave "
        "([rotations that cannot be written](rotation.md#failed-rotations)). `ReconcileFailing`: the "
        "operator's log has `is tried again in` with this object's name."
    ),
    "ScopewrightApiServerUnreachable": (
        "The log says when contact was lost and why. All Pods: is the API server there? One Pod: its node's network, "
        "a NetworkPolicy, a load balancer that dropped the connections; every connection is opened anew until one "
        "gets an answer, so a restart helps no more than waiting."
    ),
    "ScopewrightApiErrors": (
        "`rejected`: a right, a quota or an admission policy; the log and the events name it. Was the chart "
        "upgraded, and its rights with it? `unavailable`: the API server does not answer, or asks to be left "
        "alone (429)."
    ),
    "ScopewrightRightsMissing": (
        "`/readyz` and the log (`a right is missing`) name each right. Was the chart upgraded without its rights, or "
        "or were the roles altered? [A right is lost](operations.md#missing-permission) has the commands."
    ),
    "ScopewrightReconcileFailing": (
        "The log says which object and why: `tried again in`. `unavailable`: the API server, or an object that "
        "somebody else changes all the time (`does not settle`). `unexpected`: a bug; report it with the "
        "traceback."
    ),
    "ScopewrightOrphansHeld": (
        "Was something deleted there by mistake, or a backup restored in part? Bring back what is missing: clients of "
        "before are accepted again as they were. If they were all meant to go, allow just so many: `kubectl -n "
        "<namespace> annotate configmap scopewright-issuer scopewright.dev/allow-orphans=<owner_namespace>=<number>`. "
        "The run-book is in [operations.md](operations.md#many-orphaned-records)."
    ),
}
"""By alert."""


@dataclass(frozen=True)
class Exported:
    name: str
    type: str
    help: str
    samples: tuple[str, ...]
    labels: dict[str, set[str]] = field(default_factory=dict)

    @property
    def shown(self) -> str:
        return f"{self.name}_total" if self.type == "counter" else self.name

    @property
    def unit(self) -> str:
        found = next((unit for end, unit in UNITS.items() if self.name.endswith(end)), "")
        return found or EITHER.get(self.name, "count")


def operator() -> list[Exported]:
    return _exported(of_operator())


def issuer() -> list[Exported]:
    return _exported(of_issuer())


def of_issuer() -> Iterator[Metric]:
    registry = Registry("scopewright-system", lambda ended: None)
    return IssuerMetrics(registry, lambda: 1.0, heard=lambda kind: 1.0, last_contact=lambda: 1.0).collect()


def names() -> set[str]:
    """Of the series, as queries name them."""
    return {name for metric in (*operator(), *issuer()) for name in metric.samples}


def label_values() -> dict[str, dict[str, set[str]]]:
    """By series and label."""
    return {name: metric.labels for metric in (*operator(), *issuer()) for name in metric.samples}


def of_operator() -> Iterator[Metric]:
    """With one SigningKey and a key of it, as of any operator."""
    now = datetime.now(UTC)
    config = Config(issuer="https://issuer.example.org")
    world = Cache(config.name, config.namespace)
    meta = {"name": "default", "namespace": config.namespace, "uid": "1", "resourceVersion": "1"}
    world.put(parse_declared({"kind": "SigningKey", "metadata": meta, "spec": {}}))
    key = make_key("ES256")
    record = KeyRecord(
        kid=key.jwk["kid"], signing_key="default", algorithm="ES256", config_map="scopewright-jwks", jwk=key.jwk,
        creation_time=now, signing_start_time=now, signing_end_time=now + timedelta(days=1),
        verification_end_time=now + timedelta(days=2),
    )  # fmt: skip
    at = Existing(Ref("Secret", config.namespace, key_record_name(record.kid)), "2", "2", SIGNING_KEY_TYPE)
    world.put_owned(at, {ENTRY: encode(record), PRIVATE_KEY_ENTRY: key.pem})
    told = Told(
        lambda: True, lambda: 0, lambda: 0.0, lambda: {"leave": 21}, lambda kind: 1.0, lambda: 1.0, lambda: 0,
        lambda: [Ref(kind, "leave", "example") for kind in KINDS],
    )  # fmt: skip
    yield from OperatorMetrics().registry.collect()
    yield from Levels(world, config, lambda: datetime.now(UTC), told).collect()


def _exported(families: Iterator[Metric]) -> list[Exported]:
    found = []
    for family in families:
        if not family.name.startswith("scopewright_"):
            continue
        labels: dict[str, set[str]] = {}
        for sample in family.samples:
            for label, value in sample.labels.items():
                labels.setdefault(label, set()).add(value)
        labels.pop("le", None)
        samples = tuple(dict.fromkeys(s.name for s in family.samples if not s.name.endswith("_created")))
        found.append(Exported(family.name, family.type, family.documentation, samples, labels))
    return found


def page() -> str:
    operators, issuers = operator(), issuer()
    exported = {metric.name for metric in (*operators, *issuers)}
    alerts = [rule for group in yaml.safe_load(ALERTS.read_text())["groups"] for rule in group["rules"]]
    _complete("TO_DO", set(TO_DO), exported)
    _complete("RUN_BOOKS", set(RUN_BOOKS), {rule["alert"] for rule in alerts})
    lines = [
        "# Metrics",
        "",
        *_wrapped(
            "Every metric, and every alert of the chart, made from the code by `make docs`. "
            "[observability.md](observability.md) says how to have them scraped. A label has the values that stand "
            "here and no others: none comes from a caller."
        ),
        "",
        "## Operator",
        "",
        *_wrapped(
            "On `/metrics` of port 8081, with `process_*` of this process. Every replica tells all of it; only the "
            "leader reconciles, so take the `max` of what is a level and the `sum` of what is counted."
        ),
        "",
        *_table(operators),
        "",
        "## Issuer",
        "",
        *_wrapped(
            "On `/metrics` of `--metrics-listen` (port 9402 in the chart). With several workers, what is counted is "
            "that of all; records and served keys are those of the one that answers."
        ),
        "",
        *_table(issuers),
        "",
        "## Alerts",
        "",
        *_wrapped(
            "Of the chart's PrometheusRule (`prometheusRule.enabled`); `tests/chart/alerts.yaml` has figures that fire "
            "each of them, and others that do not."
        ),
    ]
    for rule in alerts:
        lines += ["", *_alert(rule)]
    return "\n".join([*lines, ""])


def _complete(name: str, said: set[str], needed: set[str]) -> None:
    if said != needed:
        sys.exit(
            f"docs/metrics.py: {name} lacks {sorted(needed - said)}, and has what is not there: {sorted(said - needed)}"
        )


def _table(metrics: list[Exported]) -> Iterator[str]:
    yield "| metric | type | unit | labels | meaning | when it looks bad |"
    yield "| --- | --- | --- | --- | --- | --- |"
    for m in metrics:
        labels = "; ".join(f"`{label}`: {_values(label, values)}" for label, values in m.labels.items())
        yield f"| `{m.shown}` | {m.type} | {m.unit} | {labels} | {m.help} | {TO_DO[m.name]} |"


def _values(label: str, values: set[str]) -> str:
    return OPEN.get(label) or ", ".join(f"`{value}`" for value in sorted(values))


def _alert(rule: dict[str, Any]) -> Iterator[str]:
    lasting = f", after {rule['for']}" if "for" in rule else ""
    described = re.sub(r"\{\{.*?\}\}", "…", rule["annotations"]["description"])
    yield f"### {rule['alert']}"
    yield ""
    yield from _wrapped(f"{rule['labels']['severity'].capitalize()}{lasting}. {described}")
    yield ""
    yield from _wrapped(RUN_BOOKS[rule["alert"]])


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(text, 120, break_long_words=False, break_on_hyphens=False)


def main() -> None:
    keep(PAGE, page())


if __name__ == "__main__":
    main()
