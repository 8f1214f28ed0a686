"""Memory of a device that nobody uses now."""

import math
from pathlib import Path

import torch

from evaluators.memory import MB

MEMINFO, CGROUP_LIMIT = Path("/proc/meminfo"), Path("/sys/fs/cgroup/memory.max")


def free_mb(device: str, meminfo: Path = MEMINFO, limit: Path = CGROUP_LIMIT) -> float | None:
    """MB: of a GPU what is free there, of the CPU what the system can give, at most what its container may take.

    None where the system does not say.
    """
    if device.startswith("cuda"):
        return torch.cuda.mem_get_info(torch.device(device))[0] / MB
    try:
        free = next(line for line in meminfo.read_text().splitlines() if line.startswith("MemAvailable:"))
    except (OSError, StopIteration):
        return None
    most = limit.read_text().strip() if limit.is_file() else "max"
    return min(int(free.split()[1]) * 1024, math.inf if most == "max" else int(most)) / MB
