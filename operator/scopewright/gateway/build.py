"""Put the gateway together from its settings, a store and what else the process provides."""

import time

from httpx import AsyncClient

from scopewright.gateway.apis import ApiTable
from scopewright.gateway.audit import RefusalAudit
from scopewright.gateway.follow import ApiFollower
from scopewright.gateway.identity_headers import IdentityHeaders
from scopewright.gateway.issuer_client import IssuerClient
from scopewright.gateway.metadata import MetadataDocuments
from scopewright.gateway.metrics import GatewayCounters, GatewayGauges, GatewayMetrics
from scopewright.gateway.readiness import GatewayReadiness
from scopewright.gateway.replay import ProofReplay
from scopewright.gateway.service import Gateway, RequestHandler
from scopewright.gateway.settings import GatewaySettings
from scopewright.gateway.verifiers import Verifiers
from scopewright.rate_budget import Clock
from scopewright.serving import audit
from scopewright.serving.replay import LocalReplay, ReplayStore
from scopewright.serving.supervise import SupervisedTasks
from scopewright.stores import Listener, Reader
from scopewright.tracing import Tracing


def build_gateway(
    settings: GatewaySettings,
    reader: Reader,
    *,
    http: AsyncClient | None = None,
    replay: ReplayStore | None = None,
    counters: GatewayCounters | None = None,
    worker: int = 0,
    sink: audit.Sink = audit.to_log,
    tracing: Tracing | None = None,
    clock: Clock = time.time,
    monotonic: Clock = time.monotonic,
) -> Gateway:
    """A gateway that is not running yet. Call it on the event loop that it will run on.

    `http` fetches the issuer's keys and revocations. `replay` records used DPoP proofs. None: in the memory of this
    process. `worker` is the number of this process, whose row of `counters` it writes.
    """
    http = http or IssuerClient()
    replay = replay or LocalReplay(clock)
    metrics = GatewayMetrics(counters or GatewayCounters.of(1), worker)
    handler = RequestHandler(
        settings.profiles,
        IdentityHeaders(settings.identity_headers),
        metrics,
        RefusalAudit(sink, metrics, clock, monotonic),
        tracing,
    )
    tasks = SupervisedTasks()
    listener = reader if isinstance(reader, Listener) else None
    contact = listener.contact if listener else None
    # The readiness depends on the follower and the verifiers, which report to it.
    readiness = GatewayReadiness(tasks, lambda: [*follower.missing(), *verifiers.missing()], contact)
    verifiers = Verifiers(
        http, ProofReplay(replay), allow_http=settings.allow_http, clock=clock, attempted=readiness.update
    )

    def use(table: ApiTable | None, documents: MetadataDocuments) -> None:
        handler.use(table, documents)
        readiness.update()

    follower = ApiFollower(reader, settings.namespace, verifiers, use, allow_http=settings.allow_http_issuer)
    metrics.sources = GatewayGauges(
        ready=lambda: not readiness.obstacles(),
        apis=lambda: follower.counts,
        keys_received_at=lambda: verifiers.keys_received_at,
        revocations_received_at=lambda: verifiers.revocations_received_at,
        last_activity=(lambda: listener.last_activity("ConfigMap")) if listener else lambda: None,
        last_contact=(lambda: contact.last) if contact else lambda: None,
    )
    return Gateway(handler, follower, verifiers, metrics, readiness, tasks, replay, http)
