"""Settings of containerd, kubelet and kube-proxy, which leave the machine's own settings unchanged."""

import json
from pathlib import Path
from typing import Any, Final

import yaml

from .programs import Programs

PAUSE: Final = "scopewright.example/pause:built"
"""The pause image."""
_PODS: Final = "10.77.1.0/24"
_SOCKET: Final = "/run/containerd/containerd.sock"


def write(folder: Path, programs: Programs, images: list[Path], *, address: str, cgroup: str) -> None:
    """Write the files that init.py and its programs read, without the kubeconfigs."""
    cni = folder / "cni"
    cni.mkdir()
    (cni / "10-pods.conflist").write_text(json.dumps(_NETWORK))
    containerd = _CONTAINERD.format(socket=_SOCKET, pause=PAUSE, cni=cni, plugins=programs.network)
    (folder / "containerd.toml").write_text(containerd)
    authentication = {**_KUBELET["authentication"], "x509": {"clientCAFile": str(folder / "ca.crt")}}
    kubelet = {**_KUBELET, "address": address, "cgroupRoot": cgroup, "authentication": authentication}
    (folder / "kubelet.yaml").write_text(yaml.safe_dump(kubelet))
    proxy = {**_PROXY, "clientConnection": {"kubeconfig": str(folder / "kube-proxy.kubeconfig")}}
    (folder / "kube-proxy.yaml").write_text(yaml.safe_dump(proxy))
    of_the_node = [programs.kubernetes, "--hostname-override=node"]
    commands = {
        "containerd": [programs.containerd, f"--config={folder / 'containerd.toml'}"],
        "kubelet": [
            *of_the_node,
            f"--config={folder / 'kubelet.yaml'}",
            f"--kubeconfig={folder / 'kubelet.kubeconfig'}",
            f"--node-ip={address}",
        ],
        "kube-proxy": [*of_the_node, f"--config={folder / 'kube-proxy.yaml'}"],
    }
    settings = {
        "address": address,
        "socket": _SOCKET,
        "ctr": programs.ctr,
        "images": [str(image) for image in images],
        "programs": commands,
    }
    (folder / "settings.json").write_text(json.dumps(settings))


_CONTAINERD: Final = """\
version = 2
root = "/run/containerd-root"
state = "/run/containerd"
disabled_plugins = ["io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.zfs",
  "io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.devmapper", "io.containerd.internal.v1.opt"]
[grpc]
  address = "{socket}"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{pause}"
  restrict_oom_score_adj = true
  disable_apparmor = true
  disable_hugetlb_controller = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{plugins}"
    conf_dir = "{cni}"
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
      SystemdCgroup = false
"""

_NETWORK: Final[dict[str, Any]] = {
    "cniVersion": "0.4.0",
    "name": "pods",
    "plugins": [
        {
            "type": "bridge",
            "bridge": "pods",
            "isGateway": True,
            "hairpinMode": True,
            "ipam": {
                "type": "host-local",
                "ranges": [[{"subnet": _PODS}]],
                "routes": [{"dst": "0.0.0.0/0"}],
            },
        }
    ],
}

_KUBELET: Final[dict[str, Any]] = {
    "apiVersion": "kubelet.config.k8s.io/v1beta1",
    "kind": "KubeletConfiguration",
    "containerRuntimeEndpoint": f"unix://{_SOCKET}",
    "cgroupDriver": "cgroupfs",
    "failSwapOn": False,
    "enforceNodeAllocatable": [],
    "authentication": {"anonymous": {"enabled": False}, "webhook": {"enabled": True}},
    "authorization": {"mode": "Webhook"},
    "readOnlyPort": 0,
    "healthzPort": 0,
    # There is no DNS: names are in the hosts file of the Pods.
    "resolvConf": "",
    # No evictions: the Pods do not cause a shortage of this machine.
    "evictionHard": {"memory.available": "0%", "nodefs.available": "0%", "imagefs.available": "0%",
                     "nodefs.inodesFree": "0%", "imagefs.inodesFree": "0%"},
    "imageGCHighThresholdPercent": 100,
    # Delay until a Pod sees a changed Secret.
    "syncFrequency": "5s",
}  # fmt: skip

_PROXY: Final[dict[str, Any]] = {
    "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
    "kind": "KubeProxyConfiguration",
    "mode": "iptables",
    "clusterCIDR": _PODS,
    # Kernel limits belong to the machine and are not changed.
    "conntrack": {"maxPerCore": 0, "min": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"},
    "iptables": {"localhostNodePorts": False},
    "metricsBindAddress": "",
    "healthzBindAddress": "",
}
