"""The commands; each only reads its flags, and leaves the rest to its room."""

import asyncio
import io
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from scopewright.cli.settings import (
    connection_memory,
    connections_per_address,
    listen,
    load_certificate,
    replay_capacity,
    replay_memory,
    reserve,
    set_up_logging,
    worker_count,
)
from scopewright.config_file import load_config
from scopewright.core.failures import Rejected, Unavailable
from scopewright.stores import Store

if TYPE_CHECKING:
    from scopewright.stores.kubernetes.api import Api

app = typer.Typer(
    name="scopewright",
    help="OAuth clients as Kubernetes resources.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)


class LogFormat(StrEnum):
    text = "text"
    json = "json"


class LogLevel(StrEnum):
    debug = "debug"
    info = "info"
    warning = "warning"
    error = "error"


ConfigFile = Annotated[
    Path | None,
    typer.Option("--config", envvar="SCOPEWRIGHT_CONFIG", help="YAML file with the platform's configuration."),
]
IssuerUrl = Annotated[
    str | None,
    typer.Option("--issuer-url", envvar="SCOPEWRIGHT_ISSUER_URL", help="The issuer's URL, as tokens name it."),
]
Namespace = Annotated[
    str | None,
    typer.Option("--namespace", envvar="SCOPEWRIGHT_NAMESPACE", help="The issuer's namespace. [scopewright-system]"),
]
Kubeconfig = Annotated[
    Path | None, typer.Option("--kubeconfig", help="Cluster to talk to. [KUBECONFIG, ~/.kube/config, or the Pod's own]")
]
Format = Annotated[LogFormat, typer.Option("--log-format", envvar="SCOPEWRIGHT_LOG_FORMAT")]
Level = Annotated[LogLevel, typer.Option("--log-level", envvar="SCOPEWRIGHT_LOG_LEVEL")]


def run() -> None:
    """Entry point: failures become a line on standard error and an exit code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    try:
        app()
    except Rejected as error:
        sys.exit(f"scopewright: {error.message}")
    except Unavailable as error:
        sys.exit(f"scopewright: {error.message}; try again")


@app.command()
def operator(
    config: ConfigFile = None,
    issuer_url: IssuerUrl = None,
    namespace: Namespace = None,
    kubeconfig: Kubeconfig = None,
    listen_on: Annotated[
        str, typer.Option("--listen", envvar="SCOPEWRIGHT_LISTEN", help="For /healthz, /readyz and /metrics.")
    ] = "127.0.0.1:8081",
    issuer_service_account: Annotated[
        str | None,
        typer.Option(
            "--issuer-service-account",
            envvar="SCOPEWRIGHT_ISSUER_SERVICE_ACCOUNT",
            help="Of an issuer that is our sidecar: mint tokens for it, into --issuer-identity.",
        ),
    ] = None,
    issuer_identity: Annotated[
        Path | None,
        typer.Option(
            "--issuer-identity",
            envvar="SCOPEWRIGHT_ISSUER_IDENTITY",
            help="Folder that the sidecar mounts as its own ServiceAccount.",
        ),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(
            "--workers", envvar="SCOPEWRIGHT_OPERATOR_WORKERS", help="Objects reconciled at the same time. [24]"
        ),
    ] = None,
    kube_api_qps: Annotated[
        float | None,
        typer.Option("--kube-api-qps", envvar="SCOPEWRIGHT_KUBE_API_QPS", help="Requests a second. [0: no limit]"),
    ] = None,
    kube_api_burst: Annotated[
        int | None,
        typer.Option("--kube-api-burst", envvar="SCOPEWRIGHT_KUBE_API_BURST", help="Requests at once. [0: no limit]"),
    ] = None,
    lease_duration: Annotated[
        str | None,
        typer.Option("--lease-duration", envvar="SCOPEWRIGHT_LEASE_DURATION", help="Until a standby takes over. [8s]"),
    ] = None,
    lease_renew_deadline: Annotated[
        str | None,
        typer.Option(
            "--lease-renew-deadline",
            envvar="SCOPEWRIGHT_LEASE_RENEW_DEADLINE",
            help="Until a leader that cannot renew stops writing. [5s]",
        ),
    ] = None,
    lease_retry_period: Annotated[
        str | None,
        typer.Option("--lease-retry-period", envvar="SCOPEWRIGHT_LEASE_RETRY_PERIOD", help="Between renewals. [1s]"),
    ] = None,
    log_format: Format = LogFormat.text,
    log_level: Level = LogLevel.info,
) -> None:
    """Reconcile OAuthClients, ResourceServers, ScopeGrants and SigningKeys of a cluster."""
    from scopewright.controller.operator import Operator
    from scopewright.controller.sidecar import Sidecar
    from scopewright.tracing import Tracing, tracing

    set_up_logging(log_format.value, log_level.value)
    times = {"duration": lease_duration, "renewDeadline": lease_renew_deadline, "retryPeriod": lease_retry_period}
    given = {"issuer": issuer_url, "namespace": namespace, "workers": workers, "lease": times}
    settings = load_config(config, {**given, "kubeApi": {"qps": kube_api_qps, "burst": kube_api_burst}})
    listening = listen(listen_on)
    if (issuer_service_account is None) is not (issuer_identity is None):
        raise Rejected("BadSidecar", "a sidecar needs both --issuer-service-account and --issuer-identity")
    sidecar = Sidecar(issuer_service_account, issuer_identity) if issuer_service_account and issuer_identity else None

    async def main(traces: Tracing | None) -> None:
        async with _api(kubeconfig) as api, api.supervised():
            running = Operator(api, settings, listening, sidecar, traces)
            _on_signals(running.stop)
            await running.run()

    with tracing("scopewright-operator") as traces:
        _run(main(traces))


def _in_cluster(kubeconfig: Path | None) -> bool:
    return not kubeconfig and not os.environ.get("KUBECONFIG") and "KUBERNETES_SERVICE_HOST" in os.environ


def _on_signals(stop: Callable[[], None]) -> None:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop)


def _run(main: Coroutine[Any, Any, None]) -> None:
    import uvloop

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main)


@app.command()
def issuer(
    source: Annotated[
        str,
        typer.Option("--source", envvar="SCOPEWRIGHT_SOURCE", help="`kubernetes`, or the STATE directory of `dev`."),
    ] = "kubernetes",
    namespace: Namespace = None,
    kubeconfig: Kubeconfig = None,
    listen_on: Annotated[
        str, typer.Option("--listen", envvar="SCOPEWRIGHT_LISTEN", help="Where tokens are served.")
    ] = "127.0.0.1:8080",
    metrics_listen: Annotated[
        str | None,
        typer.Option(
            "--metrics-listen",
            envvar="SCOPEWRIGHT_METRICS_LISTEN",
            help="For /metrics, /healthz and /readyz, without TLS. Left out: no metrics.",
        ),
    ] = None,
    snapshot: Annotated[
        Path | None,
        typer.Option("--snapshot", envvar="SCOPEWRIGHT_SNAPSHOT", help="File to start from while the source is away."),
    ] = None,
    workers: Annotated[
        str,
        typer.Option(
            "--workers", envvar="SCOPEWRIGHT_WORKERS", help="Processes that share the port: a number, or `auto` (CPUs)."
        ),
    ] = "1",
    tls_cert: Annotated[
        Path | None,
        typer.Option(
            "--tls-cert", envvar="SCOPEWRIGHT_TLS_CERT", help="Certificate chain (PEM); read when it changes."
        ),
    ] = None,
    tls_key: Annotated[
        Path | None, typer.Option("--tls-key", envvar="SCOPEWRIGHT_TLS_KEY", help="Its private key (PEM).")
    ] = None,
    replay: Annotated[
        str,
        typer.Option(
            "--replay",
            envvar="SCOPEWRIGHT_REPLAY",
            help="What remembers assertions and proofs: `memory`, a Valkey's or Redis' URL, or `per-process`.",
        ),
    ] = "memory",
    entries: Annotated[
        int,
        typer.Option(
            "--replay-capacity",
            envvar="SCOPEWRIGHT_REPLAY_CAPACITY",
            help="Assertions and proofs that one process remembers. 0: 100,000 itself, 1,000,000 in a Valkey or Redis.",
        ),
    ] = 0,
    per_address: Annotated[
        int,
        typer.Option(
            "--connections-per-address",
            envvar="SCOPEWRIGHT_CONNECTIONS_PER_ADDRESS",
            help="Of one peer, in one process; a proxy is one. 0: no limit.",
        ),
    ] = 1024,
    memory: Annotated[
        str,
        typer.Option(
            "--connection-memory",
            envvar="SCOPEWRIGHT_CONNECTION_MEMORY",
            help="Memory for all connections of one process; one address may use a quarter of it.",
        ),
    ] = "64Mi",
    proxies: Annotated[
        str,
        typer.Option(
            "--trusted-proxies",
            envvar="SCOPEWRIGHT_TRUSTED_PROXIES",
            help="Networks (CIDR, with commas) whose X-Forwarded-For says who asks. Left out: nobody's does.",
        ),
    ] = "",
    reports_every: Annotated[
        float, typer.Option("--usage-every", envvar="SCOPEWRIGHT_USAGE_EVERY", help="Seconds between reports of use.")
    ] = 300.0,
    log_format: Format = LogFormat.text,
    log_level: Level = LogLevel.info,
) -> None:
    """Serve tokens, keys and metadata from the records that the operator keeps.

    Standard output has one line of JSON for each decision about a token; everything else goes to standard error.
    """
    from scopewright.issuer import Worker, run, run_workers
    from scopewright.issuer.observability.audit import to_file
    from scopewright.issuer.serving.proxies import trusted_proxies
    from scopewright.tracing import is_enabled

    set_up_logging(log_format.value, log_level.value)
    is_enabled()  # what is wrong is told once, not by every worker
    certificate = load_certificate(tls_cert, tls_key)
    count = worker_count(workers)
    remember = replay_memory(replay, count, replay_capacity(entries))
    most = connections_per_address(per_address)
    for_connections = connection_memory(memory)
    trusted = trusted_proxies(proxies)

    def work(worker: Worker) -> None:
        run(
            lambda: _store(source, kubeconfig),
            namespace=namespace or "scopewright-system",
            worker=worker,
            snapshot=snapshot,
            sink=to_file(sys.stdout.buffer),
            reports_every=reports_every,
            certificate=certificate,
            replay=remember(),
            connections_per_address=most,
            connection_memory=for_connections,
            proxies=trusted,
        )

    def on_ready(url: str) -> None:
        typer.echo(f"issuer ready at {url}", err=True)

    if count == 1:
        listening = listen(listen_on)
        observing = listen(metrics_listen, "--metrics-listen") if metrics_listen else None
        work(Worker(lambda: listening, on_ready, (lambda: observing) if observing else None))
    else:
        observed = reserve(metrics_listen, "--metrics-listen") if metrics_listen else None
        run_workers(count, work, reserve(listen_on), on_ready, observed=observed)


@asynccontextmanager
async def _store(source: str, kubeconfig: Path | None) -> AsyncIterator[Store]:
    if source == "kubernetes":
        from scopewright.stores.kubernetes.store import KubernetesStore

        async with _api(kubeconfig) as api, api.supervised():
            yield KubernetesStore(api)
    else:
        from scopewright.stores.directory.store import DirectoryStore

        yield DirectoryStore.open_readonly(Path(source))


@app.command()
def dev(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="Directory with the manifests.")],
    listen_on: Annotated[str, typer.Option("--listen", help="Where tokens are served.")] = "127.0.0.1:8080",
    state: Annotated[Path, typer.Option("--state", help="Where Secrets, keys and status are kept.")] = Path(
        ".scopewright"
    ),
    config: ConfigFile = None,
    issuer_url: IssuerUrl = None,
    log_format: Format = LogFormat.text,
    log_level: Level = LogLevel.warning,
) -> None:
    """Reconcile a directory of manifests and serve the issuer, without a cluster."""
    from rich.console import Console

    from scopewright.cli.dev import dev_config, develop

    set_up_logging(log_format.value, log_level.value)
    if not directory.is_dir():
        raise Rejected("NoDirectory", f"{directory} is not a directory; pass the one that contains your manifests")
    listening = listen(listen_on)
    settings, note = dev_config(config, issuer_url, listen_on, listening)
    if note:
        typer.echo(note, err=True)
    console = Console(width=None if sys.stdout.isatty() else 140)

    async def main() -> None:
        stop = asyncio.Event()
        _on_signals(stop.set)
        await develop(directory, state, settings, listening, stop, console)

    _run(main())


@app.command()
def plan(
    directory: Annotated[str, typer.Argument(metavar="DIR", help="Directory with the manifests; `-`: standard input.")],
    against: Annotated[
        str | None, typer.Option("--against", metavar="DIR", help="What to compare with, such as the base branch.")
    ] = None,
    cluster: Annotated[bool, typer.Option("--cluster", help="Compare with what is in a cluster, by reading.")] = False,
    prune: Annotated[
        bool, typer.Option("--prune", help="With --cluster: what the named namespaces hold beside DIR is deleted.")
    ] = False,
    outputs: Annotated[
        list[str] | None,
        typer.Option("--output", "-o", metavar="FORMAT[=FILE]", help="text, json, markdown or sarif; repeatable."),
    ] = None,
    config: ConfigFile = None,
    issuer_url: IssuerUrl = None,
    namespace: Namespace = None,
    kubeconfig: Kubeconfig = None,
) -> None:
    """Say what manifests would change, and who would get which scope. Nothing is written.

    Exit code 0: all would be served. 1: something would be refused. 2: that cannot be told.
    """
    from scopewright.cli.plan import Request, plan_to_outputs

    set_up_logging("text", "error")
    request = Request(directory, against, cluster, prune, tuple(outputs or ["text"]), config, issuer_url, namespace)
    raise typer.Exit(plan_to_outputs(request, lambda: _api(kubeconfig)))


@asynccontextmanager
async def _api(kubeconfig: Path | None) -> "AsyncIterator[Api]":
    from scopewright.stores.kubernetes.connect import connect

    api = await connect(kubeconfig, in_cluster=_in_cluster(kubeconfig))
    try:
        yield api
    finally:
        await api.close()
