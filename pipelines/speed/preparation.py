"""Duration and peak memory of data preparation by number of cells: `python -m pipelines.speed.preparation`.

Simulated files of two or more sizes go through `sctransformer data check` and the stages ingest and prepare, each in a
process of its own. The peak memory of a step that streams does not grow with the number of cells.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from sctransformer.data.gene_map import packaged_gene_map
from sctransformer.data.genes import VAR_NAMES
from sctransformer.errors import UserError, run_reporting

PROJECT = Path(__file__).resolve().parents[2]
PROGRAM = (sys.executable, "-m", "sctransformer.cli.main")
STEPS: Mapping[str, tuple[str, ...]] = {
    "data check": (*PROGRAM, "data", "check", "--gene-column", "var_names"),
    "ingest": (sys.executable, "-m", "sctransformer.pipeline.stages.ingest"),
    "prepare": (sys.executable, "-m", "sctransformer.pipeline.stages.prepare"),
}
"""Commands to measure, by name and in order; `data check` also gets the file."""
_RSS_UNIT = 1 if sys.platform == "darwin" else 1024


@dataclass(frozen=True)
class Measurement:
    """Duration and peak memory of one process."""

    cells: int
    step: str
    seconds: float
    peak_bytes: int


def run_measured(command: Sequence[str | Path], folder: Path, log: Path) -> tuple[float, int]:
    """Run a command in a folder and measure its duration and peak memory.

    The peak is the maximum that the operating system keeps for the process and its children, so nothing is sampled. It
    includes the memory of this process when it starts the command, which is less than what any step imports.

    Args:
        command: the command.
        folder: its working folder; the modules of the project are importable from there.
        log: file for its output.

    Raises:
        UserError: the command failed; the message ends with its last lines of output.
    """
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(PROJECT), os.environ.get("PYTHONPATH", "")])}
    started = time.perf_counter()
    with log.open("w") as stream:
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=stream, stderr=subprocess.STDOUT)
        _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        words, last_lines = " ".join(map(str, command[1:])), " | ".join(log.read_text().splitlines()[-3:])
        raise UserError(f"{words}: failed with exit code {process.returncode}: {last_lines}")
    return time.perf_counter() - started, usage.ru_maxrss * _RSS_UNIT


def simulate(cells: int, genes: int, folder: Path) -> Measurement:
    """Simulate `cells.h5ad` and `cells.edges.tsv` in a folder, and write a params.yaml for them."""
    command = (*PROGRAM, "data", "simulate", "--cells", str(cells), "--genes", str(genes), "-o", "cells.h5ad")
    seconds, peak = run_measured(command, folder, folder / "simulate.log")
    params = yaml.safe_load((PROJECT / "params.yaml").read_text())
    params["data"] = {  # replaces the section of the project, which describes other cells
        "cells": str(folder / "cells.h5ad"),
        "gene_map": str(packaged_gene_map()),
        "gene_column": VAR_NAMES,  # simulated names cannot be recognised
    }
    params["prior"]["network"] = str(folder / "cells.edges.tsv")
    (folder / "params.yaml").write_text(yaml.safe_dump(params))
    return Measurement(cells, "simulate", seconds, peak)


def measure(cells: int, genes: int, folder: Path, steps: Sequence[str]) -> list[Measurement]:
    """Simulate cells and run the steps on them."""
    measurements = [simulate(cells, genes, folder)]
    for step in steps:
        command = (*STEPS[step], "cells.h5ad") if step == "data check" else STEPS[step]
        seconds, peak = run_measured(command, folder, folder / f"{step}.log")
        measurements.append(Measurement(cells, step, seconds, peak))
    return measurements


def table(measurements: Sequence[Measurement]) -> str:
    """The measurements as text, and the growth of each step from the smallest to the largest file."""
    lines = [f"{'cells':>10}  {'stage':<10} {'seconds':>8} {'s / 1,000 cells':>16} {'peak MiB':>9}"]
    lines += [
        f"{found.cells:>10,}  {found.step:<10} {found.seconds:>8.1f} {found.seconds / found.cells * 1000:>16.4f} "
        f"{found.peak_bytes / 2**20:>9,.0f}"
        for found in measurements
    ]
    small, large = (choose(found.cells for found in measurements) for choose in (min, max))
    if small == large:
        return "\n".join(lines)
    at = {(found.cells, found.step): found for found in measurements}
    lines += ["", f"from {small:,} to {large:,} cells ({large / small:.1f} times as many)"]
    lines.append(f"{'':>10}  {'stage':<10} {'seconds':>8} {'':>16} {'peak':>9}")
    for step in dict.fromkeys(found.step for found in measurements):
        first, last = at[small, step], at[large, step]
        seconds, peak = last.seconds / first.seconds, last.peak_bytes / first.peak_bytes
        lines.append(f"{'':>10}  {step:<10} {seconds:>7.2f}x {'':>16} {peak:>8.2f}x")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(prog="python -m pipelines.speed.preparation", description=__doc__)
    parser.add_argument("--cells", type=int, nargs="+", default=[50_000, 200_000], help="numbers of cells")
    parser.add_argument("--genes", type=int, default=2000, help="number of genes")
    parser.add_argument("--steps", nargs="+", choices=list(STEPS), default=list(STEPS), help="what to measure")
    parser.add_argument("--folder", type=Path, help="where temporary files go (default: the system's folder)")
    given = parser.parse_args(arguments)
    measurements = []
    for cells in given.cells:
        with tempfile.TemporaryDirectory(prefix="preparation_", dir=given.folder) as folder:
            measurements += measure(cells, given.genes, Path(folder).resolve(), given.steps)
            print(f"measured {cells:,} cells", file=sys.stderr)
    print(table(measurements))


if __name__ == "__main__":
    run_reporting(main)
