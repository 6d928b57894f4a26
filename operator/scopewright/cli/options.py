"""Flags and their environment variables, with help texts."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer


class LogFormat(StrEnum):
    text = "text"
    json = "json"


class LogLevel(StrEnum):
    debug = "debug"
    info = "info"
    warning = "warning"
    error = "error"


def _flag(name: str, help_: str | None = None, variable: str = "") -> Any:
    """A flag that the environment may set: `--log-level` by SCOPEWRIGHT_LOG_LEVEL, or by `variable`."""
    return typer.Option(name, envvar=variable or "SCOPEWRIGHT" + name.upper().replace("-", "_")[1:], help=help_)


ConfigFile = Annotated[Path | None, _flag("--config", "YAML file with the platform's configuration.")]
IssuerUrl = Annotated[str | None, _flag("--issuer-url", "URL of the issuer, the `iss` of its tokens.")]
Namespace = Annotated[str | None, _flag("--namespace", "The issuer's namespace. [scopewright-system]")]
Kubeconfig = Annotated[
    Path | None,
    typer.Option("--kubeconfig", help="Kubeconfig file. [KUBECONFIG, ~/.kube/config, or the Pod]"),
]
Format = Annotated[LogFormat, _flag("--log-format")]
Level = Annotated[LogLevel, _flag("--log-level")]
Listen = Annotated[str, _flag("--listen", "Address of /healthz, /readyz and /metrics.")]
IssuerServiceAccount = Annotated[
    str | None,
    _flag("--issuer-service-account", "ServiceAccount of an issuer sidecar: the operator requests its tokens."),
]
IssuerIdentity = Annotated[
    Path | None, _flag("--issuer-identity", "Folder for these tokens, which the sidecar mounts.")
]
Workers = Annotated[
    int | None, _flag("--workers", "Objects reconciled concurrently. [24]", "SCOPEWRIGHT_OPERATOR_WORKERS")
]
KubeApiQps = Annotated[float | None, _flag("--kube-api-qps", "API requests a second. [0: no limit]")]
KubeApiBurst = Annotated[int | None, _flag("--kube-api-burst", "API requests at once. [0: no limit]")]
LeaseDuration = Annotated[str | None, _flag("--lease-duration", "Time until a standby takes over. [8s]")]
LeaseRenewDeadline = Annotated[
    str | None, _flag("--lease-renew-deadline", "Time until a leader that cannot renew stops writing. [5s]")
]
LeaseRetryPeriod = Annotated[str | None, _flag("--lease-retry-period", "Time between renewals. [1s]")]
State = Annotated[Path, typer.Option("--state", help="Directory for Secrets, keys and status of `dev`.")]
Source = Annotated[str, _flag("--source", "`kubernetes`, or the STATE directory of `dev`.")]
ListenIssuer = Annotated[str, _flag("--listen", "Address of the issuer.")]
MetricsListen = Annotated[
    str | None, _flag("--metrics-listen", "Address of /metrics, /healthz and /readyz, without TLS. Default: none.")
]
Snapshot = Annotated[Path | None, _flag("--snapshot", "File to start from while the source is down.")]
ServingWorkers = Annotated[str, _flag("--workers", "Processes that share the port: a number, or `auto` (CPUs).")]
Sessions = Annotated[
    str | None,
    _flag(
        "--sessions",
        "Sessions of users: a SQLite file on a local volume, or a Valkey or Redis URL. Default: no user can log in.",
    ),
]
TlsCert = Annotated[Path | None, _flag("--tls-cert", "Certificate chain (PEM); reloaded when it changes.")]
TlsKey = Annotated[Path | None, _flag("--tls-key", "Its private key (PEM).")]
Replay = Annotated[
    str, _flag("--replay", "Replay memory of assertions and proofs: `memory`, a Valkey or Redis URL, or `per-process`.")
]
ReplayCapacity = Annotated[
    int,
    _flag(
        "--replay-capacity",
        "Assertions and proofs remembered by one process. 0: 100,000 in memory, 1,000,000 in a Valkey or Redis.",
    ),
]
ListenGateway = Annotated[str, _flag("--listen", "Address that proxies ask, such as 0.0.0.0:8083.")]
Profiles = Annotated[
    list[str] | None,
    _flag("--profile", "Proxy that asks: nginx, ingress-nginx, envoy, haproxy, caddy or traefik; repeatable."),
]
IdentityHeaderNames = Annotated[
    list[str] | None,
    _flag(
        "--identity-header",
        "VALUE=NAME: the header with subject, client, scope, roles or token-id; repeatable. [X-Auth-Subject, …]",
    ),
]
ProofReplay = Annotated[
    str, _flag("--replay", "Replay memory of DPoP proofs: `memory`, a Valkey or Redis URL, or `per-process`.")
]
ProofCapacity = Annotated[
    int,
    _flag(
        "--replay-capacity",
        "Proofs remembered by one process. 0: 100,000 in memory, 1,000,000 in a Valkey or Redis.",
    ),
]
ProxyConnectionMemory = Annotated[str, _flag("--connection-memory", "Memory for all connections of one process.")]
ConnectionsPerAddress = Annotated[
    int, _flag("--connections-per-address", "Connections of one address (also of a proxy) to one process. 0: no limit.")
]
ConnectionMemory = Annotated[
    str, _flag("--connection-memory", "Memory for all connections of one process; one address may use a quarter of it.")
]
TrustedProxies = Annotated[
    str, _flag("--trusted-proxies", "Networks (CIDR, comma-separated) whose X-Forwarded-For is trusted. Default: none.")
]
UsageEvery = Annotated[float, _flag("--usage-every", "Seconds between usage reports.")]
