"""Marks a run as killed if the process that trains it ends without closing the run.

Runs as a program beside the training: `python -m sctransformer.tracking.watchdog RUN_ID PROCESS`, where PROCESS is a
`ProcessIdentity` as JSON.
"""

import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from sctransformer.processes import ProcessIdentity

INTERVAL_SECONDS = 1.0
"""Time between two checks of the process."""


@contextmanager
def watched(run_id: str) -> Iterator[None]:
    """Run the watchdog for this process while the block lasts."""
    process = json.dumps(ProcessIdentity.current().to_dict())
    command = [sys.executable, "-m", "sctransformer.tracking.watchdog", run_id, process]
    # A session of its own: Ctrl-C and the hang-up of the terminal must not end the watchdog.
    watchdog = subprocess.Popen(
        command, start_new_session=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        yield
    finally:
        watchdog.terminate()
        watchdog.wait()


def watch(run_id: str, process: ProcessIdentity) -> None:
    """Wait until a process ends; if its run is still open then, mark the run as killed."""
    while process.is_alive() is not False:
        time.sleep(INTERVAL_SECONDS)
    # Imported only now: MLflow would hold memory during the whole training.
    from sctransformer.errors import UserError
    from sctransformer.tracking import outbox, queries

    with contextlib.suppress(UserError):
        if queries.status_of(run_id) != "RUNNING":
            return
    outbox.finish_run(run_id, "KILLED")


if __name__ == "__main__":
    watch(sys.argv[1], ProcessIdentity.from_json(sys.argv[2]))
