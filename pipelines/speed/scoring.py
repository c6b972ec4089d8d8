"""How fast cells are labelled: onnxruntime, the same model in torch, CellTypist, and annotation of a file.

    python -m pipelines.speed.scoring                      20,000 cells x 2,048 genes: one JSON line and a table
    python -m pipelines.speed.scoring --cells 50000 --repeats 5 -S model.mode=bias -S model.width=32
    python -m pipelines.speed.scoring --genes 8192 --panel 2048     a file with more genes than the panel of the model

The model is that of params.yaml (`-S` sets parameters) with random weights, which do not affect its speed; cells and
network are random too. The panel is all genes of the file, as for CellTypist, unless `--panel` is given. Methods are
timed in turns, and the median counts:

- onnxruntime: the graph of a bundle on raw counts in memory (CSR), as `sctransformer annotate` runs it;
- torch: the same model, batches and cells, in eager mode;
- celltypist: `celltypist.annotate` on an AnnData whose X is already normalised and logged (CSR). The graph of the model
  includes this step; CellTypist leaves it to its users;
- annotate_file: the same cells from an h5ad file to an annotated h5ad file, with hashing, reading and writing.

Memory is the peak of a process that runs one method once, including imports and the training of CellTypist. Each method
uses all cores. On a shared machine trust the ratios, not the times.
"""

import argparse
import json
import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from anndata import read_h5ad
from numpy.typing import NDArray
from scipy import sparse

from pipelines.speed.isolated import run_isolated
from pipelines.speed.synthetic import draw_bundle, draw_cells, make_model
from pipelines.speed.timing import Work, time_in_turns
from sctransformer._constants import OBS
from sctransformer.annotation.model import Model
from sctransformer.annotation.parallel import in_order
from sctransformer.annotation.pipeline import annotate_file
from sctransformer.annotation.session import BATCH_CELLS, ScoringSession
from sctransformer.annotation.summary import AnnotationSummary
from sctransformer.data.normalise import log1p_cp10k
from sctransformer.export.bundle import Bundle, read_bundle
from sctransformer.params import Params, load_params, with_overrides

CELLS, BUNDLE = "cells.h5ad", "bundle"
TRAINING_CELLS = 300
"""Cells that CellTypist is trained on; their number does not affect how fast it predicts."""


def in_batches(
    folder: Path,
    score: Callable[[NDArray[np.float32], NDArray[np.float32]], NDArray[np.float32]],
    bundle: Bundle,
    threads: int = 1,
) -> Work:
    """Label all cells in memory, batch by batch.

    Args:
        folder: folder with the cells.
        score: scores of a batch from counts over the panel and library sizes.
        bundle: the bundle, for its panel.
        threads: number of batches that are scored at once.
    """
    cells = read_h5ad(folder / CELLS)
    counts = sparse.csr_matrix(cells.X)
    columns = cells.var_names.get_indexer(pd.Index(bundle.genes))
    sizes_N = cells.obs[OBS.library_size].to_numpy(dtype=np.float32)

    def label_part(start: int) -> NDArray[np.int64]:
        part = slice(start, start + BATCH_CELLS)
        scores_NC = score(np.ascontiguousarray(counts[part].toarray()[:, columns]), sizes_N[part])
        return scores_NC.argmax(axis=1)

    def label() -> NDArray[np.int64]:
        return np.concatenate(list(in_order(label_part, range(0, len(sizes_N), BATCH_CELLS), threads)))

    return label


def with_onnxruntime(folder: Path) -> Work:
    """Score with the graph of the bundle."""
    bundle = read_bundle(folder / BUNDLE)
    session = ScoringSession(bundle)
    return in_batches(
        folder, lambda counts, sizes: session.score(counts, sizes).probabilities_NC, bundle, session.threads
    )


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
    """Label with CellTypist on normalised expression."""
    from sctransformer.evaluation.baselines import celltypist_on_expression

    cells = read_h5ad(folder / CELLS)
    cells.X = log1p_cp10k(cells.X, cells.obs[OBS.library_size].to_numpy(dtype=np.float32))
    names_N = cells.obs[OBS.cell_type].astype(str).to_numpy(dtype=np.str_)[:TRAINING_CELLS]
    annotate = celltypist_on_expression(cells.X[:TRAINING_CELLS], names_N, cells.var_names.tolist())
    return lambda: annotate(cells)


def with_annotate_file(folder: Path) -> Work:
    """Read, score and write with `annotate_file`, which loads the graph each time."""
    bundle = read_bundle(folder / BUNDLE)

    def annotate() -> AnnotationSummary:
        out = Path(tempfile.mkdtemp(dir=folder))  # in the same folder it would find the finished output
        return annotate_file(Model(bundle, "speed", "speed"), folder / CELLS, out)

    return annotate


METHODS: dict[str, Callable[[Path], Work]] = {
    "onnxruntime": with_onnxruntime,
    "torch": with_torch,
    "celltypist": with_celltypist,
    "annotate_file": with_annotate_file,
}
REFERENCE = "celltypist"


def label_once(name: str, folder: Path) -> None:
    """Label all cells once with one method."""
    METHODS[name](folder)()


def measure(n_cells: int, n_genes: int, n_panel: int, params: Params, repeats: int, memory: bool) -> dict[str, Any]:
    """Cells per second, time relative to CellTypist, and memory of each method."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        cells = draw_cells(n_cells, n_genes)
        cells.write_h5ad(folder / CELLS)
        draw_bundle(cells, params, folder / BUNDLE, n_panel)
        nonzero = cells.X.nnz / np.prod(cells.shape)
        del cells
        works = {name: make(folder) for name, make in METHODS.items()}
        seconds = {
            name: statistics.median(values) for name, values in time_in_turns(works, repeats, warm_up=False).items()
        }
        peaks = {name: run_isolated(label_once, name, folder)[1] for name in METHODS} if memory else {}
    return {
        "cells": n_cells,
        "genes": n_genes,
        "panel_genes": n_panel,
        "nonzero": round(float(nonzero), 3),
        "repeats": repeats,
        "model": params.model.model_dump(),
        "cells_per_s": {name: round(n_cells / duration, 1) for name, duration in seconds.items()},
        "of_celltypists_time": {name: round(duration / seconds[REFERENCE], 3) for name, duration in seconds.items()},
        "peak_mib": {name: round(value) for name, value in peaks.items()},
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", type=int, default=20_000)
    parser.add_argument("--genes", type=int, default=2048)
    parser.add_argument("--panel", type=int, default=None, help="genes in the panel of the model (default: all)")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--no-memory", action="store_true", help="do not measure memory")
    parser.add_argument("-S", "--set", action="append", default=[], metavar="SECTION.NAME=VALUE")
    options = parser.parse_args()

    params = with_overrides(load_params(), options.set)
    panel = options.genes if options.panel is None else options.panel
    measured = measure(options.cells, options.genes, panel, params, options.repeats, not options.no_memory)
    print(json.dumps(measured))
    print(f"{'method':<15}{'cells/s':>10}{'x CellTypist time':>20}{'peak MiB':>10}")
    for name in METHODS:
        rate, ratio = measured["cells_per_s"][name], measured["of_celltypists_time"][name]
        print(f"{name:<15}{rate:>10,.0f}{ratio:>20.2f}{measured['peak_mib'].get(name, '-')!s:>10}")


if __name__ == "__main__":
    main()
