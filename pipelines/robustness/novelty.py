"""How well the novelty score finds cells that are like nothing in training, on public cells.

    SCTRANSFORMER_REFERENCE_DATA=folder python -m pipelines.robustness.novelty
    ... --sets mudan --seeds 0 1 2 --genes 1300

Each set of sorted blood cells is split into training, validation and test cells (60, 15 and 25 % of each type).
Scores, weights and thresholds are fitted as in the stage `evaluate`, on training and validation cells only; 1 % of the
validation cells are above the threshold. The panel is the most variable genes of the training cells. Logistic
regression on the components takes the place of the network, so no network is trained.

Measured: each type left out in turn (AUROC of its cells against known test cells, share labelled); cells of tumours
that are no blood cells (Zilionis et al. 2019), and blood cells from the same file, with all genes and with genes
hidden, at random or those of the lowest expression first. Prints one JSON line per measurement, then a table.
"""

import argparse
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sctransformer.annotation.limits import limits_for
from sctransformer.data.arrays import CellArrays
from sctransformer.data.normalise import log1p_cp10k
from sctransformer.data.splits import stratified_splits
from sctransformer.errors import UserError, run_reporting
from sctransformer.evaluation.novelty import (
    Novelty,
    Probabilities,
    fit_novelty,
    novelty_of,
    novelty_statistics,
    renumbered,
    stand_in,
    without_genes,
)

VARIABLE = "SCTRANSFORMER_REFERENCE_DATA"
SETS = {"mudan": "mudan_sorted_pbmc.h5ad", "facs": "fasttopics_pbmc_facs.h5ad"}
TUMOUR = "scgate_zilionis_nsclc.h5ad"
FOREIGN = ("Fibroblasts", "Endothelial cells", "Smooth muscle cells", "Ciliated cells")
"""Types of the tumour file that are in no blood; cells of the tumours themselves are named `PatientN-specific`."""
BLOOD = ("T cells", "NK cells", "B cells", "Monocytes")
HIDDEN = (0.0, 0.1, 0.2, 0.4, 0.6)
"""Fractions of the panel's genes that are hidden."""
WITHHELD = 0.01


@dataclass(frozen=True)
class Fitted:
    """A fitted score, and the model of which it needs the probabilities."""

    novelty: Novelty
    probabilities: Probabilities

    def above(self, cells: CellArrays, measured_G: NDArray[np.bool_] | None = None) -> float:
        """Fraction of cells above the threshold for this number of measured genes."""
        mean_G = self.novelty.score.mean_G.numpy().astype(np.float64)
        given_G = np.ones(cells.n_genes, dtype=bool) if measured_G is None else measured_G
        shown = without_genes(cells, given_G, mean_G)
        novelty_N = novelty_of(self.novelty.score, shown, self.probabilities(shown), given_G)
        calibration = {"rejection_threshold": 0.0, "novelty": self.novelty.content}
        limit = limits_for(calibration, float(given_G.mean())).novelty
        return float("nan") if limit is None else float((novelty_N > limit).mean())

    def score(self, cells: CellArrays) -> NDArray[np.float32]:
        """Novelty of each cell."""
        return novelty_of(self.novelty.score, cells, self.probabilities(cells))


@dataclass(frozen=True)
class Public:
    """Cells of a file, over all its genes, which are named by symbols."""

    counts_NF: Any
    library_size_N: NDArray[np.float32]
    genes: pd.Index
    types_N: NDArray[np.object_]

    def on(self, panel: pd.Index) -> tuple[CellArrays, NDArray[np.bool_]]:
        """The cells over the genes of a panel, and which of these the file has; labels are codes of sorted types."""
        column_G = self.genes.get_indexer(panel)
        counts_NG = np.zeros((len(self.types_N), len(panel)), dtype=np.float32)
        counts_NG[:, column_G >= 0] = self.counts_NF[:, column_G[column_G >= 0]].toarray()
        labels_N = np.unique(self.types_N, return_inverse=True)[1].astype(np.int64)
        return CellArrays(counts_NG, self.library_size_N, labels_N), column_G >= 0

    def take(self, rows_N: NDArray[np.bool_]) -> "Public":
        """Some of the cells."""
        return Public(self.counts_NF[rows_N], self.library_size_N[rows_N], self.genes, self.types_N[rows_N])


def read(path: Path) -> Public:
    """Read a file; duplicated symbols keep their first column."""
    from anndata import read_h5ad

    cells = read_h5ad(path)
    genes = pd.Index(cells.var["symbol"].astype(str) if "symbol" in cells.var else cells.var_names.astype(str))
    kept = ~genes.duplicated()
    counts_NF = cells.X.tocsr().astype(np.float32)
    size_N = np.asarray(counts_NF.sum(axis=1), dtype=np.float32).ravel()
    return Public(counts_NF[:, kept], size_N, genes[kept], cells.obs["cell_type"].astype(str).to_numpy(dtype=object))


def variable_genes(cells: Public, budget: int) -> pd.Index:
    """The genes with the largest standard deviation of log1p of counts per 10,000, as `data.panel` chooses them."""
    expression = log1p_cp10k(cells.counts_NF, cells.library_size_N)
    mean_F = np.asarray(expression.mean(axis=0)).ravel()
    variance_F = np.asarray(expression.multiply(expression).mean(axis=0)).ravel() - mean_F**2
    return cells.genes[np.sort(np.argsort(-variance_F, kind="stable")[:budget])]


def fit(training: CellArrays, validation: CellArrays, seed: int) -> Fitted:
    """Fit the score with logistic regression in the place of the network."""
    probabilities = stand_in(novelty_statistics(training, np.random.default_rng(seed)), training)
    return Fitted(fit_novelty(training, validation, probabilities, WITHHELD, seed), probabilities)


def leave_out(cells: Public, split_N: NDArray[np.object_], name: str, genes: int, seed: int) -> dict[str, Any]:
    """Fit without one type and score its cells."""
    from sklearn.metrics import roc_auc_score

    known_N = cells.types_N != name
    parts = {part: cells.take(known_N & (split_N == part)) for part in ("train", "validation", "test")}
    panel = variable_genes(parts["train"], genes)
    training, validation, test = (renumbered(part.on(panel)[0]) for part in parts.values())
    fitted = fit(training, validation, seed)
    unknown = cells.take(~known_N).on(panel)[0]
    scores_N = np.concatenate([fitted.score(unknown), fitted.score(test)])
    return {
        "left_out": name,
        "cells": len(unknown),
        "auroc": float(roc_auc_score(np.repeat([1, 0], [len(unknown), len(test)]), scores_N)),
        "unknown_labelled": 1.0 - fitted.above(unknown),
        "known_withheld": fitted.above(test),
        "weights": list(fitted.novelty.content["weights"].values()),
    }


def foreign(cells: Public, split_N: NDArray[np.object_], tumour: Public, genes: int, seed: int) -> list[dict[str, Any]]:
    """Fit with all types; score foreign cells and blood cells of another laboratory, with fewer and fewer genes."""
    parts = {part: cells.take(split_N == part) for part in ("train", "validation", "test")}
    panel = variable_genes(parts["train"], genes)
    training, validation, test = (part.on(panel)[0] for part in parts.values())
    fitted = fit(training, validation, seed)
    is_foreign_N = np.array([name in FOREIGN or name.endswith("-specific") for name in tumour.types_N])
    is_blood_N = np.isin(tumour.types_N, BLOOD)
    others, there_G = tumour.on(panel)
    mean_G, rng, found = fitted.novelty.score.mean_G.numpy(), np.random.default_rng(seed), []
    for how, order_G in (("random", rng.permutation(len(panel))), ("lowest", np.argsort(mean_G))):
        for fraction in HIDDEN if how == "random" else HIDDEN[1:]:
            measured_G = np.ones(len(panel), dtype=bool)
            measured_G[order_G[: int(fraction * len(panel))]] = False
            both_G = measured_G & there_G
            found.append(
                {
                    "hidden": how,
                    "measured": float(measured_G.mean()),
                    "measured_in_tumour": float(both_G.mean()),
                    "known_withheld": fitted.above(test, measured_G),
                    "training_withheld": fitted.above(training, measured_G),
                    "foreign_labelled": 1.0 - fitted.above(others.take(np.flatnonzero(is_foreign_N)), both_G),
                    "foreign_cells": int(is_foreign_N.sum()),
                    "other_lab_withheld": fitted.above(others.take(np.flatnonzero(is_blood_N)), both_G),
                    "other_lab_cells": int(is_blood_N.sum()),
                }
            )
    return found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", nargs="+", choices=list(SETS), default=list(SETS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--genes", type=int, default=2048, help="size of the panel")
    parser.add_argument("--foreign-only", action="store_true", help="leave no type out")
    options = parser.parse_args()
    folder = Path(os.environ.get(VARIABLE, ""))
    if not os.environ.get(VARIABLE) or not folder.is_dir():
        raise UserError(f"{VARIABLE}: is not set to the folder of the public data; set it and run again.")
    tumour = read(folder / "h5ad" / TUMOUR)
    for name in options.sets:
        cells, left_out, hidden = read(folder / "h5ad" / SETS[name]), [], []
        for seed in options.seeds:
            split_N = np.asarray(stratified_splits(cells.types_N.tolist(), 0.15, 0.25, seed), dtype=object)
            for label in [] if options.foreign_only else sorted(set(cells.types_N)):
                left_out.append({"set": name, "seed": seed, **leave_out(cells, split_N, label, options.genes, seed)})
                print(json.dumps(left_out[-1]), flush=True)
            for row in foreign(cells, split_N, tumour, options.genes, seed):
                hidden.append({"set": name, "seed": seed, **row})
                print(json.dumps(hidden[-1]), flush=True)
        print_tables(pd.DataFrame(left_out), pd.DataFrame(hidden))


def print_tables(left_out: pd.DataFrame, hidden: pd.DataFrame) -> None:
    """Print means over seeds."""
    if not left_out.empty:
        print_left_out(left_out)
    values = ["known_withheld", "foreign_labelled", "other_lab_withheld", "measured_in_tumour"]
    print(hidden.groupby(["hidden", "measured"])[values].mean().round(3).to_string())


def print_left_out(left_out: pd.DataFrame) -> None:
    """Print a table of the types that were left out."""
    by_type = left_out.groupby("left_out")[["cells", "auroc", "unknown_labelled", "known_withheld"]].mean()
    print(by_type.round(3).to_string())
    auroc, withheld = by_type["auroc"], by_type["known_withheld"].mean()
    print(f"mean AUROC {auroc.mean():.3f}, worst {auroc.min():.3f}, known cells withheld {withheld:.1%}")


if __name__ == "__main__":
    run_reporting(main)
