"""How much memory this process has taken at most."""

import resource
import sys
from pathlib import Path

import torch

_STATUS = Path("/proc/self/status")


def most_resident_mib() -> float:
    """Largest resident memory of this process up to now.

    Read from /proc where there is one: what `getrusage` says is not reset when a process becomes another program, so a
    worker would show its parent's peak.
    """
    try:
        for line in _STATUS.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    except OSError:
        pass
    unit = 1 if sys.platform == "darwin" else 1024  # bytes there, KiB elsewhere
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20


def most_allocated_mib(device: torch.device) -> float | None:
    """Most memory that torch had on a GPU up to now; None for a CPU."""
    return torch.cuda.max_memory_allocated(device) / 2**20 if device.type == "cuda" else None
