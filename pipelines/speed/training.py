"""The training loop in one process: streaming compared with memory, checkpoints, peak memory, share of peak speed.

`python -m pipelines.speed.training` prints JSON lines and ratios; runs take turns. On a machine with a GPU,
`--device cuda --genes 2048 --regulators 256 --width 256 --depth 6` measures the loop there, including loading of data.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from pipelines.speed.model import MATMUL_SIZE, Case, matrix_flops, matrix_product, waiter
from pipelines.speed.timing import seconds_of
from pipelines.speed.training_cells import task_of, write_cells
from sctransformer.training.checkpoint import Checkpoint, save_checkpoint
from sctransformer.training.execution import Execution
from sctransformer.training.report import EpochReport
from sctransformer.training.task import Task
from sctransformer.training.trainer import Callbacks, Trainer

FORWARD_AND_BACKWARD = 3
"""Operations of a training step relative to inference."""


def epochs_of(task: Task, device: torch.device) -> tuple[list[EpochReport], list[float]]:
    """Train; return the report of each epoch and the seconds that each checkpoint took."""
    reports: list[EpochReport] = []
    saving: list[float] = []

    def on_epoch_end(report: EpochReport, checkpoint: Checkpoint) -> None:
        started = time.perf_counter()
        with tempfile.TemporaryDirectory() as folder:
            save_checkpoint(checkpoint, Path(folder))
        saving.append(time.perf_counter() - started)
        reports.append(report)

    model, cells = task.make_model(task.files), task.load_cells(task.files)
    Trainer(model, cells, task.config, task.execution, device, Callbacks(on_epoch_end)).fit()
    return reports, saving


def stream_and_memory(case: Case, path: Path, repeats: int, execution: Execution, cells: int) -> dict[str, Any]:
    """Cells/s of later epochs from memory and from disk, in turns, and the cost of a checkpoint."""
    device = torch.device(case.device)
    speeds: dict[bool, list[float]] = {True: [], False: []}
    costs: list[float] = []
    for _ in range(repeats):
        for in_memory in (True, False):
            reports, saving = epochs_of(task_of(case, path, 2, execution, in_memory), device)
            speeds[in_memory].append(reports[-1].cells_per_second)
            costs.append(saving[-1] / (cells / reports[-1].cells_per_second))
    memory, stream = (statistics.median(speeds[in_memory]) for in_memory in (True, False))
    ratios = [on_disk / held for held, on_disk in zip(speeds[True], speeds[False], strict=True)]
    return {
        "memory_cells_per_s": memory,
        "stream_cells_per_s": stream,
        "stream_over_memory": statistics.median(ratios),
        "checkpoint_share_of_epoch": statistics.median(costs),
    }


def share_of_peak(case: Case, cells_per_second: float) -> dict[str, float]:
    """Operations per second of the loop, as a share of those of one large matrix product on the same device."""
    product, wait = matrix_product(case.device, case.dtype), waiter(case.device)
    rate = 2 * MATMUL_SIZE**3 / min(seconds_of(product, wait) for _ in range(5))
    achieved = cells_per_second * matrix_flops(case) * FORWARD_AND_BACKWARD
    return {"loop_gflops": achieved / 1e9, "matrix_gflops": rate / 1e9, "share_of_matrix_rate": achieved / rate}


def peak_of(case: Case, path: Path) -> float:
    """Peak memory in MiB of one streamed epoch, in a process of its own."""
    words = ["--one", str(path), "--genes", str(case.genes), "--regulators", str(case.regulators)]
    words += ["--width", str(case.width), "--depth", str(case.depth), "--batch", str(case.batch)]
    command = [sys.executable, "-m", "pipelines.speed.training", *words]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return float(json.loads(done.stdout.splitlines()[-1])["peak_mib"])


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cells", type=int, default=4000)
    parser.add_argument("--genes", type=int, default=1024)
    parser.add_argument("--regulators", type=int, default=64)
    parser.add_argument("--width", type=int, default=8)
    parser.add_argument("--depth", type=int, default=1)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--compiled", action="store_true")
    parser.add_argument(
        "--memory-cells",
        type=int,
        nargs="*",
        default=[],
        help="numbers of cells to stream for peak memory",
    )
    parser.add_argument("--one", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    torch.set_num_threads(1)
    case = Case(
        mode="mask",
        genes=given.genes,
        regulators=given.regulators,
        width=given.width,
        depth=given.depth,
        heads=max(2, given.width // 32),
        readout_heads=8,
        embedding=128,
        batch=given.batch,
        device=given.device,
        dtype="bfloat16" if given.device == "cuda" else "float32",
        compiled=given.compiled,
    )
    execution = Execution(compiled=given.compiled)
    if given.one:
        reports, _ = epochs_of(task_of(case, given.one, 1, execution, in_memory=False), torch.device("cpu"))
        print(json.dumps({"peak_mib": reports[-1].memory_mib}))
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "cells.h5ad"
        write_cells(path, given.cells, given.genes)
        measured = stream_and_memory(case, path, given.repeats, execution, given.cells)
        measured |= share_of_peak(case, measured["stream_cells_per_s"])
        print(json.dumps(vars(given) | measured, default=str))
        print(f"streaming over memory {measured['stream_over_memory']:.2f}; ", end="")
        print(f"a checkpoint takes {measured['checkpoint_share_of_epoch']:.2%} of an epoch; ", end="")
        print(f"the loop reaches {measured['share_of_matrix_rate']:.0%} of the matrix-product rate")
        peaks = {}
        for number in given.memory_cells:
            write_cells(path, number, given.genes)
            peaks[number] = peak_of(case, path)
            print(json.dumps({"cells": number, "peak_mib": peaks[number]}), flush=True)
        if len(peaks) > 1:
            print(f"peak memory from {min(peaks)} to {max(peaks)} cells: {peaks[max(peaks)] / peaks[min(peaks)]:.3f}")


if __name__ == "__main__":
    main()
