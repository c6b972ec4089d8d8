"""What every stage script does around its work: report errors in one sentence, note how long it took."""

import json
import os
import time
from collections.abc import Callable
from pathlib import Path

import psutil

from sctransformer.errors import run_reporting

TIMINGS_VARIABLE = "SCTRANSFORMER_STAGE_TIMINGS"
"""Names a file to which each stage appends a line {"stage": name, "seconds": seconds} when it has ended well."""


def run_stage(name: str, main: Callable[[], None]) -> None:
    """Run a stage from the command line."""
    run_reporting(main)
    timings = os.environ.get(TIMINGS_VARIABLE)
    if timings:
        seconds = time.time() - psutil.Process().create_time()  # imports are part of what a person waits for
        with Path(timings).open("a") as stream:
            stream.write(json.dumps({"stage": name, "seconds": seconds}) + "\n")
