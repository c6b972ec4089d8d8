"""Peak memory of this process."""

import resource
import sys
from pathlib import Path

import torch

_STATUS = Path("/proc/self/status")


def peak_resident_mib() -> float:
    """Largest resident memory of this process so far.

    Read from /proc where it exists: `getrusage` keeps the peak across `exec`, so a worker would report the peak of its
    parent.
    """
    try:
        for line in _STATUS.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    except OSError:
        pass
    unit = 1 if sys.platform == "darwin" else 1024  # bytes on macOS, KiB elsewhere
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20


def peak_gpu_mib(device: torch.device) -> float | None:
    """Largest memory that torch has allocated on a GPU so far; None for a CPU."""
    return torch.cuda.max_memory_allocated(device) / 2**20 if device.type == "cuda" else None
