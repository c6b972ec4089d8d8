"""Shared by all stage scripts: report errors in one sentence, record the duration."""

import json
import os
import time
from collections.abc import Callable
from pathlib import Path

import psutil

from sctransformer.errors import run_reporting

TIMINGS_VARIABLE = "SCTRANSFORMER_STAGE_TIMINGS"
"""Environment variable with a file to which each stage appends {"stage": name, "seconds": seconds} when it succeeds."""


def read_timings(file: Path) -> dict[str, float]:
    """Duration in seconds of each stage that has written to a file of timings."""
    lines = file.read_text().splitlines() if file.is_file() else []
    return {line["stage"]: line["seconds"] for line in map(json.loads, lines)}


def run_stage(name: str, main: Callable[[], None]) -> None:
    """Run a stage from the command line."""
    run_reporting(main)
    timings = os.environ.get(TIMINGS_VARIABLE)
    if timings:
        seconds = time.time() - psutil.Process().create_time()  # imports count, too
        with Path(timings).open("a") as stream:
            stream.write(json.dumps({"stage": name, "seconds": seconds}) + "\n")
