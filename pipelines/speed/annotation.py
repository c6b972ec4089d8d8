"""Speed and memory of annotation, from file to file: compared with the bare session and with torch.

    python -m pipelines.speed.annotation                                  4,000 cells, a panel of 2,048 genes
    python -m pipelines.speed.annotation --cells 100000 --repeats 1       a larger file
    python -m pipelines.speed.annotation --memory 20000 200000 -S model.width=4 -S model.heads=1    memory only

Model and cells are random, as in `pipelines.speed.scoring`. The methods are timed in turns, and the median counts:

- session: onnxruntime on raw counts in memory, one batch per core at a time;
- annotate: `annotate_file` from an h5ad file to an annotated h5ad file, including hashing, reading and writing;
- regulators off, regulators all: the same without regulators, and with the activities of all (`annotate`: top);
- torch: the same model in eager mode, on a part of the cells;
- dense torch: the standard Transformer of the same width, in which every gene attends to every gene, on few cells.

Memory is the peak of a process that only annotates one file; also printed are the seconds from the start of that
process to its first scored cells. Trust the ratios, not the times.
"""

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from anndata import AnnData
from numpy.typing import NDArray
from scipy import sparse

from pipelines.speed.isolated import run_isolated
from pipelines.speed.synthetic import draw_bundle, draw_cells, make_model
from pipelines.speed.timing import Work, time_in_turns
from sctransformer._constants import OBS
from sctransformer.data.h5ad_writer import open_h5ad_writer
from sctransformer.export.bundle import Bundle, read_bundle
from sctransformer.params import Params, load_params, with_overrides

BUNDLE = "bundle"
TORCH_CELLS, DENSE_CELLS = 256, 16
SIMULATED = 4000
"""Number of simulated cells; larger files repeat them under other names."""


def write_cells(cells: AnnData, n_cells: int, target: Path) -> None:
    """Write a file with many cells by repeating few."""
    with open_h5ad_writer(target, cells.var_names.tolist()) as file:
        for start in range(0, n_cells, cells.n_obs):
            file.append(cells.X[: min(cells.n_obs, n_cells - start)])
        rows = np.arange(n_cells) % cells.n_obs
        file.finish(cells.obs.iloc[rows].set_axis([f"cell{index}" for index in range(n_cells)]))


def methods(folder: Path, cells: AnnData, n_cells: int, params: Params) -> dict[str, tuple[int, Work]]:
    """Each method with the number of cells that it scores."""
    from sctransformer.annotation.model import Model
    from sctransformer.annotation.parallel import in_order
    from sctransformer.annotation.pipeline import annotate_file
    from sctransformer.annotation.settings import AnnotationSettings, RegulatorOutput

    bundle = read_bundle(folder / BUNDLE)
    model = Model(bundle, "speed", "speed")
    scorer = model.scorer(AnnotationSettings().scoring)
    session, batch = scorer.session, scorer.batch_cells(None)
    counts, sizes_N = panel_counts(cells, bundle)
    rows = np.arange(n_cells) % cells.n_obs

    def score(part: NDArray[np.int64]) -> None:
        session.score(counts[part].toarray(), sizes_N[part])

    def bare() -> None:
        for _ in in_order(score, (rows[start : start + batch] for start in range(0, n_cells, batch)), session.threads):
            pass

    def annotate(level: RegulatorOutput) -> Work:
        def work() -> None:
            with tempfile.TemporaryDirectory(dir=folder) as out:
                annotate_file(model, folder / f"{n_cells}.h5ad", Path(out), AnnotationSettings(regulators=level))

        return work

    own = {name: value for name, value in bundle.config.items() if name != "format"}
    dense = own | {"mode": "dense", "n_regulators": own["n_regulators"]}
    return {
        "session": (n_cells, bare),
        "annotate": (n_cells, annotate("top")),
        "regulators off": (n_cells, annotate("off")),
        "regulators all": (n_cells, annotate("all")),
        "torch": (TORCH_CELLS, with_torch(own, bundle, counts, sizes_N, TORCH_CELLS, 64)),
        "dense torch": (DENSE_CELLS, with_torch(dense, bundle, counts, sizes_N, DENSE_CELLS, 8)),
    }


def panel_counts(cells: AnnData, bundle: Bundle) -> tuple[sparse.csr_matrix, NDArray[np.float32]]:
    """Counts over the panel, and library sizes."""
    columns = cells.var_names.get_indexer(pd.Index(bundle.genes))
    return sparse.csr_matrix(cells.X)[:, columns].astype(np.float32), cells.obs[OBS.library_size].to_numpy(np.float32)


def with_torch(
    config: dict[str, Any], bundle: Bundle, counts: sparse.csr_matrix, sizes_N: NDArray[np.float32], n: int, batch: int
) -> Work:
    """Score cells with a torch model of this configuration and random weights."""
    import torch

    from sctransformer.model import ModelConfig

    model = make_model(ModelConfig(**config), bundle.prior, bundle.vocabulary)

    @torch.no_grad()
    def score() -> None:
        for start in range(0, n, batch):
            part = slice(start, start + batch)
            model(torch.from_numpy(counts[part].toarray()), torch.from_numpy(sizes_N[part]))

    return score


def cells_per_second(works: dict[str, tuple[int, Work]], repeats: int) -> dict[str, float]:
    """Median throughput of each method, timed in turns."""
    seconds = time_in_turns({name: work for name, (_, work) in works.items()}, repeats, warm_up=False)
    return {name: cells / statistics.median(seconds[name]) for name, (cells, _) in works.items()}


def memory_of(folder: Path, n_cells: int) -> dict[str, float]:
    """Peak memory of a process that annotates one file, and seconds to its first scored cells."""
    first, peak = run_isolated(annotate_once, folder, n_cells, time.time())
    return {"peak_mib": round(peak), "first_cell_s": round(first, 2)}


def annotate_once(folder: Path, n_cells: int, started: float) -> float:
    """Annotate a file; return the seconds from `started` to the first scored cells."""
    from sctransformer.annotation.model import Model
    from sctransformer.annotation.pipeline import annotate_file

    first: list[float] = []

    def on_progress(done: int, total: int) -> None:
        if done and not first:
            first.append(time.time() - started)

    with tempfile.TemporaryDirectory(dir=folder) as out:
        source, model = folder / f"{n_cells}.h5ad", Model(read_bundle(folder / BUNDLE), "speed", "speed")
        annotate_file(model, source, Path(out), on_progress=on_progress)
    return first[0]


def measure(n_cells: int, n_genes: int, params: Params, repeats: int, memory: list[int]) -> dict[str, Any]:
    """Throughput, ratios of throughput, and memory by number of cells."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        cells = draw_cells(min(SIMULATED, max([n_cells, *memory])), 2 * n_genes)  # the panel is half of the genes
        draw_bundle(cells, params, folder / BUNDLE, n_genes)
        for number in {n_cells, *memory} - {0}:
            write_cells(cells, number, folder / f"{number}.h5ad")
        peaks = {str(number): memory_of(folder, number) for number in memory}
        found = cells_per_second(methods(folder, cells, n_cells, params), repeats) if n_cells else {}
    ratios = {}
    if found:
        ratios = {
            "annotate_of_session": found["annotate"] / found["session"],
            "annotate_of_regulators_off": found["annotate"] / found["regulators off"],
            "regulators_all_of_off": found["regulators all"] / found["regulators off"],
            "session_of_torch": found["session"] / found["torch"],
            "session_of_dense_torch": found["session"] / found["dense torch"],
        }
    if len(memory) > 1:
        first, last = (peaks[str(number)]["peak_mib"] for number in (memory[0], memory[-1]))
        ratios["memory_growth"] = last / first - 1
    return {
        "cells": n_cells,
        "panel_genes": n_genes,
        "repeats": repeats,
        "model": params.model.model_dump(),
        "cells_per_s": {name: round(value, 1) for name, value in found.items()},
        "ratios": {name: round(value, 3) for name, value in ratios.items()},
        "memory": peaks,
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", type=int, default=None)
    parser.add_argument("--genes", type=int, default=2048, help="genes of the panel; the file has twice as many")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--memory", type=int, nargs="+", default=[], help="numbers of cells to measure memory for")
    parser.add_argument("-S", "--set", action="append", default=[], metavar="SECTION.NAME=VALUE")
    options = parser.parse_args()
    n_cells = options.cells if options.cells is not None else (0 if options.memory else 4000)

    params = with_overrides(load_params(), options.set)
    measured = measure(n_cells, options.genes, params, options.repeats, options.memory)
    print(json.dumps(measured))
    for name, rate in measured["cells_per_s"].items():
        print(f"{name:<24}{rate:>10,.1f} cells/s")
    for name, value in measured["ratios"].items():
        print(f"{name:<24}{value:>10.3f}")
    for number, row in measured["memory"].items():
        print(f"{int(number):>9,} cells  {row['peak_mib']:>7,.0f} MiB  first scored after {row['first_cell_s']:.1f} s")


if __name__ == "__main__":
    main()
