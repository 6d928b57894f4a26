"""The commands. Each reads its flags and calls the package that does the work."""

import asyncio
import io
import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from scopewright.cli import export_command, gateway_command, library_commands, options, users
from scopewright.cli.connections import connected_api, import_store, opened_store
from scopewright.cli.event_loop import on_signals, run_loop
from scopewright.cli.serving import listener, serve
from scopewright.cli.settings import (
    connection_memory,
    connections_per_address,
    http_hosts,
    listen,
    load_certificate,
    replay_capacity,
    replay_memory,
    set_up_logging,
    user_endpoints,
    worker_count,
)
from scopewright.config_file import load_config
from scopewright.core.failures import Rejected, Unavailable

app = typer.Typer(
    name="scopewright",
    help="OAuth clients as Kubernetes resources.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
app.add_typer(users.app, name="users")
app.add_typer(export_command.app, name="export")


def run() -> None:
    """Entry point: a failure is printed as one line on standard error, with an exit code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    try:
        app()
    except library_commands.UsageError as error:
        sys.exit(library_commands.fail(library_commands.USAGE, str(error)))
    except Rejected as error:
        sys.exit(f"scopewright: {error.message}")
    except Unavailable as error:
        sys.exit(f"scopewright: {error.message}; try again")


@app.command()
def operator(
    config: options.ConfigFile = None,
    issuer_url: options.IssuerUrl = None,
    namespace: options.Namespace = None,
    kubeconfig: options.Kubeconfig = None,
    listen_on: options.Listen = "127.0.0.1:8081",
    issuer_service_account: options.IssuerServiceAccount = None,
    issuer_identity: options.IssuerIdentity = None,
    workers: options.Workers = None,
    kube_api_qps: options.KubeApiQps = None,
    kube_api_burst: options.KubeApiBurst = None,
    lease_duration: options.LeaseDuration = None,
    lease_renew_deadline: options.LeaseRenewDeadline = None,
    lease_retry_period: options.LeaseRetryPeriod = None,
    log_format: options.Format = options.LogFormat.text,
    log_level: options.Level = options.LogLevel.info,
) -> None:
    """Reconcile OAuthClients, ResourceServers, ScopeGrants, SigningKeys and IdentityProviders of a cluster."""
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
        async with connected_api(kubeconfig) as api, api.supervised():
            running = Operator(api, settings, listening, sidecar, traces)
            on_signals(running.stop)
            await running.run()

    with tracing("scopewright-operator") as traces:
        run_loop(main(traces))


@app.command()
def issuer(
    source: options.Source = "kubernetes",
    namespace: options.Namespace = None,
    kubeconfig: options.Kubeconfig = None,
    listen_on: options.ListenIssuer = "127.0.0.1:8080",
    metrics_listen: options.MetricsListen = None,
    snapshot: options.Snapshot = None,
    workers: options.ServingWorkers = "1",
    sessions: options.Sessions = None,
    tls_cert: options.TlsCert = None,
    tls_key: options.TlsKey = None,
    replay: options.Replay = "memory",
    entries: options.ReplayCapacity = 0,
    per_address: options.ConnectionsPerAddress = 1024,
    memory: options.ConnectionMemory = "64Mi",
    proxies: options.TrustedProxies = "",
    reports_every: options.UsageEvery = 300.0,
    log_format: options.Format = options.LogFormat.text,
    log_level: options.Level = options.LogLevel.info,
) -> None:
    """Serve tokens, keys and metadata from the records that the operator writes.

    Audit lines (JSON, one for each decision about a token) go to standard output, everything else to standard error.
    """
    from scopewright.issuer import IssuerSettings, run
    from scopewright.issuer.observability.metrics import shared_counters
    from scopewright.issuer.serving.proxies import trusted_proxies
    from scopewright.issuer.serving.server import LIMITS
    from scopewright.serving.audit import to_file
    from scopewright.serving.workers import Worker
    from scopewright.tracing import is_enabled

    set_up_logging(log_format.value, log_level.value)
    is_enabled()  # report a wrong setting once, not in every worker
    certificate = load_certificate(tls_cert, tls_key)
    count = worker_count(workers)
    remember = replay_memory(replay, count, replay_capacity(entries))
    is_of_dev = source != "kubernetes"
    namespace = namespace or "scopewright-system"
    users = user_endpoints(sessions, namespace, allow_loopback=is_of_dev)
    limits = replace(
        LIMITS, connections_per_peer=connections_per_address(per_address), memory=connection_memory(memory)
    )
    settings = IssuerSettings(
        namespace=namespace,
        snapshot=snapshot,
        usage_interval=reports_every,
        allow_http=is_of_dev,  # `dev` has decided it for its STATE
        reports=not is_of_dev,  # `dev` alone writes its STATE
        proxies=trusted_proxies(proxies),
    )

    def work(worker: Worker) -> None:
        run(
            lambda: opened_store(source, kubeconfig),
            replace(settings, users=users()),
            worker,
            limits=limits,
            certificate=certificate,
            replay=remember(),
            sink=to_file(sys.stdout.buffer),
        )

    def on_ready(url: str) -> None:
        typer.echo(f"issuer ready at {url}", err=True)

    listening = listener(listen_on, count)
    import_store(source)
    serve(work, listening, metrics_listen, shared_counters(count), on_ready)


app.command()(gateway_command.gateway)


@app.command()
def dev(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="Directory with the manifests.")],
    listen_on: Annotated[str, typer.Option("--listen", help="Address of the issuer.")] = "127.0.0.1:8080",
    state: options.State = Path(".scopewright"),
    config: options.ConfigFile = None,
    issuer_url: options.IssuerUrl = None,
    allow_http: Annotated[
        bool, typer.Option("--allow-http", help="Allow an http URL of another host than loopback as issuer.")
    ] = False,
    allow_login: Annotated[
        bool,
        typer.Option("--developer-login", help="Let users of DIR/users.yaml log in from other machines, unchecked."),
    ] = False,
    gateway_on: Annotated[
        str | None,
        typer.Option("--gateway", metavar="HOST:PORT", help="Also run a gateway for proxies, such as 127.0.0.1:8083."),
    ] = None,
    log_format: options.Format = options.LogFormat.text,
    log_level: options.Level = options.LogLevel.warning,
) -> None:
    """Reconcile a directory of manifests and serve the issuer, without a cluster."""
    from rich.console import Console

    from scopewright.cli.dev import dev_config, develop, developer_login
    from scopewright.cli.dev_gateway import DevGateway

    set_up_logging(log_format.value, log_level.value)
    if not directory.is_dir():
        raise Rejected("NoDirectory", f"{directory} is not a directory; pass the one that contains your manifests")
    listening = listen(listen_on)
    settings, note = dev_config(
        config, issuer_url, listen_on, listening, allow_http=allow_http, http_hosts=http_hosts()
    )
    gateway = DevGateway(gateway_on, listen(gateway_on, "--gateway")) if gateway_on else None
    users_file = developer_login(directory, listen_on, settings.issuer, allowed=allow_login)
    if note:
        typer.echo(note, err=True)
    console = Console(width=None if sys.stdout.isatty() else 140)

    async def main() -> None:
        stop = asyncio.Event()
        on_signals(stop.set)
        await develop(directory, state, settings, listening, stop, console, users_file, gateway)

    run_loop(main())


@app.command()
def dev_token(
    account: Annotated[str, typer.Argument(metavar="NAMESPACE/SERVICEACCOUNT")],
    state: options.State = Path(".scopewright"),
    duration: Annotated[str, typer.Option("--duration", help="Lifetime of the token, at most 24h.")] = "1h",
    watch: Annotated[
        Path | None, typer.Option("--watch", metavar="FILE", help="Write it to FILE, and renew it until stopped.")
    ] = None,
) -> None:
    """Print a token of a ServiceAccount for the issuer of `dev`, as the kubelet projects one into a Pod."""
    from scopewright.cli.dev_token import AccountToken, keep_fresh

    request = AccountToken.parse(account, state, duration)
    if watch is None:
        library_commands.write_output(f"{request.token()}\n")
        typer.echo(request.described(), err=True)
    else:
        keep_fresh(request, watch)


@app.command()
def plan(
    directory: Annotated[str, typer.Argument(metavar="DIR", help="Directory with the manifests; `-`: standard input.")],
    against: Annotated[
        str | None, typer.Option("--against", metavar="DIR", help="Directory to compare with, such as the base branch.")
    ] = None,
    cluster: Annotated[bool, typer.Option("--cluster", help="Compare with a cluster (read only).")] = False,
    prune: Annotated[
        bool, typer.Option("--prune", help="With --cluster: delete objects that DIR lacks, in the namespaces it names.")
    ] = False,
    outputs: Annotated[
        list[str] | None,
        typer.Option("--output", "-o", metavar="FORMAT[=FILE]", help="text, json, markdown or sarif; repeatable."),
    ] = None,
    config: options.ConfigFile = None,
    issuer_url: options.IssuerUrl = None,
    namespace: options.Namespace = None,
    kubeconfig: options.Kubeconfig = None,
) -> None:
    """Show what manifests would change, and which client would gain or lose which scope. Nothing is written.

    Exit codes: 0: every object would be accepted. 1: an object would be refused. 2: the result is incomplete.
    """
    from scopewright.cli.plan import Request, plan_to_outputs

    set_up_logging("text", "error")
    request = Request(directory, against, cluster, prune, tuple(outputs or ["text"]), config, issuer_url, namespace)
    raise typer.Exit(plan_to_outputs(request, lambda: connected_api(kubeconfig)))


def _list_library_command(name: str, about: str) -> None:
    """List the command in `--help`. `main` runs it without typer, and parses its flags."""

    @app.command(name, help=about, add_help_option=False, context_settings={"ignore_unknown_options": True})
    def listed(arguments: Annotated[list[str] | None, typer.Argument()] = None) -> None:
        raise typer.Exit(library_commands.run([name, *(arguments or ())]))


for _name, _about in library_commands.ABOUT.items():
    _list_library_command(_name, _about)
