"""A control plane on 127.0.0.1: etcd, kube-apiserver and the controllers that tests rely on."""

import contextlib
import hashlib
import http.client
import ssl
from pathlib import Path
from types import TracebackType
from typing import Self

from . import binaries, certificates
from .cluster import Cluster
from .errors import ControlPlaneError
from .folders import Folder
from .processes import Child, wait_until

_ETCD = "unix://etcd.sock:0"
_SERVICES = "10.96.0.0/16"
_KUBERNETES = "10.96.0.1"
"""The address of the API server's Service: the first of the range."""
_CONTROLLERS = (
    "garbage-collector-controller",
    "namespace-controller",
    "persistentvolumeclaim-protection-controller",
    "serviceaccount-controller",
    "serviceaccount-token-controller",
    "certificatesigningrequest-signing-controller",
    "clusterrole-aggregation-controller",
    "validatingadmissionpolicy-status-controller",
)


class ControlPlane(Cluster):
    """etcd, kube-apiserver and a few controllers on 127.0.0.1, which start in seconds.

    With a given folder, a later start has the same objects, port and CA.
    """

    restartable = True
    address = "127.0.0.1"
    within: tuple[str, ...] = ()
    """A prefix for every command, such as one that enters a network namespace."""

    def __init__(self, folder: Path | None = None) -> None:
        self._kept = folder
        self._running = contextlib.ExitStack()
        self._apiserver: Child | None = None
        self._controllers: Child | None = None

    def __enter__(self) -> Self:
        self._binaries = self._find()
        self.kubectl = self._binaries.kubectl
        with contextlib.ExitStack() as undo:
            try:
                self._folder = Folder(self._kept)
            except BlockingIOError:
                raise ControlPlaneError(f"a control plane is running in {self._kept} already") from None
            undo.callback(self._folder.close)
            self._start(undo)
            self._running = undo.pop_all()
        return self

    def _find(self) -> binaries.Binaries:
        return binaries.find()

    def _start(self, undo: contextlib.ExitStack) -> None:
        self.port = self._folder.port()
        self._prepare()
        self._etcd = self._start_etcd()
        undo.callback(self._etcd.stop)
        undo.callback(self._end_apiserver)
        self.start_apiserver()
        undo.callback(self._stop_controllers)
        self._start_controllers()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._running.close()

    @property
    def server(self) -> str:
        return f"https://{self.address}:{self.port}"

    def kubeconfig_for(self, user: str, *groups: str) -> Path:
        name = hashlib.sha256("\0".join((user, *groups)).encode()).hexdigest()[:16]
        return self._write_kubeconfig(self._folder.path / f"kubeconfig-{name}", user, groups)

    def start_apiserver(self) -> None:
        """Start it on the same port with the same data, and wait until it is ready."""
        if self._apiserver is not None and self._apiserver.alive():
            return
        self._apiserver = self._spawn_apiserver()
        wait_until(self.ready, seconds=120, children=[self._etcd, self._apiserver], what="ready")

    def stop_apiserver(self) -> None:
        """SIGKILL: all connections break. etcd and the controllers keep running."""
        if self._apiserver is not None:
            self._apiserver.kill()

    def restart_controllers(self) -> None:
        """Restart the controllers: the garbage collector discovers new kinds at its start, and else every 30 s."""
        self._stop_controllers()
        self._start_controllers()

    def ready(self) -> bool:
        return self._answers("/readyz")

    def check(self) -> None:
        """Raise an error if one of the processes has ended."""
        for child in (self._etcd, self._apiserver, self._controllers):
            if child is not None:
                child.check()

    def _prepare(self) -> None:
        folder = self._folder.path
        for log in folder.glob("*.log"):
            log.unlink()
        self._authority = certificates.Authority.at(folder)
        self._trust = ssl.create_default_context(cadata=self._authority.pem.decode())
        certificate, key = self._authority.server(self.address, _KUBERNETES)
        certificates.write_private(folder / "server.crt", certificate)
        certificates.write_private(folder / "server.key", key)
        if not (folder / "serviceaccounts.key").exists():
            certificates.write_private(folder / "serviceaccounts.key", certificates.service_account_key())
        masters = ("system:masters",)
        self.kubeconfig = self._write_kubeconfig(folder / "kubeconfig", "admin", masters)
        self._write_kubeconfig(folder / "controllers.kubeconfig", "system:kube-controller-manager", masters)

    def _write_kubeconfig(self, path: Path, user: str, groups: tuple[str, ...]) -> Path:
        certificate, key = self._authority.client(user, groups)
        cluster: dict[str, object] = {
            "server": self.server,
            "certificate-authority-data": certificates.text(self._authority.pem),
        }
        return certificates.write_private(path, certificates.kubeconfig(cluster, certificate, key))

    def _answers(self, path: str) -> bool:
        connection = http.client.HTTPSConnection(self.address, self.port, context=self._trust, timeout=5)
        try:
            connection.request("GET", path)
            return connection.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    def _spawn(self, program: Path, arguments: list[str]) -> Child:
        folder = self._folder.path
        return Child([*self.within, str(program), *arguments], log=folder / f"{program.name}.log", cwd=folder)

    def _start_etcd(self) -> Child:
        # A Unix socket in a private folder, because etcd does not authenticate clients.
        (self._folder.path / "etcd.sock:0").unlink(missing_ok=True)
        (self._folder.path / "etcd-peer.sock:0").unlink(missing_ok=True)
        arguments = [
            "--data-dir=etcd",
            f"--listen-client-urls={_ETCD}",
            f"--advertise-client-urls={_ETCD}",
            "--listen-peer-urls=unix://etcd-peer.sock:0",
            "--initial-advertise-peer-urls=unix://etcd-peer.sock:0",
            "--initial-cluster=default=unix://etcd-peer.sock:0",
            "--enable-grpc-gateway=false",
            "--log-level=warn",
        ]
        if not self._folder.kept:
            arguments.append("--unsafe-no-fsync")
        return self._spawn(self._binaries.etcd, arguments)

    def _spawn_apiserver(self) -> Child:
        return self._spawn(
            self._binaries.apiserver,
            [
                f"--etcd-servers={_ETCD}",
                f"--bind-address={self.address}",
                f"--advertise-address={self.address}",
                f"--secure-port={self.port}",
                f"--service-cluster-ip-range={_SERVICES}",
                "--tls-cert-file=server.crt",
                "--tls-private-key-file=server.key",
                "--client-ca-file=ca.crt",
                "--service-account-issuer=https://kubernetes.default.svc",
                "--service-account-signing-key-file=serviceaccounts.key",
                "--service-account-key-file=serviceaccounts.key",
                "--profiling=false",
                *self._apiserver_settings(),
            ],
        )

    def _apiserver_settings(self) -> tuple[str, ...]:
        # Endpoints must not be loopback addresses, so the API server cannot write its own.
        return ("--endpoint-reconciler-type=none", "--authorization-mode=RBAC")

    def _controllers_settings(self) -> tuple[str, ...]:
        return (f"--controllers={','.join(_CONTROLLERS)}",)

    def _start_controllers(self) -> None:
        self._controllers = self._spawn(
            self._binaries.controller_manager,
            [
                "--kubeconfig=controllers.kubeconfig",
                *self._controllers_settings(),
                "--service-account-private-key-file=serviceaccounts.key",
                "--cluster-signing-cert-file=ca.crt",
                "--cluster-signing-key-file=ca.key",
                "--leader-elect=false",
                "--secure-port=0",
                # The default of 20 requests a second would delete a full namespace too slowly.
                "--kube-api-qps=300",
                "--kube-api-burst=600",
            ],
        )

    def _end_apiserver(self) -> None:
        if self._apiserver is not None:
            # Otherwise it waits up to a minute for open watches.
            self._apiserver.stop(grace=3)

    def _stop_controllers(self) -> None:
        if self._controllers is not None:
            self._controllers.stop()
