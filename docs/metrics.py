"""Generates docs/metrics.md: every metric of operator, issuer and gateway, and every alert of the chart. `[--check]`.

Names, meanings and labels are those that the code exports. The remedies are here; a metric or an alert without one
fails.
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
from scopewright.controller.cache import Cache
from scopewright.controller.key_generation import make_key
from scopewright.controller.metrics import OperatorMetrics
from scopewright.controller.object_problems import ObjectProblem
from scopewright.controller.state_metrics import GaugeSources, StateMetrics
from scopewright.core.config import Config
from scopewright.core.declared import parse_declared
from scopewright.core.objects import Existing, Ref
from scopewright.core.records.codec import encode
from scopewright.core.records.identity_provider import IdentityProviderRecord
from scopewright.core.records.names import ENTRY, PRIVATE_KEY_ENTRY, SIGNING_KEY_TYPE, key_record_name
from scopewright.core.records.signing_key import KeyRecord
from scopewright.gateway.apis import GatewayApi
from scopewright.gateway.decide import Decision, Refusal
from scopewright.gateway.metrics import GatewayCounters, GatewayGauges, GatewayMetrics
from scopewright.gateway.profiles import PROFILES
from scopewright.gateway.refusals import GatewayReason, GatewayRefused
from scopewright.issuer.observability.metrics import IssuerMetrics
from scopewright.issuer.observability.user_metrics import UserLoad
from scopewright.issuer.state.providers import Provider
from scopewright.issuer.state.registry import Registry
from scopewright.verifier import Verifier
from scopewright.verifier.refusals import KeysUnavailable, Reason, TokenRejected
from scopewright.verifier.rules import Rules

PAGE: Final = Path(__file__).with_name("metrics.md")
_FILES: Final = Path(__file__).resolve().parents[1] / "charts/scopewright/files"
OPEN: Final = {
    "signing_key": "names of SigningKeys, which only the platform creates",
    "kid": "key ids of published keys, at most 64 for each SigningKey",
    "object_namespace": "namespaces of at most 100 objects",
    "object": "names of at most 100 objects",
    "problem": ", ".join(f"`{problem}`" for problem in ObjectProblem),
    "error_reason": "[reasons of `user_error`](observability.md#audit-lines-about-users), or `other`",
    "condition_reason": "[reasons of a status](configuration.md#status-conditions), causes of a rotation, or empty",
    "version": "the version of this package",
    "provider": "names of at most 64 identity providers in force",
    "api": "names of ResourceServers with hostnames; empty if the request leads to none, or beyond 8,192 series",
    "api_namespace": "their namespaces",
    "rule": "names of their rules; empty if none decided",
    "owner_namespace": "at most 20 namespaces of tenants: those with the highest values",
}
"""Labels whose values the code does not list, with their bounds."""

UNITS: Final = {"_timestamp_seconds": "seconds since the epoch", "_seconds": "seconds", "_bytes": "bytes"}
EITHER: Final = {
    "scopewright_issuer_session_store_shared": "0 or 1",
    "scopewright_issuer_session_store_up": "0 or 1",
    "scopewright_leader": "0 or 1",
    "scopewright_signing_key_declared": "0 or 1",
    "scopewright_build_info": "1",
}

REMEDIES: Final = {
    "scopewright_build_info": "Two versions for longer than a rollout: find the Pod that does not start.",
    "scopewright_reconcile_seconds": (
        "If `scopewright_api_request_seconds` is slow too: check the API server. Otherwise raise the CPU request."
    ),
    "scopewright_reconcile_failures": "See [ScopewrightReconcileFailing](#scopewrightreconcilefailing).",
    "scopewright_apply_to_ready_seconds": (
        "Check the queue, the latency of the API server and the age of the watches. A second SigningKey takes "
        "`publishAhead`, by design."
    ),
    "scopewright_api_requests": "See [ScopewrightApiErrors](#scopewrightapierrors).",
    "scopewright_api_request_seconds": "Check the API server and etcd. Above 5 s the operator loses its Lease.",
    "scopewright_leader": "See [ScopewrightNoLeader](#scopewrightnoleader).",
    "scopewright_queue_depth": (
        "It contains every object when a replica becomes the leader, and empties at a few hundred per second. "
        "If it stays long: check duration and failures of reconciliations."
    ),
    "scopewright_watch_overdue_seconds": "See [ScopewrightWatchSilent](#scopewrightwatchsilent).",
    "scopewright_watch_heard_timestamp_seconds": "See [ScopewrightWatchSilent](#scopewrightwatchsilent).",
    "scopewright_api_server_last_contact_timestamp_seconds": (
        "See [ScopewrightApiServerUnreachable](#scopewrightapiserverunreachable)."
    ),
    "scopewright_issuer_api_server_last_contact_timestamp_seconds": (
        "See [ScopewrightApiServerUnreachable](#scopewrightapiserverunreachable)."
    ),
    "scopewright_issuer_session_store_shared": (
        "0: users get 503 until all replicas have one store. Set `users.sessions.valkey`, or run one replica "
        "([Session stores not shared](operations.md#session-stores-not-shared))."
    ),
    "scopewright_watch_retries": (
        "If it keeps growing: the log has the last error once a minute. Usual causes are a missing permission, or an "
        "API server that refuses load."
    ),
    "scopewright_rights_missing": "See [ScopewrightRightsMissing](#scopewrightrightsmissing).",
    "scopewright_orphans_held": "See [ScopewrightOrphansHeld](#scopewrightorphansheld).",
    "scopewright_orphans_held_by_namespace": "See [ScopewrightOrphansHeld](#scopewrightorphansheld).",
    "scopewright_object_problem": (
        "See [ScopewrightObjectNotReady](#scopewrightobjectnotready) and "
        "[ScopewrightObjectFailing](#scopewrightobjectfailing)."
    ),
    "scopewright_object_problems_truncated": (
        "Not 0: the metric has only some objects of each namespace; `kubectl get oauth -A` lists all."
    ),
    "scopewright_records": (
        "Far from the number of declared objects, or from `scopewright_issuer_records`: see "
        "[ScopewrightRecordsStale](#scopewrightrecordsstale), and the operator's log for malformed records."
    ),
    "scopewright_conditions": "`kubectl get oauth -A` lists the objects; the message of the condition has the fix.",
    "scopewright_credential_rotations_overdue": (
        "See [ScopewrightCredentialRotationOverdue](#scopewrightcredentialrotationoverdue)."
    ),
    "scopewright_signing_keys": "See [ScopewrightNoSigningKey](#scopewrightnosigningkey).",
    "scopewright_signing_key_activation_timestamp_seconds": "In the past with state Pending: check the clock.",
    "scopewright_signing_key_retirement_timestamp_seconds": (
        "See [ScopewrightSigningKeyExpiring](#scopewrightsigningkeyexpiring)."
    ),
    "scopewright_signing_key_removal_timestamp_seconds": (
        "In the past: the operator does not reconcile. Check for a leader."
    ),
    "scopewright_signing_key_next_rotation_timestamp_seconds": (
        "See [ScopewrightRotationOverdue](#scopewrightrotationoverdue)."
    ),
    "scopewright_signing_key_signs_until_timestamp_seconds": (
        "See [ScopewrightSigningKeyExpiring](#scopewrightsigningkeyexpiring)."
    ),
    "scopewright_signing_key_declared": "See [ScopewrightSigningKeyDeleted](#scopewrightsigningkeydeleted).",
    "scopewright_signing_key_resource_servers": (
        "Not 0 for a SigningKey that does not exist: see [ScopewrightSigningKeyDeleted](#scopewrightsigningkeydeleted)."
    ),
    "scopewright_issuer_requests": (
        "See [ScopewrightTokensFailing](#scopewrighttokensfailing); [errors.md](errors.md) has each error."
    ),
    "scopewright_issuer_refusals_of_known_clients": "See [ScopewrightClientRefused](#scopewrightclientrefused).",
    "scopewright_issuer_provider_requests": (
        "Other than `ok`: see [ScopewrightProviderFailing](#scopewrightproviderfailing). `AddressNotAllowed`: see "
        "`SECURITY.md`."
    ),
    "scopewright_issuer_user_requests": (
        "`busy`, `timeout`: see [ScopewrightLoginPoolExhausted](#scopewrightloginpoolexhausted). `unavailable`: the "
        "session store or a provider. `failed`: a bug; report it with the log. `refused`: see "
        "`scopewright_issuer_user_error_pages_total`."
    ),
    "scopewright_issuer_user_request_seconds": (
        "Slow `callback` and `login`: the provider, or passwords that wait. All slow: the session store."
    ),
    "scopewright_issuer_user_error_pages": (
        "The audit lines `user_error` have the client. `redirect_uri_unregistered`, `unknown_client`: an application "
        "is configured wrongly. `no_attempt`, `state`, `csrf`: old pages, or browsers without cookies."
    ),
    "scopewright_issuer_logins": (
        "See [ScopewrightLoginsFailing](#scopewrightloginsfailing) and "
        "[ScopewrightPasswordsGuessed](#scopewrightpasswordsguessed). The reasons are in the "
        "[list of audit lines](observability.md#audit-lines-about-users)."
    ),
    "scopewright_issuer_user_decisions": (
        "Events of audit lines ([list](observability.md#audit-lines-about-users)). Many `access refused`: users lack a "
        "group or a ScopeGrant; the page names it."
    ),
    "scopewright_issuer_user_grants": (
        "See [ScopewrightRefreshTokenReplayed](#scopewrightrefreshtokenreplayed). `session_ended`, `user_gone`, "
        "`refresh_token_expired`: the user logs in again."
    ),
    "scopewright_issuer_user_checks": (
        "`no_answer`: see [ScopewrightProviderFailing](#scopewrightproviderfailing). `not_asked`: a provider answers "
        "too slowly for the number of its users. `refused`: narrow `claimMappings.groups.allow`."
    ),
    "scopewright_issuer_session_store_requests": (
        "See [ScopewrightSessionStoreUnavailable](#scopewrightsessionstoreunavailable). Many `conflict`: one user "
        "refreshes in many places at once."
    ),
    "scopewright_issuer_session_store_seconds": (
        "Above 10 ms: check the server or the volume, and the network to it. A file must be on a local disk."
    ),
    "scopewright_issuer_session_store_up": (
        "See [ScopewrightSessionStoreUnavailable](#scopewrightsessionstoreunavailable)."
    ),
    "scopewright_issuer_user_requests_in_progress": (
        "Near the limit: see [ScopewrightLoginPoolExhausted](#scopewrightloginpoolexhausted)."
    ),
    "scopewright_issuer_user_requests_limit": "It is 64 for each worker.",
    "scopewright_issuer_password_computations": (
        "Many `waiting`: see [ScopewrightPasswordsGuessed](#scopewrightpasswordsguessed), or add workers."
    ),
    "scopewright_issuer_request_seconds": "See [ScopewrightTokensSlow](#scopewrighttokensslow).",
    "scopewright_issuer_connections": "See [ScopewrightConnectionsFull](#scopewrightconnectionsfull).",
    "scopewright_issuer_connection_memory_bytes": (
        "Near its limit for a long time: see [ScopewrightConnectionsFull](#scopewrightconnectionsfull)."
    ),
    "scopewright_issuer_connection_memory_limit_bytes": "It is `issuer.connectionMemory`, once for each worker.",
    "scopewright_issuer_connections_closed": "See [ScopewrightConnectionsFull](#scopewrightconnectionsfull).",
    "scopewright_issuer_transport_refusals": (
        "Many of one kind: a client or a proxy does not support HTTP/1.1 or TLS 1.2; [errors.md](errors.md) lists "
        "the refusals. 503: see [ScopewrightConnectionsFull](#scopewrightconnectionsfull)."
    ),
    "scopewright_issuer_records": "See [ScopewrightRecordsStale](#scopewrightrecordsstale).",
    "scopewright_issuer_served_keys": "Different between Pods for longer than a minute: one of them is stale.",
    "scopewright_issuer_workers": "It is the value of `issuer.workers`.",
    "scopewright_issuer_ready_workers": "See [ScopewrightIssuerNotReady](#scopewrightissuernotready).",
    "scopewright_issuer_watch_heard_timestamp_seconds": "See [ScopewrightRecordsStale](#scopewrightrecordsstale).",
    "scopewright_gateway_decisions": (
        "`unavailable`: see [ScopewrightGatewayUnavailable](#scopewrightgatewayunavailable). Many `no_rule`: callers "
        "use paths or methods that the API does not declare; `plan` shows what a change of its rules allows. `no_api`: "
        "no ResourceServer has the hostname and path. `proxy_headers`, `hostname`: the proxy is configured wrongly "
        "([profiles](gateway/install.md#values))."
    ),
    "scopewright_gateway_decision_seconds": "See [ScopewrightGatewaySlow](#scopewrightgatewayslow).",
    "scopewright_gateway_audit_lines_suppressed": (
        "Not 0: one API gets very many refused requests. The metric of decisions counts all of them."
    ),
    "scopewright_gateway_apis": (
        "`unreadable`: the gateway's log names the record. It was changed by hand, or is of a later version: upgrade "
        "the gateway too."
    ),
    "scopewright_gateway_keys_received_timestamp_seconds": (
        "See [ScopewrightGatewayIssuerUnreachable](#scopewrightgatewayissuerunreachable)."
    ),
    "scopewright_gateway_revocations_received_timestamp_seconds": (
        "See [ScopewrightGatewayIssuerUnreachable](#scopewrightgatewayissuerunreachable)."
    ),
    "scopewright_gateway_connections": (
        "Near zero with traffic: proxies open a connection for each request; configure keep-alive."
    ),
    "scopewright_gateway_connection_memory_bytes": (
        "Near its limit for a long time: raise `gateway.connectionMemory` and the memory limit, or add Pods."
    ),
    "scopewright_gateway_connection_memory_limit_bytes": "It is `gateway.connectionMemory`, once for each worker.",
    "scopewright_gateway_connections_closed": (
        "`evicted`: raise `gateway.connectionMemory` and the memory limit. `timed_out` in state `idle` is usual."
    ),
    "scopewright_gateway_transport_refusals": (
        "Not 0: a proxy sends what the gateway does not read, or passes a request of a caller that it should have "
        "refused. Its callers get 500 or 503."
    ),
    "scopewright_gateway_workers": "It is the value of `gateway.workers`.",
    "scopewright_gateway_ready_workers": "See [ScopewrightGatewayNotReady](#scopewrightgatewaynotready).",
    "scopewright_gateway_watch_heard_timestamp_seconds": (
        "See [ScopewrightGatewayRecordsStale](#scopewrightgatewayrecordsstale)."
    ),
    "scopewright_gateway_api_server_last_contact_timestamp_seconds": (
        "See [ScopewrightApiServerUnreachable](#scopewrightapiserverunreachable)."
    ),
}
"""The remedy for a bad value, by metric."""

RUN_BOOKS: Final = {
    "ScopewrightRotationOverdue": (
        "`kubectl -n <namespace> describe signingkey <name>` and the operator's log have the cause. Usual causes: "
        "the annotation `scopewright.dev/paused`, no leader ([ScopewrightNoLeader](#scopewrightnoleader)), a "
        "quota or policy that refuses Secrets, a ConfigMap of the same name (`ConfigMapConflict`). The active key "
        "keeps signing until `config.outageBudget` is used up."
    ),
    "ScopewrightSigningKeyExpiring": (
        "As above, but urgent. The alert fires when half of `config.outageBudget` is used up; for a deleted "
        "SigningKey that is still used, three days before its end. `kubectl get signingkey` shows the date as "
        "Signs Until. Once the cause is fixed, the operator creates and publishes the next key within seconds. If "
        "it is too late for `publishAhead`, the new key signs at once; verifiers that cached the JWKS refuse its "
        "tokens until they fetch it again."
    ),
    "ScopewrightSigningKeyDeleted": (
        "Create the SigningKey again: it adopts its keys, and their rotation continues. If the deletion was "
        "intended, ask the owners of the ResourceServers to set another `tokens.signingKey`: `kubectl get "
        "resourceservers -A -o "
        "custom-columns=NS:.metadata.namespace,NAME:.metadata.name,KEY:.spec.tokens.signingKey`."
    ),
    "ScopewrightNoSigningKey": (
        "The issuer issues no tokens for the ResourceServers that use this SigningKey. Check if the SigningKey or "
        "its records were deleted, and create it again. Otherwise the operator's log has the reason why it has no "
        "key."
    ),
    "ScopewrightCredentialRotationOverdue": (
        "`kubectl get oauthclients -A -o "
        "custom-columns=NS:.metadata.namespace,NAME:.metadata.name,NEXT:.status.credentials.nextRotationTime` "
        "shows the rotations that are due by age. For another `cause`, the condition RotationFailing or Ready of "
        "the client has the reason: a Secret of another owner, a quota, four credentials that all overlap, or "
        "limited healing. With cause `rotate_annotation` or `revoked_before` a credential may have leaked: set "
        "`spec.rotation.revokedBefore`, which takes effect without a write of the Secret. Without a reason in the "
        "status, check for a leader ([ScopewrightNoLeader](#scopewrightnoleader))."
    ),
    "ScopewrightRotationFailing": (
        "`kubectl describe` of the object: the condition RotationFailing has the API server's reason and message, "
        "which name the webhook, the policy or the quota ([reasons](configuration.md#status-conditions)). The "
        "rotation succeeds within 15 s of the end of the cause. The earlier credential or key stays in use "
        "meanwhile."
    ),
    "ScopewrightPreviousCredentialInUse": (
        "`kubectl get oauthclients -A` and the condition PreviousInUse name the client. Make its Pods read the "
        "Secret again: mount it instead of passing it as environment variables, or restart them."
    ),
    "ScopewrightClientRefused": (
        "The issuer's audit lines have the client and the cause: `event` token, `result` as in the alert, "
        "`client`, `reason`. `wrong_secret`: the client has an old or wrong Secret. `invalid_target` and "
        "`invalid_scope`: it requests access that is not granted; AccessGranted of the OAuthClient has the "
        "missing ScopeGrant. An unknown `peer`: an outsider tries client ids, which are not secret, unlike "
        "credentials. If the `peer` is your proxy, set `issuer.trustedProxies` to see the caller."
    ),
    "ScopewrightTokensFailing": (
        "The audit lines have the `reason`: `no_signing_key` "
        "([ScopewrightNoSigningKey](#scopewrightnosigningkey)), `store_unavailable` (the API server is "
        "unavailable for lookups of unknown credentials, or Redis or Valkey is), `exception` (a bug: report it "
        "with the log). The ratio is to issued tokens, so refusals do not lower it. Results `slowed` are not "
        "included: they mean many wrong credentials from the `peer` of those lines."
    ),
    "ScopewrightTokensSlow": (
        "Signing is CPU-bound: check the CPU of the Pods and its throttling. Add Pods (`issuer.mode: deployment` "
        "scales) or `issuer.workers`. If only assertions are slow, check Redis or Valkey."
    ),
    "ScopewrightConnectionsFull": (
        "The closed connections were waiting for a handshake, for a request or for their client to read. New "
        "callers are still served. `cause` `address_limit`: one address exceeds its share "
        "(`issuer.connectionsPerAddress`, a quarter of `issuer.connectionMemory`). `cause` `evicted`: all "
        "connections together exceed `issuer.connectionMemory`. If the address is your Ingress or load balancer, "
        "raise both, or set `issuer.connectionsPerAddress` to 0. If there are more callers than before, raise "
        "`issuer.connectionMemory` and the memory limit, or add Pods. Otherwise a caller holds connections open: "
        "find its address in the connections of the Pod's node, and block it with `networkPolicy.issuerFrom` or "
        "at the proxy."
    ),
    "ScopewrightIssuerNotReady": (
        "Its `/readyz` names what is missing: the issuer record or a signing key (check that the operator runs), "
        "or the lists (check the permissions of the issuer's ServiceAccount, and the API server). `No issuer is "
        "running`: there is no Pod, or Prometheus cannot reach it (`networkPolicy`)."
    ),
    "ScopewrightRecordsStale": (
        "The issuer's log has the errors of its watches. Check the API server, the permissions of the "
        "ServiceAccount, and NetworkPolicies between them. If only one Pod is affected, restart it: it starts "
        "from its snapshot."
    ),
    "ScopewrightSessionStoreUnavailable": (
        "The issuer's log says why: `users cannot log in: …`. [Sessions of users "
        "unavailable](operations.md#sessions-of-users-unavailable) has what to do about each text. Reads may succeed "
        "while writes fail: then the store is full, or a replica."
    ),
    "ScopewrightSessionStoresNotShared": (
        "Scale the issuer to one Pod, or set `users.sessions.valkey`. [Session stores not "
        "shared](operations.md#session-stores-not-shared) has the causes and the commands."
    ),
    "ScopewrightProviderFailing": (
        "`discovery` and `keys`: the provider is away, or the network to it. `token` with `Refused`: it does not "
        "accept the client secret. [Identity provider down](operations.md#identity-provider-down) and [client secret "
        "rotated](operations.md#client-secret-of-a-provider-rotated) have the steps."
    ),
    "ScopewrightLoginsFailing": (
        "The dashboard shows which: `unavailable` is the session store or a provider "
        "([ScopewrightSessionStoreUnavailable](#scopewrightsessionstoreunavailable), "
        "[ScopewrightProviderFailing](#scopewrightproviderfailing)), `busy` and `timeout` are load "
        "([ScopewrightLoginPoolExhausted](#scopewrightloginpoolexhausted)), `failed` is a bug. `id_token`, "
        "`userinfo`, `subject`: the provider's answers are refused; the audit lines `login` have the `detail`. "
        "Reasons that any browser can cause with a made-up answer (`code`, `provider_error`, `response_iss`) are not "
        "included, nor are wrong passwords and refusals by policy."
    ),
    "ScopewrightLoginPoolExhausted": (
        "`scopewright_issuer_user_request_seconds` shows what takes long. A slow provider holds 16 of the 64 places "
        "of a process at most, waiting passwords 32. Audit lines have the `peer`: if few addresses send most "
        "requests, limit them at the proxy. Otherwise add `issuer.workers`, or Pods with a shared session store."
    ),
    "ScopewrightRefreshTokenReplayed": (
        "The audit lines with this `reason` have `client`, `subject`, `sid` and `peer`. The user must log in again. "
        "One application, again and again: it does not store the new refresh token of each answer, or refreshes in "
        "several processes more than 30 s apart; tell its owners. Otherwise suspect theft: compare `peer` with that "
        "of earlier `token` lines of this `sid`, and [end the logins of the user](operations.md#a-user-leaves)."
    ),
    "ScopewrightPasswordsGuessed": (
        "The audit lines `login` with these reasons have `peer` and `provider`; they have no user name. One address: "
        "block it at the proxy. Many: the budgets keep guessing slow, and users log in from addresses that they have "
        "used before. If the `peer` is your proxy, set `issuer.trustedProxies`: without it, all users share one "
        "budget."
    ),
    "ScopewrightGatewayNotReady": (
        "Its `/readyz` names what is missing: the records (check the API server, and the Role of the gateway's "
        "ServiceAccount) or the issuer's keys (check that its Pods reach `issuer.url`: "
        "[gateway not ready](operations.md#gateway-not-ready)). `No gateway is running`: there is no Pod, or "
        "Prometheus cannot reach it (`networkPolicy.metricsFrom`)."
    ),
    "ScopewrightGatewayUnavailable": (
        "The gateway's log says what is missing. Keys or revocations of the issuer: see "
        "[ScopewrightGatewayIssuerUnreachable](#scopewrightgatewayissuerunreachable). Replay store: check the Redis or "
        "Valkey of `gateway.replay`. [Gateway answers 503](operations.md#gateway-answers-503) has the commands."
    ),
    "ScopewrightGatewayIssuerUnreachable": (
        "Check the issuer first ([ScopewrightIssuerNotReady](#scopewrightissuernotready)). If it is healthy, check the "
        "way from the gateway's Pods to `issuer.url`: DNS, `networkPolicy.issuer`, and the Ingress or Gateway in front "
        "of it. The log of the gateway has the last error. Within ten minutes nothing is refused that is valid."
    ),
    "ScopewrightGatewayRecordsStale": (
        "The gateway's log has the errors of its watch. Check the API server, the Role of the ServiceAccount, and "
        "NetworkPolicies between them. Do not restart the Pods while the API server is unavailable: without records a "
        "gateway refuses every request."
    ),
    "ScopewrightGatewaySlow": (
        "Decisions about tokens that were seen before need no network. Check the CPU of the Pods and its throttling, "
        "and the number of new tokens: clients that do not cache their token cause a signature check for each request. "
        "Add Pods or `gateway.workers`. If only requests with DPoP are slow, check the Redis or Valkey of "
        "`gateway.replay`."
    ),
    "ScopewrightNoLeader": (
        "Check that operator Pods exist and are ready. Their log has the reason if not: permissions (`a right is "
        "missing`), CRDs, or the API server. `kubectl -n <namespace> get lease scopewright-operator -o yaml` "
        "shows the last leader. Until an operator leads, changes of custom resources take no effect. Tokens are "
        "issued as long as there is a signing key."
    ),
    "ScopewrightWatchSilent": (
        "The liveness probe restarts a process whose watches miss changes. If the alert returns, check the load "
        "of the API server (`apiserver_terminated_watchers_total`), and proxies that cut idle connections."
    ),
    "ScopewrightObjectNotReady": (
        "`kubectl -n <object_namespace> describe <kind> <object>` has the message, and "
        "[configuration.md](configuration.md#status-conditions) the remedy. Usually the owner of the object must "
        "act: route the alert by its label `object_namespace`."
    ),
    "ScopewrightObjectFailing": (
        "`RotationOverdue`, `RotationFailing`: the condition RotationFailing has the API server's reason ([failed "
        "rotations](rotation.md#failed-rotations)). `ReconcileFailing`: search the operator's log for "
        "`retrying in` with this object's name."
    ),
    "ScopewrightApiServerUnreachable": (
        "The log has the time and the cause of the loss. All Pods: check the API server. One Pod: check its "
        "node's network, NetworkPolicies, and a load balancer that dropped the connections. The process opens new "
        "connections until one gets an answer, so a restart does not help."
    ),
    "ScopewrightApiErrors": (
        "`rejected`: a permission, a quota or an admission policy; the log and the events name it. Check that the "
        "last upgrade of the chart included its roles. `unavailable`: the API server does not answer, or "
        "throttles requests (429)."
    ),
    "ScopewrightRightsMissing": (
        "`/readyz` and the log (`a right is missing`) name each permission. Check if the chart was upgraded "
        "without its roles, or if the roles were changed. [Missing permission](operations.md#missing-permission) "
        "has the commands."
    ),
    "ScopewrightReconcileFailing": (
        "The log has the object and the cause: search for `retrying in`. `unavailable`: the API server, or an "
        "object that another writer changes all the time (`does not settle`). `unexpected`: a bug; report it with "
        "the traceback."
    ),
    "ScopewrightOrphansHeld": (
        "Check for an accidental deletion in the namespace, or an incomplete restore. Restore what is missing: "
        "the earlier clients are then accepted again. If the deletion was intended, allow that number: `kubectl "
        "-n <namespace> annotate configmap scopewright-issuer "
        "scopewright.dev/allow-orphans=<owner_namespace>=<number>`. The run-book is [many orphaned "
        "records](operations.md#many-orphaned-records)."
    ),
}
"""The remedy, by alert."""


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
    return _exported(operator_families())


def issuer() -> list[Exported]:
    return _exported(issuer_families())


def gateway() -> list[Exported]:
    return _exported(gateway_families())


def gateway_families() -> Iterator[Metric]:
    """The metrics of a gateway that has decided about one API, with every result and reason."""
    metrics = GatewayMetrics(GatewayCounters.of(1))
    metrics.sources = GatewayGauges(lambda: True, lambda: (1, 0), lambda: 1.0, lambda: 1.0, lambda: 1.0, lambda: 1.0)
    verifier = Verifier("https://issuer.example.org", "https://payroll.hr.example")
    api = GatewayApi(
        "payroll/payroll", ("payroll.hr.example",), Rules((), audience="https://payroll.hr.example"), verifier
    )
    refusals: list[Refusal] = [KeysUnavailable(), *map(TokenRejected, Reason)]
    refusals += (GatewayRefused(reason, "an example") for reason in GatewayReason)
    for refusal in (None, *refusals):
        for leading_to in (None, api):
            metrics.count(Decision(PROFILES["nginx"], api=leading_to, refusal=refusal), 0.001)
    return metrics.collect()


def issuer_families() -> Iterator[Metric]:
    registry = Registry("scopewright-system", lambda ended: None)
    registry.providers.put(Provider(IdentityProviderRecord("company", "1", "Company", "https://login.example")))
    metrics = IssuerMetrics(
        registry, lambda: 1.0, last_activity=lambda kind: 1.0, last_contact=lambda: 1.0, shares_sessions=lambda: True
    )
    metrics.users.load = UserLoad
    return metrics.collect()


def names() -> set[str]:
    """The names of the series, as in queries."""
    return {name for metric in (*operator(), *issuer(), *gateway()) for name in metric.samples}


def label_values() -> dict[str, dict[str, set[str]]]:
    """The values of labels, by series and label."""
    return {name: metric.labels for metric in (*operator(), *issuer(), *gateway()) for name in metric.samples}


def operator_families() -> Iterator[Metric]:
    """The metrics of an operator with one SigningKey that has a key."""
    now = datetime.now(UTC)
    config = Config(issuer="https://issuer.example.org")
    cache = Cache(config.name, config.namespace)
    meta = {"name": "default", "namespace": config.namespace, "uid": "1", "resourceVersion": "1"}
    cache.put(parse_declared({"kind": "SigningKey", "metadata": meta, "spec": {}}))
    key = make_key("ES256")
    record = KeyRecord(
        kid=key.jwk["kid"], signing_key="default", algorithm="ES256", config_map="scopewright-jwks", jwk=key.jwk,
        creation_time=now, signing_start_time=now, signing_end_time=now + timedelta(days=1),
        verification_end_time=now + timedelta(days=2),
    )  # fmt: skip
    at = Existing(Ref("Secret", config.namespace, key_record_name(record.kid)), "2", "2", SIGNING_KEY_TYPE)
    cache.put_managed(at, {ENTRY: encode(record), PRIVATE_KEY_ENTRY: key.pem})
    sources = GaugeSources(
        lambda: True, lambda: 0, lambda: 0.0, lambda: {"leave": 21}, lambda kind: 1.0, lambda: 1.0, lambda: 0,
        lambda: [Ref(kind, "leave", "example") for kind in KINDS],
    )  # fmt: skip
    yield from OperatorMetrics().registry.collect()
    yield from StateMetrics(cache, config, lambda: datetime.now(UTC), sources).collect()


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
    operators, issuers, gateways = operator(), issuer(), gateway()
    exported = {metric.name for metric in (*operators, *issuers, *gateways)}
    groups = yaml.safe_load((_FILES / "alerts.yaml").read_text())["groups"]
    groups += yaml.safe_load((_FILES / "gateway-alerts.yaml").read_text())
    alerts = [rule for group in groups for rule in group["rules"]]
    _complete("REMEDIES", set(REMEDIES), exported)
    _complete("RUN_BOOKS", set(RUN_BOOKS), {rule["alert"] for rule in alerts})
    lines = [
        "# Metrics",
        "",
        *_wrapped(
            "All metrics of operator, issuer and gateway, and all alerts of the chart, with their remedies. `make "
            "docs` generates this page from the code. [observability.md](observability.md) describes how to scrape the "
            "metrics and enable the alerts. Labels have only the values listed here; no value comes from a caller."
        ),
        "",
        "## Operator",
        "",
        *_wrapped(
            "At `/metrics` of port 8081, with `process_*` of this process. Every replica exports all metrics, but only "
            "the leader reconciles: use the `max` of gauges and the `sum` of counters."
        ),
        "",
        *_table(operators),
        "",
        "## Issuer",
        "",
        *_wrapped(
            "At `/metrics` of `--metrics-listen` (port 9402 in the chart). With several workers, counters are those of "
            "all workers; records and served keys are those of the worker that answers."
        ),
        "",
        *_table(issuers),
        "",
        "## Gateway",
        "",
        *_wrapped(
            "At `/metrics` of `--metrics-listen` of `scopewright gateway` (port 9403 in the chart). With several "
            "workers, counters are those of all workers; the number of APIs is that of the worker that answers. A "
            "series of an API or a rule ends when it is deleted."
        ),
        "",
        *_table(gateways),
        "",
        "## Alerts",
        "",
        *_wrapped(
            "From the chart's PrometheusRule (`prometheusRule.enabled`). `tests/chart/alerts.yaml` tests each alert "
            "with data that fires it and data that does not."
        ),
    ]
    for rule in alerts:
        lines += ["", *_alert(rule)]
    return "\n".join([*lines, ""])


def _complete(name: str, given: set[str], needed: set[str]) -> None:
    if given != needed:
        sys.exit(
            f"docs/metrics.py: {name} lacks {sorted(needed - given)}, and has the unknown {sorted(given - needed)}"
        )


def _table(metrics: list[Exported]) -> Iterator[str]:
    yield "| metric | type | unit | labels | meaning | remedy |"
    yield "| --- | --- | --- | --- | --- | --- |"
    for m in metrics:
        labels = "; ".join(f"`{label}`: {_values(label, values)}" for label, values in m.labels.items())
        yield f"| `{m.shown}` | {m.type} | {m.unit} | {labels} | {m.help} | {REMEDIES[m.name]} |"


def _values(label: str, values: set[str]) -> str:
    return OPEN.get(label) or ", ".join(f"`{value}`" if value else "empty" for value in sorted(values))


def _shown(template: str) -> str:
    """The annotation, with … for the values that Prometheus inserts."""
    alternatives = template.replace("{{ else }}", " Or: ")
    return re.sub(r"\{\{.*?\}\}", "…", re.sub(r"\{\{ (if .*?|end) \}\}", "", alternatives))


def _alert(rule: dict[str, Any]) -> Iterator[str]:
    lasting = f", after {rule['for']}" if "for" in rule else ""
    summary, described = (_shown(rule["annotations"][key]) for key in ("summary", "description"))
    yield f"### {rule['alert']}"
    yield ""
    yield from _wrapped(f"{rule['labels']['severity'].capitalize()}{lasting}: {summary} {described}")
    yield ""
    yield from _wrapped(RUN_BOOKS[rule["alert"]])


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(text, 120, break_long_words=False, break_on_hyphens=False)


def main() -> None:
    keep(PAGE, page())


if __name__ == "__main__":
    main()
