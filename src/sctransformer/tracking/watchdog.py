"""Says of a run that it was killed, when the process that trains it is no more and could not say so itself.

Run as a program beside the training: `python -m sctransformer.tracking.watchdog RUN_ID PID CREATE_TIME`.
"""

import contextlib
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import psutil

SECONDS = 1.0
"""Between two looks at the process."""


@contextmanager
def watched(run_id: str) -> Iterator[None]:
    """Have a process of its own watch over this one while the block lasts."""
    process = psutil.Process()
    command = [sys.executable, "-m", "sctransformer.tracking.watchdog", run_id, str(process.pid)]
    command.append(repr(process.create_time()))
    # a session of its own: Ctrl-C and the end of the terminal are not meant for it
    guardian = subprocess.Popen(
        command, start_new_session=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        yield
    finally:
        guardian.terminate()
        guardian.wait()


def lives(pid: int, created: float) -> bool:
    """Whether the process is there, and is the one that was started then."""
    try:
        process = psutil.Process(pid)
        return process.create_time() == created and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def watch(run_id: str, pid: int, created: float) -> None:
    """Wait for the end of a process; if its run is still open then, close it as killed."""
    while lives(pid, created):
        time.sleep(SECONDS)
    from sctransformer.errors import UserError
    from sctransformer.tracking import outbox, queries

    with contextlib.suppress(UserError):
        if queries.status_of(run_id) != "RUNNING":
            return
    outbox.finish_run(run_id, "KILLED")


if __name__ == "__main__":
    watch(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]))
