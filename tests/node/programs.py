"""The programs of a node: from Debian, and of a Kubernetes version that supports Debian's containerd."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.debian import program
from tests.go_program import go_program

_KUBERNETES: Final = Path(__file__).with_name("kubernetes")
_VERSION: Final = next(
    line.split()[1]
    for line in (_KUBERNETES / "go.mod").read_text().splitlines()
    if line.startswith("\tk8s.io/kubernetes ")
)
_LDFLAGS: Final = "-s -w " + " ".join(
    f"-X k8s.io/component-base/version.{name}={value}"
    for name, value in zip(
        ("gitVersion", "gitMajor", "gitMinor"), (_VERSION, *_VERSION.removeprefix("v").split(".")[:2]), strict=True
    )
)


@dataclass(frozen=True)
class Programs:
    """Found, installed or built; the latter two need a network."""

    containerd: str
    ctr: str
    unshare: str
    nsenter: str
    kubernetes: str
    """kubelet and kube-proxy."""
    pause: Path
    network: Path
    """The folder with the plugins that give Pods their network."""

    @classmethod
    def ready(cls) -> "Programs":
        program("runc", package="runc")
        bridge = program("/usr/lib/cni/bridge", "/opt/cni/bin/bridge", package="containernetworking-plugins")
        files = ("go.mod", "go.sum", "main.go", "pause/main.go")
        return cls(
            containerd=program("containerd", package="containerd"),
            ctr=program("ctr", package="containerd"),
            network=Path(bridge).parent,
            unshare=program("unshare", package="util-linux"),
            nsenter=program("nsenter", package="util-linux"),
            kubernetes=str(go_program("kubelet", _KUBERNETES, files, ldflags=_LDFLAGS)),
            pause=go_program("pause", _KUBERNETES, files, package="./pause", ldflags="-s -w"),
        )
