"""The most memory that this process has held since it began."""

import resource
import sys
from pathlib import Path

STATUS = Path("/proc/self/status")


def own_peak_mib() -> float:
    """Largest resident memory so far.

    Linux counts it anew for each program (VmHWM); `getrusage` there also counts what the parent held when it started
    this process, and is asked only where there is no /proc.
    """
    if STATUS.is_file():
        (line,) = [line for line in STATUS.read_text().splitlines() if line.startswith("VmHWM:")]
        return int(line.split()[1]) / 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)
