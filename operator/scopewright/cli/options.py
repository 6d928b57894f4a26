"""Flags and their environment variables, with help texts."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


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
    typer.Option("--issuer-url", envvar="SCOPEWRIGHT_ISSUER_URL", help="URL of the issuer, the `iss` of its tokens."),
]
Namespace = Annotated[
    str | None,
    typer.Option("--namespace", envvar="SCOPEWRIGHT_NAMESPACE", help="The issuer's namespace. [scopewright-system]"),
]
Kubeconfig = Annotated[
    Path | None,
    typer.Option("--kubeconfig", help="Kubeconfig file. [KUBECONFIG, ~/.kube/config, or the Pod]"),
]
Format = Annotated[LogFormat, typer.Option("--log-format", envvar="SCOPEWRIGHT_LOG_FORMAT")]
Level = Annotated[LogLevel, typer.Option("--log-level", envvar="SCOPEWRIGHT_LOG_LEVEL")]
Listen = Annotated[
    str, typer.Option("--listen", envvar="SCOPEWRIGHT_LISTEN", help="Address of /healthz, /readyz and /metrics.")
]
IssuerServiceAccount = Annotated[
    str | None,
    typer.Option(
        "--issuer-service-account",
        envvar="SCOPEWRIGHT_ISSUER_SERVICE_ACCOUNT",
        help="ServiceAccount of an issuer sidecar: the operator requests its tokens.",
    ),
]
IssuerIdentity = Annotated[
    Path | None,
    typer.Option(
        "--issuer-identity",
        envvar="SCOPEWRIGHT_ISSUER_IDENTITY",
        help="Folder for these tokens, which the sidecar mounts.",
    ),
]
Workers = Annotated[
    int | None,
    typer.Option("--workers", envvar="SCOPEWRIGHT_OPERATOR_WORKERS", help="Objects reconciled concurrently. [24]"),
]
KubeApiQps = Annotated[
    float | None,
    typer.Option("--kube-api-qps", envvar="SCOPEWRIGHT_KUBE_API_QPS", help="API requests a second. [0: no limit]"),
]
KubeApiBurst = Annotated[
    int | None,
    typer.Option(
        "--kube-api-burst",
        envvar="SCOPEWRIGHT_KUBE_API_BURST",
        help="API requests at once. [0: no limit]",
    ),
]
LeaseDuration = Annotated[
    str | None,
    typer.Option("--lease-duration", envvar="SCOPEWRIGHT_LEASE_DURATION", help="Time until a standby takes over. [8s]"),
]
LeaseRenewDeadline = Annotated[
    str | None,
    typer.Option(
        "--lease-renew-deadline",
        envvar="SCOPEWRIGHT_LEASE_RENEW_DEADLINE",
        help="Time until a leader that cannot renew stops writing. [5s]",
    ),
]
LeaseRetryPeriod = Annotated[
    str | None,
    typer.Option("--lease-retry-period", envvar="SCOPEWRIGHT_LEASE_RETRY_PERIOD", help="Time between renewals. [1s]"),
]
Source = Annotated[
    str,
    typer.Option("--source", envvar="SCOPEWRIGHT_SOURCE", help="`kubernetes`, or the STATE directory of `dev`."),
]
ListenIssuer = Annotated[str, typer.Option("--listen", envvar="SCOPEWRIGHT_LISTEN", help="Address of the issuer.")]
MetricsListen = Annotated[
    str | None,
    typer.Option(
        "--metrics-listen",
        envvar="SCOPEWRIGHT_METRICS_LISTEN",
        help="Address of /metrics, /healthz and /readyz, without TLS. Default: none.",
    ),
]
Snapshot = Annotated[
    Path | None,
    typer.Option("--snapshot", envvar="SCOPEWRIGHT_SNAPSHOT", help="File to start from while the source is down."),
]
IssuerWorkers = Annotated[
    str,
    typer.Option(
        "--workers", envvar="SCOPEWRIGHT_WORKERS", help="Processes that share the port: a number, or `auto` (CPUs)."
    ),
]
TlsCert = Annotated[
    Path | None,
    typer.Option(
        "--tls-cert", envvar="SCOPEWRIGHT_TLS_CERT", help="Certificate chain (PEM); reloaded when it changes."
    ),
]
TlsKey = Annotated[Path | None, typer.Option("--tls-key", envvar="SCOPEWRIGHT_TLS_KEY", help="Its private key (PEM).")]
Replay = Annotated[
    str,
    typer.Option(
        "--replay",
        envvar="SCOPEWRIGHT_REPLAY",
        help="Replay memory of assertions and proofs: `memory`, a Valkey or Redis URL, or `per-process`.",
    ),
]
ReplayCapacity = Annotated[
    int,
    typer.Option(
        "--replay-capacity",
        envvar="SCOPEWRIGHT_REPLAY_CAPACITY",
        help="Assertions and proofs remembered by one process. 0: 100,000 in memory, 1,000,000 in a Valkey or Redis.",
    ),
]
ConnectionsPerAddress = Annotated[
    int,
    typer.Option(
        "--connections-per-address",
        envvar="SCOPEWRIGHT_CONNECTIONS_PER_ADDRESS",
        help="Connections of one address (also of a proxy) to one process. 0: no limit.",
    ),
]
ConnectionMemory = Annotated[
    str,
    typer.Option(
        "--connection-memory",
        envvar="SCOPEWRIGHT_CONNECTION_MEMORY",
        help="Memory for all connections of one process; one address may use a quarter of it.",
    ),
]
TrustedProxies = Annotated[
    str,
    typer.Option(
        "--trusted-proxies",
        envvar="SCOPEWRIGHT_TRUSTED_PROXIES",
        help="Networks (CIDR, comma-separated) whose X-Forwarded-For is trusted. Default: none.",
    ),
]
UsageEvery = Annotated[
    float,
    typer.Option("--usage-every", envvar="SCOPEWRIGHT_USAGE_EVERY", help="Seconds between usage reports."),
]
