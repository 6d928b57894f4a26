"""init.py FOLDER: the first process of a node, in namespaces of its own. When it ends, the kernel ends the rest.

It has no effect on the machine: its network is isolated, its mounts are private, and its data is in memory. `unshare`
starts it as process 1 of a PID namespace. It starts the programs in settings.json of the folder: containerd first, and
the others when the images are loaded and the control plane has started.
"""

import json
import os
import pathlib
import subprocess
import sys
import time

# A kubelet sets these for the machine; here it changes copies.
KERNEL = ("vm/overcommit_memory", "vm/panic_on_oom", "kernel/panic", "kernel/panic_on_oops",
          "kernel/keys/root_maxkeys", "kernel/keys/root_maxbytes")  # fmt: skip


def main(folder: pathlib.Path) -> None:
    settings = json.loads((folder / "settings.json").read_text())
    os.environ["PATH"] = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    mount(folder)
    network(settings["address"])
    running: dict[int, str] = {}
    start(folder, running, "containerd", settings)
    while not pathlib.Path(settings["socket"]).exists():
        reap(running)
    for image in settings["images"]:
        ctr = [settings["ctr"], "--address", settings["socket"], "--namespace=k8s.io", "images", "import", image]
        subprocess.run(ctr, check=True)
    (folder / "ready").touch()
    while not (folder / "kubelet.kubeconfig").exists():
        reap(running)
    for name in ("kubelet", "kube-proxy"):
        start(folder, running, name, settings)
    while True:
        reap(running)


def mount(folder: pathlib.Path) -> None:
    """Mounts of the kubelet must propagate to the containers; `unshare` keeps them from the machine."""
    run("mount", "--make-rshared", "/")
    copies = folder / "sys"
    copies.mkdir()
    for name in KERNEL:
        copy = copies / name.replace("/", ".")
        copy.write_text((pathlib.Path("/proc/sys") / name).read_text())
        run("mount", "--bind", str(copy), f"/proc/sys/{name}")
    for place in ("/run", "/var/log"):
        run("mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", place)
    upper, work = pathlib.Path("/run/var-lib"), pathlib.Path("/run/var-lib.work")
    upper.mkdir()
    work.mkdir()
    run("mount", "-t", "overlay", "-o", f"lowerdir=/var/lib,upperdir={upper},workdir={work}", "overlay", "/var/lib")


def network(address: str) -> None:
    """The node's address, and a default route, without which packets to a Service are not redirected to Pods."""
    run("ip", "link", "set", "lo", "up")
    run("ip", "link", "add", "node", "type", "bridge")
    run("ip", "address", "add", f"{address}/32", "dev", "node")
    run("ip", "link", "set", "node", "up")
    run("ip", "route", "add", "default", "dev", "node", "src", address)
    pathlib.Path("/proc/sys/net/ipv4/ip_forward").write_text("1")


def start(folder: pathlib.Path, running: dict[int, str], name: str, settings: dict[str, dict[str, list[str]]]) -> None:
    program, *arguments = settings["programs"][name]
    with (folder / f"{name}.log").open("ab") as log:
        process = subprocess.Popen(
            [name, *arguments], executable=program, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=folder
        )
    running[process.pid] = name


def reap(running: dict[int, str]) -> None:
    """As the first process, reap all orphans. If one of the programs ends, the node ends."""
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            break
        if pid in running:
            sys.exit(f"{running[pid]} ended with status {os.waitstatus_to_exitcode(status)}")
        if pid == 0:
            break
    time.sleep(0.05)


def run(*command: str) -> None:
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
