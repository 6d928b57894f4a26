"""A cluster of one node whose Pods run: kubelet, containerd and kube-proxy, in namespaces that end with it."""

import contextlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

from tests.controlplane import ControlPlane, binaries, certificates
from tests.controlplane.processes import Child, wait_until

from . import cgroups
from .namespaces import UNSHARE, network_of
from .programs import Programs
from .settings import write

_INIT: Final = Path(__file__).with_name("init.py")


class Node(ControlPlane):
    """All data is in memory, and all processes in namespaces that the kernel ends with their first process.

    Inside the block, the thread that entered it is in the network of the node.
    """

    address = "10.77.0.1"

    def __init__(self, programs: Programs, images: list[Path]) -> None:
        super().__init__()
        self._programs = programs
        self._images = images

    def _find(self) -> binaries.Binaries:
        return binaries.build()

    def _start(self, undo: contextlib.ExitStack) -> None:
        folder = self._folder.path
        cgroup = undo.enter_context(cgroups.own(folder))
        write(folder, self._programs, self._images, address=self.address, cgroup=cgroup)
        unshare = [self._programs.unshare, *UNSHARE, sys.executable, "-I", "-S", str(_INIT)]
        self._init = Child([*unshare, str(folder)], log=folder / "init.log", cwd=folder)
        undo.callback(self._init.kill)
        wait_until((folder / "ready").exists, seconds=300, children=[self._init], what="ready for Pods")
        network = undo.enter_context(network_of(self._init.pid))
        self.within = (self._programs.nsenter, f"--net={network}", "--")
        super()._start(undo)
        self._scheduler = self._start_scheduler()
        undo.callback(self._scheduler.stop)
        self._write_kubeconfig(folder / "kube-proxy.kubeconfig", "system:kube-proxy", ())
        self._write_kubeconfig(folder / "kubelet.kubeconfig", "system:node:node", ("system:nodes",))
        wait_until(self._node_is_ready, seconds=300, children=[self._init], what="ready")

    def check(self) -> None:
        super().check()
        for child in (self._init, self._scheduler):
            child.check()

    def logs(self, lines: int = 60) -> str:
        """The last log lines of the programs of node and control plane."""
        return "\n".join(
            f"--- {log.name}\n" + "\n".join(log.read_text(errors="replace").splitlines()[-lines:])
            for log in sorted(self._folder.path.glob("*.log"))
        )

    def _apiserver_settings(self) -> tuple[str, ...]:
        kubelets = self._authority.client("kube-apiserver", ("system:masters",))
        for name, data in zip(("kubelets.crt", "kubelets.key"), kubelets, strict=True):
            certificates.write_private(self._folder.path / name, data)
        return (
            "--authorization-mode=Node,RBAC",
            "--enable-admission-plugins=NodeRestriction",
            "--kubelet-client-certificate=kubelets.crt",
            "--kubelet-client-key=kubelets.key",
            "--kubelet-preferred-address-types=InternalIP",
        )

    def _controllers_settings(self) -> tuple[str, ...]:
        return ("--root-ca-file=ca.crt", "--horizontal-pod-autoscaler-sync-period=2s")

    def _start_scheduler(self) -> Child:
        config = self._write_kubeconfig(self._folder.path / "scheduler.kubeconfig", "system:kube-scheduler", ())
        arguments = [f"--kubeconfig={config}", "--leader-elect=false", "--secure-port=0"]
        # It serves nothing, so it need not look up how to authenticate clients.
        return self._spawn(self._binaries.scheduler, [*arguments, "--authentication-skip-lookup"])

    def _node_is_ready(self) -> bool:
        nodes = self._kubectl("get", "nodes", "--output=json")
        conditions = [c for node in nodes.get("items", ()) for c in node["status"].get("conditions", ())]
        return any((c["type"], c["status"]) == ("Ready", "True") for c in conditions)

    def _kubectl(self, *arguments: str) -> dict[str, Any]:
        command = [str(self.kubectl), "--kubeconfig", str(self.kubeconfig), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        found: dict[str, Any] = json.loads(done.stdout or "{}")
        return found
