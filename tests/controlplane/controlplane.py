"""etcd, kube-apiserver and the controllers that tests rely on, on 127.0.0.1."""

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
"""The Service of the API server, which takes the first address."""
_CONTROLLERS = (
    "garbage-collector-controller",
    "namespace-controller",
    "serviceaccount-controller",
    "serviceaccount-token-controller",
    "certificatesigningrequest-signing-controller",
    "clusterrole-aggregation-controller",
    "validatingadmissionpolicy-status-controller",
)


class ControlPlane(Cluster):
    """etcd, kube-apiserver and a few controllers on 127.0.0.1, up in seconds.

    In a folder that is kept, starting again finds the same objects, port and authority.
    """

    restartable = True
    address = "127.0.0.1"
    within: tuple[str, ...] = ()
    """The command that runs another where that address is."""

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
        """On the same port, with the same data; returns when it is ready."""
        if self._apiserver is not None and self._apiserver.alive():
            return
        self._apiserver = self._spawn_apiserver()
        wait_until(self.ready, seconds=120, children=[self._etcd, self._apiserver], what="ready")

    def stop_apiserver(self) -> None:
        """As in a crash: every connection breaks. etcd and the controllers stay."""
        if self._apiserver is not None:
            self._apiserver.kill()

    def restart_controllers(self) -> None:
        """The garbage collector looks for new kinds every 30 seconds; a new one knows them at once."""
        self._stop_controllers()
        self._start_controllers()

    def ready(self) -> bool:
        return self._answers("/readyz")

    def check(self) -> None:
        """Raise if a part of it has ended."""
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
        # A socket in a folder of ours, because etcd asks nobody who they are.
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
        # Endpoints may not name a loopback address, so nothing could keep those of the API server.
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
                # A namespace full of a test's objects goes in seconds, not at 20 requests a second.
                "--kube-api-qps=300",
                "--kube-api-burst=600",
            ],
        )

    def _end_apiserver(self) -> None:
        if self._apiserver is not None:
            # It would wait for watches that are still open, up to a minute.
            self._apiserver.stop(grace=3)

    def _stop_controllers(self) -> None:
        if self._controllers is not None:
            self._controllers.stop()
