"""What annotation costs from file to file: against the bare session, against torch, and in memory as cells grow.

    python -m pipelines.speed.annotation                                  4,000 cells, a panel of 2,048 genes
    python -m pipelines.speed.annotation --cells 100000 --repeats 1       as long as it takes
    python -m pipelines.speed.annotation --memory 20000 200000 -S model.width=4 -S model.heads=1    memory alone

Model and cells are drawn as in `pipelines.speed.scoring`: random weights decide nothing of the speed. In turns, the
median counts:

- session: onnxruntime on raw counts in memory, batch size as a calibration finds it, nothing else;
- annotate: `annotate_file` from an h5ad file to a labelled h5ad file, the same batch size: hashing, reading, writing;
- torch: the same model, eager, on a part of the cells;
- dense torch: the standard Transformer of equal width, in which every gene reads every gene, on a few cells.

Memory is the peak of a process that annotates one file and does nothing else; beside it, the seconds from the start of
that process to its first scored cells. Trust the ratios.
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from anndata import AnnData
from numpy.typing import NDArray
from scipy import sparse

from pipelines.speed.own_peak import own_peak_mib
from pipelines.speed.synthetic import draw_bundle, draw_cells, make_model
from sctransformer._constants import OBS
from sctransformer.data.h5ad_writer import open_h5ad_writer
from sctransformer.export.bundle import Bundle, read_bundle
from sctransformer.params import Params, load_params, with_overrides

BUNDLE = "bundle"
TORCH_CELLS, DENSE_CELLS = 256, 16
MEMORY_BATCH = 128
DRAWN = 4000
"""Cells that are drawn; a file with more holds them several times, under other names."""
Work = Callable[[], object]


def write_cells(cells: AnnData, n_cells: int, target: Path) -> None:
    """A file of so many cells, made of few: what it costs to read and score them is the same."""
    with open_h5ad_writer(target, cells.var_names.tolist()) as file:
        for start in range(0, n_cells, cells.n_obs):
            file.append(cells.X[: min(cells.n_obs, n_cells - start)])
        rows = np.arange(n_cells) % cells.n_obs
        file.finish(cells.obs.iloc[rows].set_axis([f"cell{index}" for index in range(n_cells)]))


def ways(folder: Path, cells: AnnData, n_cells: int, params: Params) -> dict[str, tuple[int, Work]]:
    """Each way with the number of cells that it scores."""
    from sctransformer.annotation.pipeline import annotate_file
    from sctransformer.annotation.scorer import LocalScorer
    from sctransformer.annotation.session import fastest_batch
    from sctransformer.annotation.settings import AnnotationSettings

    bundle = read_bundle(folder / BUNDLE)
    scorer = LocalScorer(bundle, AnnotationSettings())
    batch = fastest_batch(scorer.session, len(bundle.genes))
    settings = AnnotationSettings(batch_cells=batch)
    counts, sizes_N = panel_counts(cells, bundle)
    rows = np.arange(n_cells) % cells.n_obs

    def session() -> None:
        for start in range(0, n_cells, batch):
            part = rows[start : start + batch]
            scorer.session.score(counts[part].toarray(), sizes_N[part])

    def annotate() -> None:
        with tempfile.TemporaryDirectory(dir=folder) as out:
            annotate_file(bundle, "speed", "speed", folder / f"{n_cells}.h5ad", Path(out), settings, scorer=scorer)

    own = {name: value for name, value in bundle.config.items() if name != "format"}
    dense = own | {"mode": "dense", "n_regulators": own["n_regulators"]}
    return {
        "session": (n_cells, session),
        "annotate": (n_cells, annotate),
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


def rates(works: dict[str, tuple[int, Work]], repeats: int) -> dict[str, float]:
    """Cells a second of each way: the median over turns, each way once a turn."""
    found: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(repeats):
        for name, (cells, work) in works.items():
            started = time.perf_counter()
            work()
            found[name].append(cells / (time.perf_counter() - started))
    return {name: statistics.median(values) for name, values in found.items()}


def alone(folder: Path, n_cells: int) -> dict[str, float]:
    """Peak memory of a process that annotates one file, and seconds to its first scored cells."""
    with get_context("spawn").Pool(1) as pool:
        peak, first = pool.apply(_annotate_here, (folder, n_cells, time.time()))
    return {"peak_mib": round(peak), "first_cell_s": round(first, 2)}


def _annotate_here(folder: Path, n_cells: int, started: float) -> tuple[float, float]:
    from sctransformer.annotation.pipeline import annotate_file
    from sctransformer.annotation.settings import AnnotationSettings

    first: list[float] = []

    def on_progress(done: int, total: int) -> None:
        if done and not first:
            first.append(time.time() - started)

    with tempfile.TemporaryDirectory(dir=folder) as out:
        source = folder / f"{n_cells}.h5ad"
        settings = AnnotationSettings(batch_cells=MEMORY_BATCH)  # memory goes with it, and calibration may vary
        annotate_file(read_bundle(folder / BUNDLE), "speed", "speed", source, Path(out), settings, on_progress)
    return own_peak_mib(), first[0]


def measure(n_cells: int, n_genes: int, params: Params, repeats: int, memory: list[int]) -> dict[str, Any]:
    """Rates, their ratios, and memory by number of cells."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        cells = draw_cells(min(DRAWN, max([n_cells, *memory])), 2 * n_genes)  # the drawn panel is half of the genes
        draw_bundle(cells, params, folder / BUNDLE, n_genes)
        for number in {n_cells, *memory} - {0}:
            write_cells(cells, number, folder / f"{number}.h5ad")
        peaks = {str(number): alone(folder, number) for number in memory}
        found = rates(ways(folder, cells, n_cells, params), repeats) if n_cells else {}
    ratios = {}
    if found:
        ratios = {
            "annotate_of_session": found["annotate"] / found["session"],
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
    parser.add_argument("--genes", type=int, default=2048, help="of the panel; the file has twice as many")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--memory", type=int, nargs="+", default=[], help="numbers of cells whose memory is compared")
    parser.add_argument("-S", "--set", action="append", default=[], metavar="SECTION.NAME=VALUE")
    options = parser.parse_args()
    n_cells = options.cells if options.cells is not None else (0 if options.memory else 4000)

    params = with_overrides(load_params(), options.set)
    figures = measure(n_cells, options.genes, params, options.repeats, options.memory)
    print(json.dumps(figures))
    for name, rate in figures["cells_per_s"].items():
        print(f"{name:<24}{rate:>10,.1f} cells/s")
    for name, value in figures["ratios"].items():
        print(f"{name:<24}{value:>10.3f}")
    for number, row in figures["memory"].items():
        print(f"{int(number):>9,} cells  {row['peak_mib']:>7,.0f} MiB  first scored after {row['first_cell_s']:.1f} s")


if __name__ == "__main__":
    main()
