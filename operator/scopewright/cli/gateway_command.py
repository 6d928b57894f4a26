"""`scopewright gateway`."""

import sys
from dataclasses import replace

import typer

from scopewright.cli import options
from scopewright.cli.connections import import_store, opened_store
from scopewright.cli.serving import listener, serve
from scopewright.cli.settings import (
    GATEWAY_REPLAY,
    connection_memory,
    http_hosts,
    load_certificate,
    replay_capacity,
    replay_memory,
    set_up_logging,
    url_of,
    worker_count,
)


def gateway(
    profile: options.Profiles = None,
    source: options.Source = "kubernetes",
    namespace: options.Namespace = None,
    kubeconfig: options.Kubeconfig = None,
    listen_on: options.ListenGateway = "127.0.0.1:8083",
    metrics_listen: options.MetricsListen = None,
    workers: options.ServingWorkers = "1",
    tls_cert: options.TlsCert = None,
    tls_key: options.TlsKey = None,
    identity_header: options.IdentityHeaderNames = None,
    replay: options.ProofReplay = "memory",
    entries: options.ProofCapacity = 0,
    memory: options.ProxyConnectionMemory = "64Mi",
    log_format: options.Format = options.LogFormat.text,
    log_level: options.Level = options.LogLevel.info,
) -> None:
    """Decide for a proxy whether requests may reach an API, by the rules of its ResourceServer.

    Audit lines (JSON, one for each refusal) go to standard output, everything else to standard error.
    """
    from scopewright.cli.gateway_options import enabled_profiles, identity_headers
    from scopewright.gateway.metrics import GatewayCounters
    from scopewright.gateway.server import LIMITS, run
    from scopewright.gateway.settings import GatewaySettings
    from scopewright.serving.audit import to_file
    from scopewright.serving.workers import Worker
    from scopewright.tracing import is_enabled

    set_up_logging(log_format.value, log_level.value)
    is_enabled()  # report a wrong setting once, not in every worker
    certificate = load_certificate(tls_cert, tls_key)
    count = worker_count(workers)
    remember = replay_memory(replay, count, replay_capacity(entries), GATEWAY_REPLAY)
    limits = replace(LIMITS, memory=connection_memory(memory))
    settings = GatewaySettings(
        namespace=namespace or "scopewright-system",
        profiles=enabled_profiles(profile or ()),
        identity_headers=identity_headers(identity_header or ()),
        allow_http_issuer=source != "kubernetes",  # `dev` has decided it for its STATE
        allow_http=http_hosts(),
    )
    counters = GatewayCounters.of(count)
    listening = listener(listen_on, count)

    def work(worker: Worker) -> None:
        run(
            lambda: opened_store(source, kubeconfig),
            settings,
            worker,
            counters=counters,
            url=url_of(listen_on, listening, certificate),
            limits=limits,
            certificate=certificate,
            replay=remember(),
            sink=to_file(sys.stdout.buffer),
        )

    def on_ready(url: str) -> None:
        typer.echo(f"gateway ready at {url}", err=True)

    import_store(source)
    serve(work, listening, metrics_listen, counters.columns, on_ready)
