"""What other technologies do to labels: validation cells as those would count them, scored without training again.

    python -m pipelines.robustness.shift            run where `dvc repro` has made a bundle

Simulated shifts: genes that are not measured (filled with the average, or taken as zero); depth (counts thinned, as
Drop-seq or CEL-seq2 against 10x); capture that differs by gene (3' against 5', v2 against v3: a log-normal factor a
gene); ambient RNA (a share of counts from the average profile). One JSON line and a table: accuracy, macro-F1, share of
cells rejected, and of wrong labels among those given. Validation cells chose epoch and threshold, so the first line is
somewhat too good; the others are read against it.
"""

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sctransformer import layout
from sctransformer.annotation.genes import fill_absent, match_genes
from sctransformer.annotation.session import ScoringSession
from sctransformer.data.arrays import CellArrays
from sctransformer.errors import run_reporting
from sctransformer.export.bundle import Bundle, read_bundle
from sctransformer.training.thinning import thin

BATCH = 256
Counts = NDArray[np.float32]
Shift = Callable[[Counts, Counts, np.random.Generator], tuple[Counts, Counts]]
"""Counts (cells x genes) and library sizes of cells to those of the same cells under another technology."""


def thinned(share: float) -> Shift:
    """Every molecule is seen with the probability `share`."""

    def shift(counts_NG: Counts, size_N: Counts, rng: np.random.Generator) -> tuple[Counts, Counts]:
        return thin(counts_NG, size_N, share, rng)

    return shift


def captured(spread: float) -> Shift:
    """Molecules of a gene are seen more or less often: a log-normal factor a gene, its median 1."""

    def shift(counts_NG: Counts, size_N: Counts, rng: np.random.Generator) -> tuple[Counts, Counts]:
        factor_G = np.exp(rng.normal(0.0, spread, counts_NG.shape[1]))
        other_NG = rng.poisson(counts_NG * factor_G).astype(np.float32)
        return other_NG, np.maximum(size_N - counts_NG.sum(axis=1) + other_NG.sum(axis=1), 1).astype(np.float32)

    return shift


def ambient(share: float) -> Shift:
    """A share of each cell's molecules comes from all cells."""

    def shift(counts_NG: Counts, size_N: Counts, rng: np.random.Generator) -> tuple[Counts, Counts]:
        profile_G = counts_NG.sum(axis=0) / size_N.sum()
        own_NG = rng.binomial(counts_NG.astype(np.int64), 1 - share)
        return (own_NG + rng.poisson(share * size_N[:, None] * profile_G)).astype(np.float32), size_N

    return shift


SHIFTS: dict[str, Shift] = {
    "as they are": lambda counts_NG, size_N, rng: (counts_NG, size_N),
    "depth x 0.5": thinned(0.5),
    "depth x 0.2": thinned(0.2),
    "capture, spread 0.5": captured(0.5),
    "capture, spread 1": captured(1.0),
    "ambient 10 %": ambient(0.1),
    "ambient 30 %": ambient(0.3),
}
ABSENT = (0.1, 0.3, 0.5, 0.7)
"""Shares of the panel's genes that are not measured."""


def score(
    bundle: Bundle, session: ScoringSession, counts_NG: Counts, size_N: Counts, absent_G: NDArray[np.bool_], fill: bool
) -> NDArray[np.float32]:
    """Probabilities of cells whose file lacks some genes of the panel."""
    genes = pd.Index(np.array(bundle.genes, dtype=object)[~absent_G])
    match = match_genes(bundle.vocabulary, genes)
    shown_NG = np.where(absent_G, np.float32(0.0), counts_NG)
    if fill:
        shown_NG = fill_absent(shown_NG, size_N, match, bundle.vocabulary)
    parts = [slice(start, start + BATCH) for start in range(0, len(size_N), BATCH)]
    return np.concatenate([session.score(shown_NG[part], size_N[part]).probabilities_NC for part in parts])


def figures(probabilities_NC: NDArray[np.float32], labels_N: NDArray[np.int64], threshold: float) -> dict[str, float]:
    """What became of the labels."""
    from sklearn.metrics import f1_score

    predicted_N, given_N = probabilities_NC.argmax(axis=1), probabilities_NC.max(axis=1) >= threshold
    wrong_N = predicted_N != labels_N
    return {
        "accuracy": round(float(1 - wrong_N.mean()), 4),
        "macro_f1": round(float(f1_score(labels_N, predicted_N, average="macro", zero_division=0.0)), 4),
        "rejected": round(float(1 - given_N.mean()), 4),
        "wrong_among_given": round(float(wrong_N[given_N].mean()) if given_N.any() else 0.0, 4),
    }


def measure(bundle: Bundle, cells: CellArrays, seed: int) -> dict[str, dict[str, float]]:
    """Figures by shift."""
    session, threshold = ScoringSession(bundle), float(bundle.calibration["rejection_threshold"])
    none_G, found = np.zeros(len(bundle.genes), dtype=bool), {}
    for name, shift in SHIFTS.items():
        counts_NG, size_N = shift(cells.counts_NG, cells.library_size_N, np.random.default_rng(seed))
        probabilities_NC = score(bundle, session, counts_NG, size_N, none_G, fill=True)
        found[name] = figures(probabilities_NC, cells.labels_N, threshold)
    for share in ABSENT:
        absent_G = np.random.default_rng(seed).random(len(none_G)) < share
        for fill in (True, False):
            probabilities_NC = score(bundle, session, cells.counts_NG, cells.library_size_N, absent_G, fill)
            name = f"{share:.0%} of genes absent, {'filled' if fill else 'as zero'}"
            found[name] = figures(probabilities_NC, cells.labels_N, threshold)
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
    print(json.dumps({"cells": len(cells), "seed": options.seed, "figures": found}))
    print(f"{'validation cells':<34}{'accuracy':>10}{'macro-F1':>10}{'rejected':>10}{'wrong among given':>19}")
    for name, row in found.items():
        shares = f"{row['rejected']:>10.1%}{row['wrong_among_given']:>19.1%}"
        print(f"{name:<34}{row['accuracy']:>10.3f}{row['macro_f1']:>10.3f}{shares}")


if __name__ == "__main__":
    run_reporting(main)
