"""Threads of a measurement kept on the same cores, where the platform allows it: a moved thread finds cold caches."""

import os
import time
from pathlib import Path

WATCH_S = 0.2


def pin(threads: int) -> tuple[int, ...]:
    """Keep this process on its `threads` idlest cores; returns them, or () where it needs all or cannot be kept."""
    if not hasattr(os, "sched_setaffinity"):
        return ()
    allowed = sorted(os.sched_getaffinity(0))
    if threads >= len(allowed):
        return ()
    before = busy_ticks()
    time.sleep(WATCH_S)
    cores = idlest(allowed, before, busy_ticks(), threads)
    os.sched_setaffinity(0, cores)
    return cores


def idlest(allowed: list[int], before: dict[int, int], after: dict[int, int], count: int) -> tuple[int, ...]:
    """The cores that were least busy in between; later ones first among equals, since systems favour the first."""
    order = sorted(allowed, key=lambda core: (after.get(core, 0) - before.get(core, 0), -core))
    return tuple(sorted(order[:count]))


def busy_ticks(path: Path = Path("/proc/stat")) -> dict[int, int]:
    """Ticks since the start of the system that each core was not idle; empty where it is not known."""
    if not path.exists():
        return {}
    found = {}
    for line in path.read_text().splitlines():
        name, *ticks = line.split()
        if name.startswith("cpu") and name != "cpu":
            counts = [int(t) for t in ticks[:8]]  # what follows is part of the first two
            found[int(name[3:])] = sum(counts) - counts[3] - counts[4]  # without idle and waiting for a disk
    return found
