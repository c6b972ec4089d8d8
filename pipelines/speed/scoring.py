"""How fast cells are labelled: onnxruntime, the same model in torch, CellTypist, and a file from end to end.

    python -m pipelines.speed.scoring                      20,000 cells x 2,048 genes: one JSON line and a table
    python -m pipelines.speed.scoring --cells 50000 --repeats 5 -S model.mode=bias -S model.width=32
    python -m pipelines.speed.scoring --genes 8192 --panel 2048     a file with more genes than the model knows

The model is that of params.yaml (`-S` sets single parameters) with random weights, which decide nothing of the speed;
cells and network are random too. The panel is all genes of the file, which is what CellTypist reads, unless `--panel`
says less. In one run, in turns, the median counts:

- onnxruntime: a bundle's graph on raw counts in memory (CSR), as `sctransformer annotate` calls it;
- torch: the same model, batches and cells, eager;
- celltypist: `celltypist.annotate` with a model of some of the cells, on an AnnData whose X is normalised and logged
  already (CSR), which the model does in its graph and CellTypist asks of its users;
- annotate_file: the same cells from an h5ad file to a labelled h5ad file, with hashing, reading and writing.

Memory is the peak of a process that does this alone once, imports and training of CellTypist included. Each uses all
cores. On a shared machine trust the ratios, not the times.
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
from anndata import read_h5ad
from numpy.typing import NDArray
from scipy import sparse

from pipelines.speed.own_peak import own_peak_mib
from pipelines.speed.synthetic import draw_bundle, draw_cells, make_model
from sctransformer._constants import OBS
from sctransformer.annotation.pipeline import annotate_file
from sctransformer.annotation.session import ScoringSession
from sctransformer.annotation.stream import BATCH_CELLS
from sctransformer.annotation.summary import AnnotationSummary
from sctransformer.data.normalise import log1p_cp10k
from sctransformer.export.bundle import Bundle, read_bundle
from sctransformer.params import Params, load_params, with_overrides

CELLS, BUNDLE = "cells.h5ad", "bundle"
TAUGHT = 300
"""Cells that CellTypist learns from: how many changes nothing in how fast it labels."""

Work = Callable[[], object]


def in_batches(
    folder: Path, score: Callable[[NDArray[np.float32], NDArray[np.float32]], NDArray[np.float32]], bundle: Bundle
) -> Work:
    """Label all cells in memory with a function of counts over the panel and library sizes."""
    cells = read_h5ad(folder / CELLS)
    counts = sparse.csr_matrix(cells.X)
    columns = cells.var_names.get_indexer(pd.Index(bundle.genes))
    sizes_N = cells.obs[OBS.library_size].to_numpy(dtype=np.float32)

    def label() -> NDArray[np.int64]:
        said = []
        for start in range(0, len(sizes_N), BATCH_CELLS):
            part = slice(start, start + BATCH_CELLS)
            said.append(score(np.ascontiguousarray(counts[part].toarray()[:, columns]), sizes_N[part]).argmax(axis=1))
        return np.concatenate(said)

    return label


def with_onnxruntime(folder: Path) -> Work:
    """Score with the graph of the bundle."""
    bundle = read_bundle(folder / BUNDLE)
    session = ScoringSession(bundle)
    return in_batches(folder, lambda counts, sizes: session.score(counts, sizes).probabilities_NC, bundle)


def with_torch(folder: Path) -> Work:
    """Score with the weights of the bundle."""
    import torch
    from safetensors.torch import load_file

    from sctransformer.model import ModelConfig

    bundle = read_bundle(folder / BUNDLE)
    sizes = {name: value for name, value in bundle.config.items() if name != "format"}
    model = make_model(ModelConfig(**sizes), bundle.prior, bundle.vocabulary)
    model.load_state_dict(load_file(folder / BUNDLE / "weights.safetensors"))

    @torch.no_grad()
    def score(counts_NG: NDArray[np.float32], sizes_N: NDArray[np.float32]) -> NDArray[np.float32]:
        logits_NC: NDArray[np.float32] = model(torch.from_numpy(counts_NG), torch.from_numpy(sizes_N)).logits_NC.numpy()
        return logits_NC

    return in_batches(folder, score, bundle)


def with_celltypist(folder: Path) -> Work:
    """Label with CellTypist, on expression that is normalised already."""
    from sctransformer.evaluation.baselines import celltypist_on_expression

    cells = read_h5ad(folder / CELLS)
    cells.X = log1p_cp10k(cells.X, cells.obs[OBS.library_size].to_numpy(dtype=np.float32))
    names_N = cells.obs[OBS.cell_type].astype(str).to_numpy(dtype=np.str_)[:TAUGHT]
    annotate = celltypist_on_expression(cells.X[:TAUGHT], names_N, cells.var_names.tolist())
    return lambda: annotate(cells)


def from_file_to_file(folder: Path) -> Work:
    """Read, score and write with `annotate_file`, the graph loaded anew."""
    bundle = read_bundle(folder / BUNDLE)

    def annotate() -> AnnotationSummary:
        out = Path(tempfile.mkdtemp(dir=folder))  # where it has been before it would find nothing to do
        return annotate_file(bundle, "speed", "speed", folder / CELLS, out)

    return annotate


WAYS: dict[str, Callable[[Path], Work]] = {
    "onnxruntime": with_onnxruntime,
    "torch": with_torch,
    "celltypist": with_celltypist,
    "annotate_file": from_file_to_file,
}
REFERENCE = "celltypist"


def peak_mib(name: str, folder: Path) -> float:
    """Most memory of a process that labels all cells once in one way."""
    with get_context("spawn").Pool(1) as pool:
        return float(pool.apply(_peak_here, (name, folder)))


def _peak_here(name: str, folder: Path) -> float:
    WAYS[name](folder)()
    return own_peak_mib()


def seconds_in_turns(folder: Path, repeats: int) -> dict[str, float]:
    """Median seconds of each way; a first pass that is slow does not count in it, with three or more."""
    works = {name: make(folder) for name, make in WAYS.items()}
    seconds: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(repeats):
        for name, work in works.items():
            started = time.perf_counter()
            work()
            seconds[name].append(time.perf_counter() - started)
    return {name: statistics.median(values) for name, values in seconds.items()}


def measure(n_cells: int, n_genes: int, n_panel: int, params: Params, repeats: int, memory: bool) -> dict[str, Any]:
    """Cells a second, ratios to CellTypist's time, and memory, by way."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        cells = draw_cells(n_cells, n_genes)
        cells.write_h5ad(folder / CELLS)
        draw_bundle(cells, params, folder / BUNDLE, n_panel)
        nonzero = cells.X.nnz / np.prod(cells.shape)
        del cells
        seconds = seconds_in_turns(folder, repeats)
        peaks = {name: peak_mib(name, folder) for name in WAYS} if memory else {}
    return {
        "cells": n_cells,
        "genes": n_genes,
        "panel_genes": n_panel,
        "nonzero": round(float(nonzero), 3),
        "repeats": repeats,
        "model": params.model.model_dump(),
        "cells_per_s": {name: round(n_cells / taken, 1) for name, taken in seconds.items()},
        "of_celltypists_time": {name: round(taken / seconds[REFERENCE], 3) for name, taken in seconds.items()},
        "peak_mib": {name: round(value) for name, value in peaks.items()},
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", type=int, default=20_000)
    parser.add_argument("--genes", type=int, default=2048)
    parser.add_argument("--panel", type=int, default=None, help="genes that the model reads (default: all)")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--no-memory", action="store_true", help="leave the memory of each way out")
    parser.add_argument("-S", "--set", action="append", default=[], metavar="SECTION.NAME=VALUE")
    options = parser.parse_args()

    params = with_overrides(load_params(), options.set)
    panel = options.genes if options.panel is None else options.panel
    figures = measure(options.cells, options.genes, panel, params, options.repeats, not options.no_memory)
    print(json.dumps(figures))
    print(f"{'way':<15}{'cells/s':>10}{'x CellTypist time':>20}{'peak MiB':>10}")
    for name in WAYS:
        rate, ratio = figures["cells_per_s"][name], figures["of_celltypists_time"][name]
        print(f"{name:<15}{rate:>10,.0f}{ratio:>20.2f}{figures['peak_mib'].get(name, '-')!s:>10}")


if __name__ == "__main__":
    main()
