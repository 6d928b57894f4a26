"""Whether this machine can run a node, and if not, why."""

import os
import subprocess
import sys
from pathlib import Path

from tests.debian import program

from .cgroups import hierarchies
from .namespaces import UNSHARE

_TRIAL = "mount -t tmpfs tmpfs /run && ip link add trial type bridge && iptables -t nat -L -n"


def obstacle() -> str | None:
    """Why Pods cannot run here. Missing programs do not count: they are installed, or the test is skipped."""
    if sys.platform != "linux":
        return "Pods need Linux"
    if os.geteuid() != 0:
        return "a kubelet needs root"
    if "\toverlay\n" not in Path("/proc/filesystems").read_text():
        return "this kernel has no overlay file system, from which containers are made"
    if not any(os.access(hierarchy, os.W_OK) for hierarchy in hierarchies()):
        return "no control groups that may be written to are mounted here"
    program("ip", package="iproute2")
    program("iptables", package="iptables")
    unshare = program("unshare", package="util-linux")
    trial = subprocess.run([unshare, *UNSHARE, "sh", "-c", _TRIAL], capture_output=True, text=True, check=False)
    if trial.returncode:
        return f"a network, mounts and firewall of one's own are refused here: {trial.stderr.strip()}"
    return None
