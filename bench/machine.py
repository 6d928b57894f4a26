"""Facts about this machine and figures of processes, from /proc."""

import os
import platform
import time
from pathlib import Path
from typing import Any, Final

CONTROL_PLANE: Final = ("kube-apiserver", "etcd", "kube-controller")
_TICKS = os.sysconf("SC_CLK_TCK")


def facts() -> dict[str, Any]:
    """The properties of the machine that the figures depend on."""
    model = [line.partition(":")[2].strip() for line in _lines(Path("/proc/cpuinfo")) if line.startswith("model name")]
    return {
        "cores": os.cpu_count(),
        "cpu": model[0] if model else platform.processor(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "load_average": round(os.getloadavg()[0], 2),
    }


def worker_pids(pid: int) -> list[int]:
    """Return the ids of the serving processes: the children of the started process, or itself if it has none."""
    found = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(worker) for worker in found] or [pid]


def cpu_seconds(pid: int) -> float:
    """User and system time of the process so far, in seconds."""
    fields = _stat(pid)
    return (int(fields[11]) + int(fields[12])) / _TICKS


def cpu() -> dict[str, float]:
    """CPU seconds so far of this process, and of the control plane if this process started it."""
    control_plane = {name: cpu_seconds(pid) for name, pid in children().items() if name in CONTROL_PLANE}
    return {**control_plane, "bench": time.process_time()}


def cpu_used(before: dict[str, float], after: dict[str, float]) -> dict[str, float]:
    return {name: after[name] - seconds for name, seconds in before.items()}


def peak_mb(pid: int) -> float:
    """Peak resident memory of the process, in units of 10^6 bytes."""
    line = next(line for line in _lines(Path(f"/proc/{pid}/status")) if line.startswith("VmHWM:"))
    return round(int(line.split()[1]) * 1024 / 1e6, 1)


def children() -> dict[str, int]:
    """Process ids of the children of this process, by name."""
    found: dict[str, int] = {}
    for folder in Path("/proc").iterdir():
        if not folder.name.isdecimal():
            continue
        try:
            if int(_stat(int(folder.name))[1]) == os.getpid():
                found[(folder / "comm").read_text().strip()] = int(folder.name)
        except OSError:
            continue
    return found


def _stat(pid: int) -> list[str]:
    """The fields after the name; the name may contain blanks and parentheses."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def _lines(file: Path) -> list[str]:
    return file.read_text().splitlines()
