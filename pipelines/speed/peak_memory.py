"""Duration and peak memory of a command with all its processes: `python -m pipelines.speed.peak_memory make demo`.

Memory is the sum of the proportional set sizes (pages shared by n processes count 1/n in each), sampled twice a second.
"""

import json
import subprocess
import sys
import time

import psutil

INTERVAL_S = 0.5


def family_memory(parent: psutil.Process) -> int:
    """Current memory of a process and all its descendants, in bytes."""
    total = 0
    for process in [parent, *parent.children(recursive=True)]:
        try:
            total += process.memory_full_info().pss
        except psutil.Error:  # the process has ended
            continue
    return total


def main(command: list[str]) -> int:
    """Run a command, print its duration and peak memory, return its exit code."""
    started, peak = time.perf_counter(), 0
    running = subprocess.Popen(command)
    parent = psutil.Process(running.pid)
    while running.poll() is None:
        peak = max(peak, family_memory(parent))
        time.sleep(INTERVAL_S)
    measured = {"seconds": round(time.perf_counter() - started, 1), "peak_gib": round(peak / 2**30, 2)}
    print(json.dumps({"command": command, **measured}))
    return running.returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
