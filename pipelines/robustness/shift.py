"""How other technologies affect labels: validation cells with simulated shifts, scored without training again.

    python -m pipelines.robustness.shift            run it where `dvc repro` has made a bundle

Simulated shifts: genes that are not measured (filled with the average, or zero); depth (counts are thinned, as in
Drop-seq or CEL-seq2 compared with 10x); capture that differs between genes (3' and 5' kits, v2 and v3: a log-normal
factor per gene); ambient RNA (a share of the counts from the average profile). Prints one JSON line and a table:
accuracy, macro-F1, share of rejected cells, share of wrong labels among the accepted. The epoch and the threshold were
chosen on validation cells, so the first row is slightly too good; compare the other rows with it.
"""

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse

from sctransformer import layout
from sctransformer.annotation.genes import match_genes
from sctransformer.annotation.labelling import UNKNOWN, CellLabels, Labeller
from sctransformer.annotation.limits import Limits, limits_for
from sctransformer.annotation.session import ScoringSession
from sctransformer.annotation.settings import AbsentGenes
from sctransformer.data.arrays import CellArrays
from sctransformer.errors import run_reporting
from sctransformer.evaluation.metrics import macro_f1
from sctransformer.export.bundle import Bundle, read_bundle
from sctransformer.training.thinning import thin

Counts = NDArray[np.float32]
Shift = Callable[[Counts, Counts, np.random.Generator], tuple[Counts, Counts]]
"""Maps counts (cells x genes) and library sizes to those of the same cells with another technology."""


def thinned(share: float) -> Shift:
    """Each molecule is observed with probability `share`."""

    def shift(counts_NG: Counts, size_N: Counts, rng: np.random.Generator) -> tuple[Counts, Counts]:
        return thin(counts_NG, size_N, share, rng)

    return shift


def captured(spread: float) -> Shift:
    """Capture differs between genes: a log-normal factor per gene with median 1."""

    def shift(counts_NG: Counts, size_N: Counts, rng: np.random.Generator) -> tuple[Counts, Counts]:
        factor_G = np.exp(rng.normal(0.0, spread, counts_NG.shape[1]))
        other_NG = rng.poisson(counts_NG * factor_G).astype(np.float32)
        return other_NG, np.maximum(size_N - counts_NG.sum(axis=1) + other_NG.sum(axis=1), 1).astype(np.float32)

    return shift


def ambient(share: float) -> Shift:
    """A share of the molecules of each cell comes from the average profile of all cells."""

    def shift(counts_NG: Counts, size_N: Counts, rng: np.random.Generator) -> tuple[Counts, Counts]:
        profile_G = counts_NG.sum(axis=0) / size_N.sum()
        own_NG = rng.binomial(counts_NG.astype(np.int64), 1 - share)
        return (own_NG + rng.poisson(share * size_N[:, None] * profile_G)).astype(np.float32), size_N

    return shift


SHIFTS: dict[str, Shift] = {
    "unchanged": lambda counts_NG, size_N, rng: (counts_NG, size_N),
    "depth x 0.5": thinned(0.5),
    "depth x 0.2": thinned(0.2),
    "capture, spread 0.5": captured(0.5),
    "capture, spread 1": captured(1.0),
    "ambient 10 %": ambient(0.1),
    "ambient 30 %": ambient(0.3),
}
ABSENT = (0.1, 0.3, 0.5, 0.7)
"""Fractions of the panel's genes that are not measured."""


class ShiftedCells:
    """Labels validation cells under shifts.

    Args:
        bundle: the model.
        cells: the validation cells, over the genes of the panel.
    """

    def __init__(self, bundle: Bundle, cells: CellArrays) -> None:
        self._cells, self._vocabulary = cells, bundle.vocabulary
        self._session, self._calibration = ScoringSession(bundle), bundle.calibration

    def shifted(self, shift: Shift, rng: np.random.Generator) -> dict[str, float]:
        """Metrics under a shift of counts and library sizes."""
        counts_NG, size_N = shift(self._cells.counts_NG, self._cells.library_size_N, rng)
        return self._metrics(counts_NG, size_N, np.zeros(counts_NG.shape[1], dtype=bool), "mean")

    def without(self, absent_G: NDArray[np.bool_], absent_genes: AbsentGenes) -> dict[str, float]:
        """Metrics if some genes of the panel are not measured."""
        return self._metrics(self._cells.counts_NG, self._cells.library_size_N, absent_G, absent_genes)

    def _metrics(
        self, counts_NG: Counts, size_N: Counts, absent_G: NDArray[np.bool_], absent_genes: AbsentGenes
    ) -> dict[str, float]:
        match = match_genes(self._vocabulary, pd.Index(self._vocabulary["gene"][~absent_G]))
        labeller = Labeller(self._session, self._vocabulary, match, absent_genes)
        limits = limits_for(self._calibration, 1.0 if absent_genes == "zero" else float(1.0 - absent_G.mean()))
        labels = labeller.label(sparse.csr_matrix(counts_NG[:, ~absent_G]), size_N)
        return label_metrics(labels, self._cells.labels_N, limits)


def label_metrics(labels: CellLabels, truth_N: NDArray[np.int64], limits: Limits) -> dict[str, float]:
    """Accuracy, macro-F1, fraction of rejected cells, and of wrong labels among the others."""
    accepted_N, wrong_N = labels.calls(limits).label_N != UNKNOWN, labels.best_N != truth_N
    return {
        "accuracy": round(float(1 - wrong_N.mean()), 4),
        "macro_f1": round(macro_f1(truth_N, labels.best_N.astype(np.int64)), 4),
        "rejected": round(float(1 - accepted_N.mean()), 4),
        "wrong_among_given": round(float(wrong_N[accepted_N].mean()) if accepted_N.any() else 0.0, 4),
    }


def measure(bundle: Bundle, cells: CellArrays, seed: int) -> dict[str, dict[str, float]]:
    """Metrics by shift."""
    validation, found = ShiftedCells(bundle, cells), {}
    for name, shift in SHIFTS.items():
        found[name] = validation.shifted(shift, np.random.default_rng(seed))
    for share in ABSENT:
        absent_G = np.random.default_rng(seed).random(cells.n_genes) < share
        found[f"{share:.0%} of genes absent, filled"] = validation.without(absent_G, "mean")
        found[f"{share:.0%} of genes absent, as zero"] = validation.without(absent_G, "zero")
    return found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", type=Path, default=layout.BUNDLE_FOLDER)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    from sctransformer.data.cells import read_cells
    from sctransformer.data.prepared import select_split

    cells = select_split(read_cells(layout.PREPARED_CELLS), "validation")
    found: dict[str, Any] = measure(read_bundle(options.bundle), cells, options.seed)
    print(json.dumps({"cells": len(cells), "seed": options.seed, "metrics": found}))
    print(f"{'validation cells':<34}{'accuracy':>10}{'macro-F1':>10}{'rejected':>10}{'wrong among given':>19}")
    for name, row in found.items():
        shares = f"{row['rejected']:>10.1%}{row['wrong_among_given']:>19.1%}"
        print(f"{name:<34}{row['accuracy']:>10.3f}{row['macro_f1']:>10.3f}{shares}")


if __name__ == "__main__":
    run_reporting(main)
