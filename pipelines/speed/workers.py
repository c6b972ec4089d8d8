"""Training with Ray: its overhead over the bare loop, two workers compared with one, steps repeated after a kill.

`python -m pipelines.speed.workers` prints JSON lines and ratios. The bare loop, one worker and two workers take
turns, each with one thread.
"""

import argparse
import functools
import json
import os
import signal
import statistics
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import psutil
import torch

from pipelines.speed.model import Case
from pipelines.speed.training import epochs_of
from pipelines.speed.training_cells import task_of, write_cells
from sctransformer.model import Model
from sctransformer.training.cluster import Workers, fit_on_ray
from sctransformer.training.execution import Execution
from sctransformer.training.ray_connection import connection
from sctransformer.training.report import EpochReport
from sctransformer.training.run_folder import RunFolder
from sctransformer.training.task import Files, Task

EPOCHS = 6
"""Epochs of each run; the first one is a warm-up and does not count."""


def speed_with_ray(task: Task, workers: int, folder: Path) -> float:
    """Cells/s of an epoch after the first, as median."""
    reports: list[EpochReport] = []
    run = RunFolder(folder, f"speed-{workers}")
    fit_on_ray(task, Workers(count=workers), run, reports.append)
    run.remove()
    return statistics.median(report.cells_per_second for report in reports[1:])


def counting_model(make: Callable[[Files], Model], log: Path, files: Files) -> Model:
    """A model that appends a byte to a log for each training step."""
    model = make(files)

    def count(module: torch.nn.Module, inputs: object, output: object) -> None:
        if torch.is_grad_enabled():
            with log.open("ab") as stream:
                stream.write(b".")

    model.register_forward_hook(count)
    return model


def repeated_steps(case: Case, path: Path, folder: Path, every: int) -> tuple[int, int]:
    """Kill the worker in the middle of an epoch.

    Returns:
        Number of steps that were computed twice, and number of steps of the run.
    """
    log = folder / "steps"
    task = task_of(case, path, EPOCHS, Execution(checkpoint_steps=every))
    make = task.make_model
    task = replace(task, make_model=functools.partial(counting_model, make, log))
    killed: list[int] = []

    def on_epoch(report: EpochReport) -> None:
        if report.epoch == 1 and not killed:
            for process in psutil.Process().children(recursive=True):
                if "RayTrainWorker" in " ".join(process.cmdline()):
                    killed.append(process.pid)
                    os.kill(process.pid, signal.SIGKILL)

    run = RunFolder(folder, "killed")
    checkpoint = fit_on_ray(task, Workers(count=1), run, on_epoch)
    run.remove()
    cells = len(task.load_cells(task.files).training)
    steps = -(-cells // case.batch) * checkpoint.progress.epochs_done
    return log.stat().st_size - steps, steps


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cells", type=int, default=2000)
    parser.add_argument("--genes", type=int, default=1024)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--checkpoint-steps", type=int, default=10)
    given = parser.parse_args()
    torch.set_num_threads(1)
    case = Case("mask", given.genes, 64, 8, 1, 2, 8, 128, given.batch, "cpu", "float32", False)
    with tempfile.TemporaryDirectory() as name, connection():
        folder = Path(name)
        path = folder / "cells.h5ad"
        write_cells(path, given.cells, given.genes)
        task = task_of(case, path, EPOCHS, Execution())
        speeds: dict[str, list[float]] = {"bare": [], "one": [], "two": []}
        for _ in range(given.repeats):
            reports, _ = epochs_of(task, torch.device("cpu"))
            speeds["bare"].append(statistics.median(report.cells_per_second for report in reports[1:]))
            speeds["one"].append(speed_with_ray(task, 1, folder))
            speeds["two"].append(speed_with_ray(task, 2, folder))
            print(json.dumps({name: own[-1] for name, own in speeds.items()}), flush=True)
        cost = statistics.median(bare / one for bare, one in zip(speeds["bare"], speeds["one"], strict=True))
        gain = statistics.median(two / one for one, two in zip(speeds["one"], speeds["two"], strict=True))
        twice, steps = repeated_steps(case, path, folder, given.checkpoint_steps)
        print(f"an epoch with one Ray worker takes {cost:.3f} times as long as in the bare loop")
        print(f"two workers of one thread train {gain:.2f} times the cells/s of one")
        interval = given.checkpoint_steps
        print(f"after SIGKILL of the worker {twice} of {steps} steps were computed twice; interval {interval}")


if __name__ == "__main__":
    main()
