"""Follows the records of APIs, of claims of hostnames and of the issuer, and makes the gateway's table of them.

A record that cannot be read refuses all requests to its API. One of the issuer is ignored, and the last good one kept.
"""

import asyncio
import logging
from dataclasses import dataclass
from functools import partial
from typing import Final, Protocol

from scopewright.core.failures import Rejected
from scopewright.core.http_rules import rules_of
from scopewright.core.objects import MANAGED_BY, MANAGER, Ref
from scopewright.core.records.codec import decode
from scopewright.core.records.names import (
    ISSUER_NAME,
    RECORD_LABEL,
    hostname_claim_name,
    resource_server_record_name,
)
from scopewright.core.records.resource_server import HostnameClaim, ResourceServerRecord
from scopewright.gateway.apis import ApiTable, GatewayApi
from scopewright.gateway.metadata import MetadataDocuments, api_metadata
from scopewright.gateway.verifiers import Verifiers
from scopewright.serving.follow import follow
from scopewright.serving.records import load_issuer, record_entry, require_name
from scopewright.stores import Change, ListCompleted, Reader, Selection
from scopewright.verifier.rules import Rules, RulesInvalid
from scopewright.verifier.verifier import Verifier

log: Final = logging.getLogger(__name__)

_RESOURCE_SERVER: Final = "resource-server"
_HOSTNAME: Final = "hostname"
_ISSUER: Final = "issuer"
RECORDS: Final = (_RESOURCE_SERVER, _HOSTNAME, _ISSUER)
"""Values of RECORD_LABEL."""


class OnTable(Protocol):
    def __call__(self, table: ApiTable | None, documents: MetadataDocuments) -> None:
        """Take the table that is in force from now on; None while there is no record of the issuer."""


@dataclass(slots=True)
class _Server:
    """A record of a resource server. `rules` is None if it cannot be read, or has none; `problem` says why."""

    record: ResourceServerRecord | None = None
    rules: Rules | None = None
    problem: str = ""
    generation: int = 0
    """Of the verifier."""
    verifier: Verifier | None = None
    api: GatewayApi | None = None


class ApiFollower:
    """`incomplete` are the records that were not listed in full yet. `on_table` is called once there are none, and
    after each change.
    """

    def __init__(
        self, reader: Reader, namespace: str, verifiers: Verifiers, on_table: OnTable, *, allow_http: bool = False
    ) -> None:
        self._reader = reader
        self._namespace = namespace
        self._verifiers = verifiers
        self._on_table = on_table
        self._allow_http = allow_http
        self._servers: dict[str, _Server] = {}
        self._claims: dict[str, HostnameClaim] = {}
        self._malformed: dict[str, str] = {}
        self._is_scheduled = False
        self.incomplete: set[str] = set(RECORDS)

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            for label in RECORDS:
                labels = {MANAGED_BY: MANAGER, RECORD_LABEL: label}
                selection = Selection("ConfigMap", self._namespace, labels)
                group.create_task(follow(self._reader, selection, partial(self._apply, label)), name=f"follow {label}s")

    @property
    def counts(self) -> tuple[int, int]:
        """The APIs in force, and those that cannot be read."""
        in_force = sum(server.api is not None for server in self._servers.values())
        return in_force, sum(bool(server.problem) for server in self._servers.values())

    def missing(self) -> list[str]:
        """The records that no table can be made without."""
        missing = [f"the list of {label} records" for label in sorted(self.incomplete)]
        return missing if self._verifiers.issuer else [*missing, "the issuer record"]

    def _apply(self, label: str, event: Change | ListCompleted) -> None:
        if isinstance(event, ListCompleted):
            self._complete(label, {ref.name for ref in event.refs})
        elif event.existing.ref.namespace == self._namespace:
            name = event.existing.ref.name
            before = self._api_in_force(label, name)
            if event.deleted:
                self._remove(label, name)
            else:
                self._put(label, name, event)
            if before is not None and self._api_in_force(label, name) is before:
                return  # such as another grant. A table of many APIs takes longer than many decisions
        self._schedule()

    def _api_in_force(self, label: str, name: str) -> GatewayApi | None:
        server = self._servers.get(name) if label == _RESOURCE_SERVER else None
        return server.api if server is not None else None

    def _complete(self, label: str, names: set[str]) -> None:
        known = self._servers if label == _RESOURCE_SERVER else self._claims if label == _HOSTNAME else ()
        for name in set(known) - names:
            self._remove(label, name)
        self.incomplete.discard(label)

    def _remove(self, label: str, name: str) -> None:
        self._malformed.pop(name, None)
        if label == _RESOURCE_SERVER:
            self._servers.pop(name, None)
        elif label == _HOSTNAME:
            self._claims.pop(name, None)
        else:
            log.warning("ConfigMap %s was deleted; its last version stays valid", name)

    def _put(self, label: str, name: str, change: Change) -> None:
        if label == _RESOURCE_SERVER:
            self._put_server(name, change)
            return
        try:
            if label == _HOSTNAME:
                claim = decode(HostnameClaim, record_entry(change.entries))
                require_name(change.existing, hostname_claim_name(claim.hostname, claim.base_path))
                self._claims[name] = claim
            elif name == ISSUER_NAME:
                self._verifiers.use(load_issuer(change.existing, change.entries, allow_http=self._allow_http))
            self._malformed.pop(name, None)
        except Rejected as rejected:
            self._log_malformed(change.existing.ref, rejected.message, "its last good version stays in force")

    def _put_server(self, name: str, change: Change) -> None:
        before = self._servers.get(name) or _Server()
        record = before.record
        try:
            record = decode(ResourceServerRecord, record_entry(change.entries))
            require_name(change.existing, resource_server_record_name(record.namespace, record.name))
            rules = _rules_of(record)
        except (Rejected, RulesInvalid) as error:
            problem = error.message if isinstance(error, Rejected) else str(error)
            self._servers[name] = _Server(record, problem=problem)
            self._log_malformed(change.existing.ref, problem, "all requests to its API are refused")
            return
        self._malformed.pop(name, None)
        after = _Server(record, rules)
        if before.record is not None and _verification(before.record) == _verification(record):
            # Its verifier remembers tokens. Grants change often, and rules rarely.
            after.generation, after.verifier = before.generation, before.verifier
            if rules is not None and before.record.http == record.http and before.record.scopes == record.scopes:
                after.api = before.api
        self._servers[name] = after

    def _log_malformed(self, ref: Ref, problem: str, consequence: str) -> None:
        if self._malformed.get(ref.name) != problem:
            self._malformed[ref.name] = problem
            log.warning("malformed %s: %s; %s", ref, problem, consequence)

    # The table

    def _schedule(self) -> None:
        """Make one table of all changes that came together."""
        if not self._is_scheduled and not self.incomplete:
            self._is_scheduled = True
            asyncio.get_running_loop().call_soon(self._make_table)

    def _make_table(self) -> None:
        self._is_scheduled = False
        if not self._verifiers.issuer:
            self._on_table(None, MetadataDocuments())
            return
        apis: list[GatewayApi] = []
        claims = list(self._claims.values())
        for server in self._servers.values():
            server.api = self._api_of(server)
            if server.api is not None:
                apis.append(server.api)
            else:
                claims += _refused_places(server.record)
        self._on_table(ApiTable(apis, claims), MetadataDocuments(apis))

    def _api_of(self, server: _Server) -> GatewayApi | None:
        """None: all requests to it are refused."""
        record, generation = server.record, self._verifiers.generation
        if record is None or server.rules is None or record.http is None or not record.http.hostnames:
            return None
        if server.api is not None and server.generation == generation:
            return server.api
        try:
            if server.verifier is None or server.generation != generation:
                server.verifier = self._verifiers.for_api(record.audience, dpop_required=record.dpop_required)
                server.generation = generation
            metadata = api_metadata(record, self._verifiers.issuer, server.verifier)
            return GatewayApi(record.key, record.http.hostnames, server.rules, server.verifier, metadata)
        except Exception:
            # It must not keep the changes of other APIs from taking effect.
            log.exception("the rules of %s cannot be used; all requests to it are refused", record.key)
            server.problem = "unexpected error"
            return None


def _refused_places(record: ResourceServerRecord | None) -> list[HostnameClaim]:
    """Also without claims of the operator: requests there must not become those of the API around it."""
    if record is None or record.http is None:
        return []
    base_path = record.http.base_path
    return [HostnameClaim(hostname, base_path, record.namespace, record.name) for hostname in record.http.hostnames]


def _rules_of(record: ResourceServerRecord) -> Rules | None:
    """The rules in force; None if requests are refused, also of an API without audience or owner."""
    if record.http is None or not record.audience or record.orphaned_time is not None:
        return None
    return rules_of(record.http, record.audience)


def _verification(record: ResourceServerRecord) -> tuple[str, bool]:
    return record.audience, record.dpop_required
