"""Peak memory of this process. Does not import torch by itself, which would be part of what it measures."""

import resource
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
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


def peak_gpu_mib(device: "torch.device") -> float | None:
    """Largest memory that torch has allocated on a GPU so far; None for a CPU."""
    if device.type != "cuda":
        return None
    import torch

    return torch.cuda.max_memory_allocated(device) / 2**20
