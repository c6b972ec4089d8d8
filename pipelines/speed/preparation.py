"""Seconds and peak memory of bringing cells in, by number of cells: `python -m pipelines.speed.preparation`.

Simulated files of two (or more) sizes go through `sctransformer data check` and the stages ingest and prepare, each a
process of its own. What streams keeps its peak memory while the cells multiply; what loads does not.
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

from sctransformer.data.genes import VAR_NAMES, packaged_gene_map
from sctransformer.errors import UserError, run_reporting

PROJECT = Path(__file__).resolve().parents[2]
PROGRAM = (sys.executable, "-m", "sctransformer.cli.main")
STEPS: Mapping[str, tuple[str, ...]] = {
    "data check": (*PROGRAM, "data", "check", "--gene-column", "var_names"),
    "ingest": (sys.executable, "-m", "sctransformer.pipeline.stages.ingest"),
    "prepare": (sys.executable, "-m", "sctransformer.pipeline.stages.prepare"),
}
"""Name and command of what is measured, in order; `data check` is given the file."""
_RSS_UNIT = 1 if sys.platform == "darwin" else 1024


@dataclass(frozen=True)
class Measurement:
    """What one process needed."""

    cells: int
    step: str
    seconds: float
    peak_bytes: int


def measured(command: Sequence[str | Path], folder: Path, log: Path) -> tuple[float, int]:
    """Run a command in a folder; give its seconds and the largest resident memory of it or of a child it waited for.

    The system keeps that maximum itself, so nothing is sampled and nothing missed. What this process
    holds when it starts the command counts too; that is less than what any step imports.

    Args:
        command: the command.
        folder: where it runs; modules of the project are found from anywhere.
        log: takes its output.

    Raises:
        UserError: it failed; with the end of its output.
    """
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(PROJECT), os.environ.get("PYTHONPATH", "")])}
    started = time.perf_counter()
    with log.open("w") as stream:
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=stream, stderr=subprocess.STDOUT)
        _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        words, end = " ".join(map(str, command[1:])), " | ".join(log.read_text().splitlines()[-3:])
        raise UserError(f"{words}: ended with code {process.returncode}: {end}")
    return time.perf_counter() - started, usage.ru_maxrss * _RSS_UNIT


def simulate(cells: int, genes: int, folder: Path) -> Measurement:
    """Simulate `cells.h5ad` and `cells.edges.tsv` in a folder, and write the params.yaml that points at them."""
    command = (*PROGRAM, "data", "simulate", "--cells", str(cells), "--genes", str(genes), "-o", "cells.h5ad")
    seconds, peak = measured(command, folder, folder / "simulate.log")
    params = yaml.safe_load((PROJECT / "params.yaml").read_text())
    params["data"] = {  # the project's own entries speak of other cells
        "cells": str(folder / "cells.h5ad"),
        "gene_map": str(packaged_gene_map()),
        "gene_column": VAR_NAMES,  # the names are invented: nothing to recognise
    }
    params["prior"]["network"] = str(folder / "cells.edges.tsv")
    (folder / "params.yaml").write_text(yaml.safe_dump(params))
    return Measurement(cells, "simulate", seconds, peak)


def measure(cells: int, genes: int, folder: Path, steps: Sequence[str]) -> list[Measurement]:
    """Simulate cells and bring them in, step by step."""
    found = [simulate(cells, genes, folder)]
    for step in steps:
        command = (*STEPS[step], "cells.h5ad") if step == "data check" else STEPS[step]
        seconds, peak = measured(command, folder, folder / f"{step}.log")
        found.append(Measurement(cells, step, seconds, peak))
    return found


def table(measurements: Sequence[Measurement]) -> str:
    """The measurements as text, and by how much each step grew from the smallest to the largest file."""
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
    """Measure, and print the table."""
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
