"""What Linux tells of this machine and of processes."""

import os
import platform
import time
from pathlib import Path
from typing import Any, Final

CONTROL_PLANE: Final = ("kube-apiserver", "etcd", "kube-controller")
_TICKS = os.sysconf("SC_CLK_TCK")


def facts() -> dict[str, Any]:
    """What the figures depend on."""
    model = [line.partition(":")[2].strip() for line in _lines(Path("/proc/cpuinfo")) if line.startswith("model name")]
    return {
        "cores": os.cpu_count(),
        "cpu": model[0] if model else platform.processor(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "load_average": round(os.getloadavg()[0], 2),
    }


def cpu_seconds(pid: int) -> float:
    """What the process has used so far, of user and system time."""
    fields = _stat(pid)
    return (int(fields[11]) + int(fields[12])) / _TICKS


def cpu() -> dict[str, float]:
    """What this process and the control plane that it has started (if it has) have used so far, in seconds."""
    ours = {name: cpu_seconds(pid) for name, pid in children().items() if name in CONTROL_PLANE}
    return {**ours, "bench": time.process_time()}


def used(before: dict[str, float], after: dict[str, float]) -> dict[str, float]:
    return {name: after[name] - seconds for name, seconds in before.items()}


def peak_mb(pid: int) -> float:
    """The most memory that the process has had resident, in units of 10^6 bytes."""
    line = next(line for line in _lines(Path(f"/proc/{pid}/status")) if line.startswith("VmHWM:"))
    return round(int(line.split()[1]) * 1024 / 1e6, 1)


def children() -> dict[str, int]:
    """The processes that this one has started, by name."""
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
    """The fields after the name, which may hold blanks and parentheses."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def _lines(file: Path) -> list[str]:
    return file.read_text().splitlines()
